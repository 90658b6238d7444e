#!/usr/bin/env bash
# A temporary PgBouncer with transaction pooling: DATABASE_URL=… scripts/services/pgbouncer.sh up
#
# The tests check the features that do not work behind a pooler. Like many installations, this one silently ignores
# the startup parameters of a connection.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SERVICE=pgbouncer
STOP=INT
# The ID of the unprivileged user and group of every Linux system.
UNPRIVILEGED=65534

install() {
  have pgbouncer || install_packages pgbouncer
}

prepare() {
  local rest user password host
  if [ -n "${DATABASE_URL:-}" ]; then printf '%s\n' "$DATABASE_URL" >"$DIR/database"; fi
  { read -r rest <"$DIR/database"; } 2>/dev/null || die "DATABASE_URL is not set; run DATABASE_URL=postgres://… $0 up"
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
  if [ "$(id -u)" = 0 ]; then chown -R "$UNPRIVILEGED" "$DIR"; fi
}

launch() {
  local server=(pgbouncer "$DIR/pgbouncer.ini")
  if [ "$(id -u)" = 0 ]; then # PgBouncer refuses to run as root
    server=(setpriv --reuid="$UNPRIVILEGED" --regid="$UNPRIVILEGED" --clear-groups -- "${server[@]}")
  fi
  setsid "${server[@]}" >"$DIR/log" 2>&1 </dev/null 9>&- &
  remember_process "$DIR/pid" $!
  disown $!
}

is_ready() { ! port_is_free "$(port)"; }

environment() {
  local url
  { read -r url <"$DIR/database"; } 2>/dev/null || die "PgBouncer was not started; run $0 up"
  echo "export PGBOUNCER_URL='${url%%@*}@127.0.0.1:$(port)/${url##*/}'"
}

main "$@"
