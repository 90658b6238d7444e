#!/usr/bin/env bash
# A temporary Toxiproxy, whose TCP proxies delay, cut and reset connections:
# eval "$(scripts/services/toxiproxy.sh up)"
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SERVICE=toxiproxy
VERSION=v2.5.0
SERVER=$CACHE/toxiproxy-$VERSION

install() {
  if [ -x "$SERVER" ]; then return; fi
  have go || install_packages golang-go
  say "building Toxiproxy $VERSION into $SERVER"
  local built=$CACHE/toxiproxy-build
  mkdir -p "$built"
  CGO_ENABLED=0 GOBIN=$built go install -ldflags '-s -w' "github.com/Shopify/toxiproxy/v2/cmd/server@$VERSION" >&2 ||
    die "failed to build Toxiproxy; check that Go reaches its module proxy"
  mv "$built/server" "$SERVER"
}

launch() {
  setsid "$SERVER" -host 127.0.0.1 -port "$(port)" >"$DIR/log" 2>&1 </dev/null 9>&- &
  remember_process "$DIR/pid" $!
  disown $!
}

is_ready() { ! port_is_free "$(port)"; }

environment() { echo "export TOXIPROXY_URL='http://127.0.0.1:$(port)'"; }

main "$@"
