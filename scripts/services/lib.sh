# shellcheck shell=bash
# Functions that the scripts of the services share. Each service is a temporary server in a folder. Source this file;
# do not run it.
#
# A script sets SERVICE (the name) and STOP (the signal of an orderly stop), and defines
#   install      installs the server, or exits with instructions
#   launch       starts the process in the background and calls `remember_process "$DIR/pid" $!`
#   is_ready     succeeds if the server accepts requests
#   environment  prints `export NAME=value` lines for clients
# It may define `prepare` (called before `launch`), `complete` (called when the server is ready) and `stopped` (called
# when the server has ended). Then it calls `main "$@"`.
# shellcheck source-path=SCRIPTDIR source=../lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# The data of all services. The users of the servers need access, so the directory must not be below root's home.
SERVICES=${GOCONDUCTOR_SERVICES:-${TMPDIR:-/tmp}/goconductor-services}
READY_WITHIN=60
SERVICE='' # set by the script
STOP=TERM

pid() { process_of "$DIR/pid"; }

# port: print the port of this server. It keeps its port unless another process took it.
port() {
  local port=
  { read -r port <"$DIR/port"; } 2>/dev/null || true
  if [ -z "$port" ] || { ! pid >/dev/null && ! port_is_free "$port"; }; then
    port=$(free_port)
    echo "$port" >"$DIR/port"
  fi
  echo "$port"
}

# family PID: print the process and its children. Servers put their children into separate process groups.
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

# signal NAME PID...: ignore processes that have ended.
signal() {
  local name=$1
  shift
  kill -"$name" "$@" 2>/dev/null || true
}

# start: return when the server accepts requests. A running server is only resumed.
start() {
  local try
  if pid >/dev/null; then
    resume
    await_ready || die "$SERVICE runs but is not ready; run $0 kill and try again"
    return
  fi
  for try in 1 2 3 4 5; do # after a crash, ports and locks may be in use for a short time
    prepare
    if [ -e "$DIR/log" ]; then mv -f "$DIR/log" "$DIR/log.previous"; fi
    port >/dev/null # choose the port before the server and its clients read it
    launch
    if await_ready; then return; fi
    stop_with KILL
    sleep "$try"
  done
  tail -n 20 "$DIR/log" >&2 || true
  die "$SERVICE did not start; see $DIR/log, or run $0 wipe to remove its data"
}

await_ready() {
  local end=$((SECONDS + READY_WITHIN))
  until is_ready >/dev/null 2>&1; do
    pid >/dev/null && ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

# stop_with SIGNAL: stop the server and wait for its end; kill it after 20 s.
stop_with() {
  local pid members
  if pid=$(pid); then
    mapfile -t members < <(family "$pid")
    if [ "$1" = KILL ]; then
      signal KILL "${members[@]}"
    else
      signal CONT "${members[@]}" # a paused process cannot handle the signal
      signal "$1" "$pid"
      if ! await_end "$pid" 20; then
        say "$SERVICE did not stop in 20 s; killing it"
        signal KILL "${members[@]}"
      fi
    fi
    # Wait for each child as well, because it may still listen on the port.
    for pid in "${members[@]}"; do
      await_end "$pid" 10 || die "process $pid of $SERVICE did not end after SIGKILL"
    done
  fi
  stopped
}

pause() {
  local pid members
  pid=$(pid) || die "$SERVICE is not running"
  signal STOP "$pid" # first, so that it creates no further children
  mapfile -t members < <(family "$pid")
  signal STOP "${members[@]}"
}

resume() {
  local pid members
  pid=$(pid) || die "$SERVICE is not running"
  mapfile -t members < <(family "$pid")
  signal CONT "${members[@]}"
}

prepare() { :; }
complete() { :; }
stopped() { :; }

# as_user USER COMMAND...: run a command as the user if this is root, for servers that refuse to run as root.
as_user() {
  local user=$1
  shift
  if [ "$(id -u)" = 0 ]; then
    env -C / setpriv --reuid="$user" --regid="$user" --init-groups -- "$@"
  else
    env -C / "$@"
  fi
}

# launch_as USER COMMAND...: start the server in the background, as the user if this is root.
launch_as() {
  local server=("${@:2}")
  if [ "$(id -u)" = 0 ]; then server=(setpriv --reuid="$1" --regid="$1" --init-groups -- "${server[@]}"); fi
  # exec makes the recorded process the server. Descriptor 9 is the lock of these scripts.
  (
    exec 9>&-
    exec setsid env -C / "${server[@]}"
  ) >"$DIR/log" 2>&1 </dev/null &
  remember_process "$DIR/pid" $!
  disown $!
}

# new_password FILE: write a random password.
new_password() { (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$1"); }

# certificates FOLDER: create a certificate authority (ca), a certificate for the server and one for the clients, each
# as .pem and .key, and a password.
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
  ) >"$1/log" 2>&1 || die "openssl failed to create certificates: $(tail -n 3 "$1/log")"
  new_password "$1/password"
}

# secured_environment NAME FOLDER USER: print the credentials of a client as NAME_USER, NAME_PASSWORD and so on.
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
    mkdir -p "$DIR" || die "$SERVICES is not writable; set GOCONDUCTOR_SERVICES to another directory"
    exec 9>"$SERVICES/$SERVICE.lock" || die "$SERVICES belongs to another user; set GOCONDUCTOR_SERVICES to another directory"
    flock 9 # one command at a time; the servers do not inherit the lock
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
      echo "$SERVICE is not running"
      exit 3 # the convention of service(8)
    fi ;;
    wipe) stop_with KILL; rm -rf -- "${DIR:?}" "$SERVICES/$SERVICE.lock"; rmdir "$SERVICES" 2>/dev/null || true ;;
    *) cat >&2 <<EOF
usage: $0 VERB
  install   install $SERVICE
  up        install and start $SERVICE, and print its addresses; can be repeated
  env       print the addresses
  start     start it with the existing data
  stop      stop it in order
  kill      stop it with SIGKILL, like a crash
  pause     suspend it: connections stay open, and requests get no response
  resume    continue after pause
  status    print whether it runs; the exit code is 3 if it does not
  wipe      kill it and remove its data
Its data is in $DIR. GOCONDUCTOR_SERVICES selects another directory than $SERVICES.
EOF
      [ "$verb" = help ] || exit 2 ;;
  esac
}
