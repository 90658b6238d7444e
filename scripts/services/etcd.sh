#!/usr/bin/env bash
# A temporary etcd with one or three members: eval "$(scripts/services/etcd.sh up [1|3])"
#
# The server is built from its Go module and kept in the cache. Without a suitable Go, Debian's package is used. By
# default the server does not sync to disk: a crash of the server loses nothing, a crash of the machine can. With
# GOCONDUCTOR_SERVICES_DURABLE=1 it syncs.
# shellcheck source-path=SCRIPTDIR source=members.sh
. "$(dirname "${BASH_SOURCE[0]}")/members.sh"
VERSION=v3.7.3
SERVER=$CACHE/etcd-$VERSION
GROUP=etcd
PORTS=(peer health)

# server: print the path of the server.
server() { if [ -x "$SERVER" ]; then echo "$SERVER"; else command -v etcd; fi; }

# has_new_go: succeed if Go can build the server. Since 1.21, Go downloads the toolchain that a module needs.
has_new_go() {
  local version
  version=$(go env GOVERSION 2>/dev/null) || return 1
  [[ $version =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 21))
}

install() {
  if [ -x "$SERVER" ]; then return; fi
  if ! has_new_go; then
    have etcd || install_packages etcd-server
    return
  fi
  say "building etcd $VERSION in $SERVER; this takes some minutes"
  local built
  built=$(mktemp -d)
  mkdir -p "$CACHE"
  # `go install` refuses a module with replace directives. As a dependency of another module it can be built.
  (
    cd "$built"
    export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -mod=mod"
    go mod init throwaway
    go get "go.etcd.io/etcd/server/v3@$VERSION"
    go build -trimpath -ldflags '-s -w' -o etcd go.etcd.io/etcd/server/v3
  ) >"$built/log" 2>&1 || {
    tail -n 5 "$built/log" >&2
    die "failed to build etcd; check that Go reaches its module proxy, and see $built/log"
  }
  mv "$built/etcd" "$SERVER"
  rm -rf -- "$built"
}

launch() {
  local i peers='' options=() scheme=http server
  server=$(server)
  for ((i = 1; i <= $(size); i++)); do peers+="${peers:+,}member-$i=http://127.0.0.1:$(port_of "$i" peer)"; done
  if [ "$DURABLE" != 1 ] && "$server" --help 2>&1 | grep -q -- --unsafe-no-fsync; then options+=(--unsafe-no-fsync); fi
  if has_tls; then
    scheme=https
    options+=(--cert-file "$(group)/server.pem" --key-file "$(group)/server.key"
      --trusted-ca-file "$(group)/ca.pem" --client-cert-auth)
  fi
  setsid "$server" --name "member-$MEMBER" --data-dir "$DIR/data" --logger zap --log-level warn \
    --listen-client-urls "$scheme://127.0.0.1:$(port)" --advertise-client-urls "$scheme://127.0.0.1:$(port)" \
    --listen-peer-urls "http://127.0.0.1:$(port_of "$MEMBER" peer)" \
    --initial-advertise-peer-urls "http://127.0.0.1:$(port_of "$MEMBER" peer)" \
    --listen-metrics-urls "http://127.0.0.1:$(port_of "$MEMBER" health)" \
    --initial-cluster "$peers" --initial-cluster-state new --initial-cluster-token "$GROUP" \
    "${options[@]}" >"$DIR/log" 2>&1 </dev/null 9>&- &
  remember_process "$DIR/pid" $!
  disown $!
}

is_ready() { # succeeds only if the members elected a leader
  answer "127.0.0.1:$(port_of "$MEMBER" health)" 'GET /health HTTP/1.0\r\n\r\n' | grep -q '"health":"true"'
}

environment() {
  echo "export ETCD_ENDPOINTS='$(addresses)'"
  if has_tls; then echo "export ETCD_CERTIFICATES='$(group)'"; fi
}

members "$@"
