#!/usr/bin/env bash
# A temporary emulator of Kinesis: eval "$(scripts/services/kinesis.sh up [kinesalite|kinesis-local])"
#
# kinesalite is faster, and acknowledged data survives `kill`. kinesis-local implements more of the API, supports TLS,
# and keeps its data in memory only. `lose` removes all data. Both are downloaded once and kept in the cache.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SERVICE=kinesis
KINESALITE=3.3.3
LOCAL=0.6.2
EMULATORS=$CACHE/kinesis-$KINESALITE-$LOCAL
# Milliseconds that it takes to create a stream or to split a shard.
QUICK=50

install() {
  have node || install_packages nodejs
  if [ -e "$EMULATORS/complete" ]; then return; fi
  have npm || install_packages npm
  say "installing two emulators of Kinesis in $EMULATORS"
  mkdir -p "$EMULATORS"
  # The install scripts are not needed, because the packages contain their compiled parts.
  npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$EMULATORS" \
    "kinesalite@$KINESALITE" "kinesis-local@$LOCAL" >&2 ||
    die "failed to install the emulators of Kinesis; check that npm reaches its registry"
  touch "$EMULATORS/complete"
}

kind() { cat "$DIR/kind" 2>/dev/null || echo kinesalite; }

# tls_port: print the TLS port of kinesis-local, which stays the same as long as the folder exists.
tls_port() {
  [ -s "$DIR/tls/port" ] || free_port >"$DIR/tls/port"
  cat "$DIR/tls/port"
}

prepare() {
  # Both emulators listen on all addresses, and Nagle's algorithm delays responses of one of them by 40 ms.
  cat >"$DIR/loopback.js" <<'JS'
const { Server } = require('net');
const listen = Server.prototype.listen;
Server.prototype.listen = function (where, ...rest) {
  this.on('connection', (socket) => socket.setNoDelay(true));
  if (where && typeof where === 'object') return listen.call(this, { ...where, host: '127.0.0.1' }, ...rest);
  return listen.call(this, { port: Number(where), host: '127.0.0.1' }, ...rest.filter((each) => typeof each === 'function'));
};
JS
  if [ "$(kind)" != kinesis-local ] || [ -s "$DIR/tls/server.json" ]; then return; fi
  certificates "$DIR/tls"
  # kinesis-local reads key and certificate from a JSON file.
  node -e 'const text = (file) => require("fs").readFileSync(file, "utf8");
    console.log(JSON.stringify({ server: { key: text(process.argv[1]), cert: text(process.argv[2]) } }))' \
    "$DIR/tls/server.key" "$DIR/tls/server.pem" >"$DIR/tls/server.json"
}

launch() {
  local folder node each settings=()
  folder=$(cd "$DIR" && pwd)
  node=(node --require "$folder/loopback.js")
  case $(kind) in
    kinesalite)
      setsid "${node[@]}" "$EMULATORS/node_modules/kinesalite/cli.js" --port "$(port)" --path "$DIR/data" \
        --createStreamMs "$QUICK" --deleteStreamMs "$QUICK" --updateStreamMs "$QUICK" --shardLimit 5000 \
        >"$DIR/log" 2>&1 </dev/null 9>&- &
      ;;
    kinesis-local)
      for each in CREATE_STREAM DELETE_STREAM MERGE_SHARDS SPLIT_SHARD UPDATE_SHARD_COUNT; do
        settings+=("${each}_DURATION=${QUICK}ms")
      done
      # kinesis-local reads files from its working directory.
      setsid env -C "$EMULATORS/node_modules/kinesis-local" "${settings[@]}" SHARD_LIMIT=5000 LOG_LEVEL=ERROR \
        KINESIS_MOCK_PLAIN_PORT="$(port)" KINESIS_MOCK_TLS_PORT="$(tls_port)" \
        KINESIS_MOCK_CERT_PATH="$folder/tls/server.json" "${node[@]}" main.js \
        >"$DIR/log" 2>&1 </dev/null 9>&- &
      ;;
  esac
  remember_process "$DIR/pid" $!
  disown $!
}

is_ready() { ! port_is_free "$(port)"; }

environment() {
  [ -e "$DIR/port" ] || die "Kinesis was not started; run $0 up"
  echo "export KINESIS_ENDPOINT='http://127.0.0.1:$(port)'"
  if [ "$(kind)" = kinesis-local ]; then
    printf "export %s\n" "KINESIS_TLS_ENDPOINT='https://localhost:$(tls_port)'" "KINESIS_CA='$DIR/tls/ca.pem'"
  fi
  # The emulators accept any credentials.
  printf "export %s\n" "AWS_REGION='us-east-1'" "AWS_ACCESS_KEY_ID='test'" "AWS_SECRET_ACCESS_KEY='test'"
}

if [ "${1:-}" = up ]; then
  DIR=$SERVICES/$SERVICE
  mkdir -p "$DIR" || die "$SERVICES is not writable; set GOCONDUCTOR_SERVICES to another directory"
  case ${2:-kinesalite} in kinesalite | kinesis-local) ;; *) die "unknown emulator $2; use kinesalite or kinesis-local" ;; esac
  if [ ! -e "$DIR/kind" ]; then echo "${2:-kinesalite}" >"$DIR/kind"; fi
  [ "$(kind)" = "${2:-$(kind)}" ] || die "the emulator is $(kind); run $0 wipe first"
fi
if [ "${1:-}" = lose ]; then
  "$0" kill
  rm -rf -- "$SERVICES/$SERVICE/data"
  exec "$0" start
fi
main "$@"
