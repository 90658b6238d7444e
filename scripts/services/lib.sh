# shellcheck shell=bash
# What the services' scripts share: a server that is thrown away, one a folder. Source it, do not run it.
#
# A script sets SERVICE (its name) and STOP (the signal of an orderly stop), and defines
#   install      puts the server on this machine, or ends with what to do
#   launch       starts the process in the background and calls `remember_process "$DIR/pid" $!`
#   is_ready     whether it answers
#   environment  prints `export NAME=value` lines for those who use it
# and may define `prepare` (before launch), `complete` (once it is ready) and `stopped` (once it is gone), then calls
# `main "$@"`.
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# All that the services write. The server's user has to reach it: not below a home directory of root.
SERVICES=${GOCONDUCTOR_SERVICES:-${TMPDIR:-/tmp}/goconductor-services}
READY_WITHIN=60
SERVICE='' # the script's
STOP=TERM

pid() { process_of "$DIR/pid"; }

# port: the port of this server: the one it had, as long as nobody else has taken it.
port() {
  local port=
  { read -r port <"$DIR/port"; } 2>/dev/null || true
  if [ -z "$port" ] || { ! pid >/dev/null && ! port_is_free "$port"; }; then
    port=$(free_port)
    echo "$port" >"$DIR/port"
  fi
  echo "$port"
}

# family PID: it and its children; servers put their children into process groups of their own.
family() {
  local stat rest
  echo "$1"
  for stat in /proc/[0-9]*/stat; do
    { read -r rest <"$stat"; } 2>/dev/null || continue
    rest=${rest##*) }
    read -r _ rest _ <<<"$rest"
    if [ "$rest" = "$1" ]; then stat=${stat#/proc/}; echo "${stat%/stat}"; fi
  done
}

# signal NAME PID...: some may have ended by themselves.
signal() {
  local name=$1
  shift
  kill -"$name" "$@" 2>/dev/null || true
}

# start: returns once the server answers; nothing to do when it runs.
start() {
  local try
  if pid >/dev/null; then
    resume
    await_ready || die "$SERVICE runs but does not answer: $0 kill, and try again"
    return
  fi
  for try in 1 2 3 4 5; do # after a crash what it held may take a moment to be free
    prepare
    if [ -e "$DIR/log" ]; then mv -f "$DIR/log" "$DIR/log.previous"; fi
    port >/dev/null # chosen here, once, for the server and for those who ask it
    launch
    if await_ready; then return; fi
    stop_with KILL
    sleep "$try"
  done
  tail -n 20 "$DIR/log" >&2 || true
  die "$SERVICE does not start, see $DIR/log; $0 wipe begins again with nothing"
}

await_ready() {
  local end=$((SECONDS + READY_WITHIN))
  until is_ready >/dev/null 2>&1; do
    pid >/dev/null && ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

# stop_with SIGNAL: and wait until it is gone; one that does not go is killed.
stop_with() {
  local pid members
  if pid=$(pid); then
    mapfile -t members < <(family "$pid")
    if [ "$1" = KILL ]; then
      signal KILL "${members[@]}"
    else
      signal CONT "${members[@]}" # a paused one could not stop
      signal "$1" "$pid"
      if ! await_end "$pid" 20; then
        say "$SERVICE does not stop: killing it"
        signal KILL "${members[@]}"
      fi
    fi
    # Each of them: a child may still listen when its parent is gone.
    for pid in "${members[@]}"; do
      await_end "$pid" 10 || die "$SERVICE, process $pid, does not end"
    done
  fi
  stopped
}

pause() {
  local pid members
  pid=$(pid) || die "$SERVICE does not run"
  signal STOP "$pid" # first, so that it has no more children meanwhile
  mapfile -t members < <(family "$pid")
  signal STOP "${members[@]}"
}

resume() {
  local pid members
  pid=$(pid) || die "$SERVICE does not run"
  mapfile -t members < <(family "$pid")
  signal CONT "${members[@]}"
}

prepare() { :; }
complete() { :; }
stopped() { :; }

# new_password FILE: one of this server's own.
new_password() { (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$1"); }

# certificates FOLDER: an authority (ca), and what it has signed for the server on this machine (server) and for those
# who use it (client), each as .pem with its .key; and a password.
certificates() {
  have openssl || install_packages openssl
  mkdir -p "$1"
  (
    cd "$1" || exit 1
    key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
    openssl req -x509 "${key[@]}" -days 3650 -subj "/CN=goconductor test authority" -keyout ca.key -out ca.pem
    for name in server client; do
      openssl req -new "${key[@]}" -subj "/CN=goconductor $name" -keyout "$name.key" -out "$name.csr"
      printf '%s\n' "subjectAltName=IP:127.0.0.1,DNS:localhost" "extendedKeyUsage=serverAuth,clientAuth" >"$name.ext"
      openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -extfile "$name.ext" \
        -out "$name.pem"
    done
  ) >"$1/log" 2>&1 || die "certificates can't be made: $(tail -n 3 "$1/log")"
  new_password "$1/password"
}

# secured_environment NAME FOLDER USER: who may use the server, and with what, as NAME_USER and so on.
secured_environment() {
  echo "export $1_USER='$3'"
  echo "export $1_PASSWORD='$(cat "$2/password")'"
  if [ -e "$2/client.pem" ]; then
    echo "export $1_CA='$2/ca.pem'"
    echo "export $1_CERTIFICATE='$2/client.pem'"
    echo "export $1_KEY='$2/client.key'"
  fi
}

main() {
  DIR=$SERVICES/$SERVICE
  local verb=${1:-help}
  if [ "$verb" != help ] && [ "$verb" != install ]; then
    mkdir -p "$DIR" || die "$SERVICES can't be written: set GOCONDUCTOR_SERVICES to a directory of yours"
    exec 9>"$SERVICES/$SERVICE.lock" || die "$SERVICES belongs to somebody else: set GOCONDUCTOR_SERVICES"
    flock 9 # one at a time; each server is started without it
  fi
  case $verb in
    install) install ;;
    up) install; start; complete; environment ;;
    env) environment ;;
    start) start ;;
    stop) stop_with "$STOP" ;;
    kill) stop_with KILL ;;
    pause) pause ;;
    resume) resume ;;
    status) if pid >/dev/null; then echo "$SERVICE runs: process $(pid), port $(port)"; else
      echo "$SERVICE does not run"
      exit 3 # as service(8) has it
    fi ;;
    wipe) stop_with KILL; rm -rf -- "${DIR:?}" "$SERVICES/$SERVICE.lock"; rmdir "$SERVICES" 2>/dev/null || true ;;
    *) cat >&2 <<EOF
usage: $0 VERB
  install   put $SERVICE on this machine
  up        install, start, and print how it is reached; as often as you like
  env       print how it is reached
  start     start it again after stop or kill, on the same data
  stop      stop it in order
  kill      kill -9, the crash of a machine's process
  pause     freeze it: it holds its connections and answers nothing
  resume    let it go on
  status    say whether it runs; exit code 3 when it does not
  wipe      kill it and remove its data
It lives in $DIR; GOCONDUCTOR_SERVICES chooses another place than $SERVICES.
EOF
      [ "$verb" = help ] || exit 2 ;;
  esac
}
