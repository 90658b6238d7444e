#!/usr/bin/env bash
# A PgBouncer in front of a PostgreSQL, pooling transactions: DATABASE_URL=… scripts/services/pgbouncer.sh up
#
# For tests of what does not work behind one. It drops the settings of a connection's start silently, as
# many are set to do.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SERVICE=pgbouncer
STOP=INT

install() {
  have pgbouncer || install_packages pgbouncer
}

prepare() {
  local rest user password host
  if [ -n "${DATABASE_URL:-}" ]; then printf '%s\n' "$DATABASE_URL" >"$DIR/database"; fi
  { read -r rest <"$DIR/database"; } 2>/dev/null || die "which PostgreSQL? DATABASE_URL=postgres://… $0 up"
  rest=${rest#*://}
  user=${rest%%:*} rest=${rest#*:}
  password=${rest%%@*} rest=${rest#*@}
  host=${rest%%/*}
  printf '"%s" "%s"\n' "$user" "$password" >"$DIR/users"
  cat >"$DIR/pgbouncer.ini" <<CONF
[databases]
${rest#*/} = host=${host%%:*} port=${host##*:}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $(port)
unix_socket_dir =
auth_type = plain
auth_file = $DIR/users
pool_mode = transaction
ignore_startup_parameters = options,extra_float_digits
logfile = $DIR/pgbouncer.log
pidfile =
CONF
  : >"$DIR/pgbouncer.log"
  if [ "$(id -u)" = 0 ]; then chown -R nobody "$DIR"; fi
}

launch() {
  local server=(pgbouncer "$DIR/pgbouncer.ini")
  if [ "$(id -u)" = 0 ]; then # it refuses to run as root
    server=(setpriv --reuid=nobody --regid=nogroup --clear-groups -- "${server[@]}")
  fi
  setsid "${server[@]}" >"$DIR/log" 2>&1 </dev/null 9>&- &
  remember_process "$DIR/pid" $!
  disown $!
}

is_ready() { ! port_is_free "$(port)"; }

environment() {
  local url
  { read -r url <"$DIR/database"; } 2>/dev/null || die "there is no PgBouncer yet: $0 up"
  echo "export PGBOUNCER_URL='${url%%@*}@127.0.0.1:$(port)/${url##*/}'"
}

main "$@"
