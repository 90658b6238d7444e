#!/usr/bin/env bash
# A temporary Jaeger, which keeps traces in memory: eval "$(scripts/services/jaeger.sh up)"
#
# It accepts OTLP by gRPC and by HTTP, and answers queries by HTTP. The server is built once and kept in the cache. It has
# no web pages, because the Go module does not contain them.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SERVICE=jaeger
VERSION=v1.76.0
SERVER=$CACHE/jaeger-$VERSION

# The build happens in a copy of the module, so that the versions of its own dependencies apply. Without the clients of
# databases and brokers, which are not used here, the build needs less than half of the packages.
only_memory() { # only_memory FILE
  local storage='"github.com/jaegertracing/jaeger/internal/storage/v1/(badger|cassandra|elasticsearch|kafka)"'
  sed -i -E -e "\#^\t(es )?$storage\$#d" -e 's/(badger|cassandra|es|kafka)\.New(Archive)?Factory\(\)/memory.NewFactory()/' "$1"
}

install() {
  if [ -x "$SERVER" ]; then return; fi
  have go || install_packages golang-go
  say "building Jaeger $VERSION in $SERVER; this takes some minutes"
  local source built=$CACHE/jaeger-build
  rm -rf -- "$built"
  mkdir -p "$built"
  source=$(cd "$built" && go mod download -json "github.com/jaegertracing/jaeger@$VERSION" |
    sed -nE 's/^\t"Dir": "(.*)",?$/\1/p')
  [ -d "$source" ] || die "failed to download Jaeger; check that Go reaches its module proxy"
  cp -R "$source" "$built/source"
  chmod -R u+w "$built/source"
  only_memory "$built/source/internal/storage/v1/factory/factory.go"
  (cd "$built/source" &&
    CGO_ENABLED=0 nice go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$built/server" ./cmd/all-in-one) >&2 ||
    die "failed to build Jaeger; check the version of Go and that it reaches its module proxy"
  mv "$built/server" "$SERVER"
  rm -rf -- "$built"
}

# part NAME: print the port of a part of the server. The port of the queries is that of the server.
part() {
  [ -s "$DIR/port-$1" ] || free_port >"$DIR/port-$1"
  cat "$DIR/port-$1"
}

# After a crash, another process may have taken a port.
prepare() {
  local name
  for name in admin query-grpc otlp-grpc otlp-http collector-grpc collector-http; do
    if ! port_is_free "$(part "$name")"; then rm -f -- "$DIR/port-$name"; fi
  done
}

launch() {
  setsid "$SERVER" \
    --log-level=warn \
    --admin.http.host-port="127.0.0.1:$(part admin)" \
    --query.http-server.host-port="127.0.0.1:$(port)" \
    --query.grpc-server.host-port="127.0.0.1:$(part query-grpc)" \
    --collector.otlp.grpc.host-port="127.0.0.1:$(part otlp-grpc)" \
    --collector.otlp.http.host-port="127.0.0.1:$(part otlp-http)" \
    --collector.grpc-server.host-port="127.0.0.1:$(part collector-grpc)" \
    --collector.http-server.host-port="127.0.0.1:$(part collector-http)" \
    --memory.max-traces=20000 >"$DIR/log" 2>&1 </dev/null 9>&- &
  remember_process "$DIR/pid" $!
  disown $!
}

is_ready() {
  local line
  exec 3<>"/dev/tcp/127.0.0.1/$(part admin)" || return 1
  printf 'GET / HTTP/1.0\r\n\r\n' >&3
  read -r -t 2 line <&3 || line=
  exec 3>&-
  [[ $line == *" 200"* ]] && ! port_is_free "$(port)" && ! port_is_free "$(part otlp-grpc)" &&
    ! port_is_free "$(part otlp-http)"
}

environment() {
  echo "export JAEGER_URL='http://127.0.0.1:$(port)'"
  echo "export JAEGER_OTLP_GRPC='http://127.0.0.1:$(part otlp-grpc)'"
  echo "export JAEGER_OTLP_HTTP='http://127.0.0.1:$(part otlp-http)'"
}

main "$@"
