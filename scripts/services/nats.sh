#!/usr/bin/env bash
# A temporary NATS with JetStream, with one or three servers: eval "$(scripts/services/nats.sh up [1|3])"
#
# `lose` removes all data. The servers are numbered from 1. `kill 2` kills the second server, and `kill` kills all of them; the other commands
# accept a number in the same way. With GOCONDUCTOR_SERVICES_SECURED=1 at the first `up`, clients need TLS, a certificate,
# a user and a password. The server is built once and kept in the cache.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
VERSION=v2.15.2
NODE=${GOCONDUCTOR_NATS_NODE:-}
SECURED=${GOCONDUCTOR_SERVICES_SECURED:-0}
DURABLE=${GOCONDUCTOR_SERVICES_DURABLE:-0}
export -n GOCONDUCTOR_NATS_NODE GOCONDUCTOR_SERVICES_SECURED GOCONDUCTOR_SERVICES_DURABLE
SERVICE=nats${NODE:+/$NODE}
SERVER=$CACHE/nats-server-$VERSION
USER_NAME=goconductor

install() {
  if [ -x "$SERVER" ]; then return; fi
  have go || install_packages golang-go
  say "building the NATS server $VERSION in $SERVER; this takes some minutes"
  local built=$CACHE/nats-build
  mkdir -p "$built"
  CGO_ENABLED=0 GOBIN=$built go install -ldflags '-s -w' "github.com/nats-io/nats-server/v2@$VERSION" >&2 ||
    die "failed to build the NATS server; check the version of Go and that it reaches its module proxy"
  mv "$built/nats-server" "$SERVER"
}

cluster() { echo "$SERVICES/nats"; }
size() { cat "$(cluster)/size" 2>/dev/null || echo 0; }
port_of() { cat "$(cluster)/$1/$2" 2>/dev/null; } # port_of NODE port|routes|monitor

configuration() {
  local n routes='' i
  n=$(size)
  cat <<CONF
server_name: n$NODE
listen: "127.0.0.1:$(port)"
http: "127.0.0.1:$(port_of "$NODE" monitor)"
jetstream {
  store_dir: "$DIR/data"
  max_mem: 256M
  max_file: 4G
CONF
  if [ "$DURABLE" = 1 ]; then echo "  sync_interval: always"; fi
  echo "}"
  if ((n > 1)); then
    for ((i = 1; i <= n; i++)); do routes+="${routes:+, }\"nats://127.0.0.1:$(port_of "$i" routes)\""; done
    echo "cluster { name: test, listen: \"127.0.0.1:$(port_of "$NODE" routes)\", routes: [$routes] }"
  fi
  if [ -e "$(cluster)/secured" ]; then
    cat <<CONF
tls {
  cert_file: "$(cluster)/secured/server.pem"
  key_file: "$(cluster)/secured/server.key"
  ca_file: "$(cluster)/secured/ca.pem"
  verify: true
}
authorization { user: $USER_NAME, password: "$(cat "$(cluster)/secured/password")" }
CONF
  fi
}

prepare() { configuration >"$DIR/nats.conf"; }

launch() {
  setsid "$SERVER" -c "$DIR/nats.conf" >"$DIR/log" 2>&1 </dev/null 9>&- &
  remember_process "$DIR/pid" $!
  disown $!
}

# Succeeds when JetStream is ready. With three servers this includes the election of a leader.
is_ready() {
  local answer
  exec 3<>"/dev/tcp/127.0.0.1/$(port_of "$NODE" monitor)" || return 1
  printf 'GET /healthz HTTP/1.0\r\n\r\n' >&3
  answer=$(timeout 2 cat <&3) || return 1
  exec 3>&-
  [[ $answer == *'"status":"ok"'* ]]
}

environment() {
  local i servers='' n
  n=$(size)
  ((n > 0)) || die "NATS was not started; run $0 up"
  for ((i = 1; i <= n; i++)); do servers+="${servers:+,}127.0.0.1:$(port_of "$i" port)"; done
  echo "export NATS_SERVERS='$servers'"
  if [ -e "$(cluster)/secured" ]; then secured_environment NATS "$(cluster)/secured" "$USER_NAME"; fi
}

# each VERB [NODE]: call the verb for one server, or for all servers at once.
each() {
  local i n failed=0 running=()
  n=$(size)
  for ((i = 1; i <= n; i++)); do
    if [ -n "${2:-}" ] && [ "$2" != "$i" ]; then continue; fi
    GOCONDUCTOR_NATS_NODE=$i GOCONDUCTOR_SERVICES=$SERVICES GOCONDUCTOR_CACHE=$CACHE \
      GOCONDUCTOR_SERVICES_DURABLE=$DURABLE "$0" "$1" &
    running+=($!)
  done
  for i in "${running[@]}"; do wait "$i" || failed=$?; done
  return "$failed"
}

whole() {
  local verb=${1:-help} i
  case $verb in
    up)
      install
      mkdir -p "$(cluster)" || die "$SERVICES is not writable; set GOCONDUCTOR_SERVICES to another directory"
      if [ "$(size)" = 0 ]; then
        for ((i = 1; i <= ${2:-1}; i++)); do
          mkdir -p "$(cluster)/$i"
          free_port >"$(cluster)/$i/port"
          free_port >"$(cluster)/$i/routes"
          free_port >"$(cluster)/$i/monitor"
        done
        if [ "$SECURED" = 1 ]; then certificates "$(cluster)/secured"; fi
        echo "${2:-1}" >"$(cluster)/size"
      fi
      [ "$(size)" = "${2:-1}" ] || die "the cluster has $(size) servers; run $0 wipe first"
      each start && environment
      ;;
    start | stop | kill | pause | resume) each "$verb" "${2:-}" ;;
    lose) # restart the servers without data
      each kill
      for ((i = 1; i <= $(size); i++)); do rm -rf -- "$(cluster)/$i/data"; done
      each start
      ;;
    status) each status "${2:-}" ;;
    wipe)
      each kill
      rm -rf -- "$(cluster)"
      rmdir "$SERVICES" 2>/dev/null || true
      ;;
    *) main "$@" ;;
  esac
}

if [ -n "$NODE" ]; then
  mkdir -p "$SERVICES/nats"
  main "$@"
else
  whole "$@"
fi
