#!/usr/bin/env bash
# A PostgreSQL that is thrown away: eval "$(scripts/services/postgres.sh up)"
#
# GOCONDUCTOR_SERVICES_DURABLE=1 has it write to the disk before it answers, as in production. By default
# it does not: a crash of the server loses nothing, only a crash of the machine does, and then it begins
# again with nothing.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SERVICE=postgres
STOP=INT # TERM would wait until every client has left
DURABLE=${GOCONDUCTOR_SERVICES_DURABLE:-0}
export -n GOCONDUCTOR_SERVICES_DURABLE
ROLE=goconductor
DATABASE=goconductor

# binaries: the directory of the newest PostgreSQL here.
binaries() {
  local newest
  newest=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV | head -n 1)
  if [ -x "$newest/postgres" ]; then echo "$newest"; return; fi
  newest=$(command -v postgres) && dirname "$newest" # other systems than Debian
}

install() {
  if binaries >/dev/null; then return; fi
  install_packages postgresql
  binaries >/dev/null || die "postgresql is installed, but its binaries are not in /usr/lib/postgresql/*/bin"
}

# as_server COMMAND...: PostgreSQL refuses to run as root.
as_server() {
  if [ "$(id -u)" = 0 ]; then
    env -C / setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
  else
    env -C / "$@"
  fi
}

sql() { # sql DATABASE TEXT: as the superuser, over the socket that only the server's user reaches
  as_server "$(binaries)/psql" -qAtX -v ON_ERROR_STOP=1 -h "$DIR/socket" -p "$(port)" -U postgres -d "$1" -c "$2"
}
is_ready() { sql postgres 'select 1'; } # pg_isready answers before a login can work

prepare() {
  local data=$DIR/data
  forget_after_power_cut
  mkdir -p "$data" "$DIR/socket"
  chmod 700 "$data" "$DIR/socket"
  ((${#DIR} < 80)) || die "$DIR is too long for a socket's path: set GOCONDUCTOR_SERVICES to a shorter one"
  if [ "$(id -u)" = 0 ]; then
    chown postgres: "$data" "$DIR/socket"
    as_server test -x "$DIR" || die "the user postgres does not reach $DIR: set GOCONDUCTOR_SERVICES to a place it does"
  fi
  if [ ! -e "$data/PG_VERSION" ]; then
    as_server "$(binaries)/initdb" -D "$data" -U postgres -E UTF8 --locale=C.UTF-8 --no-sync \
      --auth-local=trust --auth-host=scram-sha-256 >"$DIR/initdb.log" 2>&1 ||
      die "initdb failed: $(tail -n 3 "$DIR/initdb.log")"
    (umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$DIR/password")
    boot >"$DIR/boot"
  fi
  forget_dead_server
}

boot() { cat /proc/sys/kernel/random/boot_id; }

# Without fsync a data directory that was in use when the machine went down can't be trusted.
forget_after_power_cut() {
  if [ -e "$DIR/data/postmaster.pid" ] && [ "$(cat "$DIR/boot" 2>/dev/null)" != "$(boot)" ] && [ "$DURABLE" != 1 ]; then
    say "the machine went down while PostgreSQL ran without fsync: beginning again with nothing"
    rm -rf -- "${DIR:?}/data"
  fi
  if [ -d "$DIR/data" ]; then boot >"$DIR/boot"; fi
}

# After kill -9 or a reboot postmaster.pid is left, and its number may be somebody else's by now.
forget_dead_server() {
  local pid=
  { read -r pid <"$DIR/data/postmaster.pid"; } 2>/dev/null || return 0
  if [ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$DIR/data"; then
    die "another PostgreSQL, process $pid, runs on $DIR/data: stop it first"
  fi
  rm -f "$DIR/data/postmaster.pid"
}

launch() {
  local options=()
  if [ "$DURABLE" = 1 ]; then
    # For what is measured: as a server of its own would be set up, if a small one.
    options=(-c shared_buffers=512MB -c max_wal_size=4GB)
  else
    options=(-c shared_buffers=64MB -c fsync=off -c synchronous_commit=off -c full_page_writes=off)
  fi
  # exec, so that the process that is remembered is the server; 9 is the lock of these scripts.
  (
    exec 9>&-
    server=("$(binaries)/postgres" -D "$DIR/data" -k "$DIR/socket" -p "$(port)" -c listen_addresses=127.0.0.1
      -c max_connections=200 -c log_line_prefix='%m [%p] %d ' "${options[@]}")
    if [ "$(id -u)" = 0 ]; then
      server=(setpriv --reuid=postgres --regid=postgres --init-groups -- "${server[@]}")
    fi
    exec setsid env -C / "${server[@]}"
  ) >"$DIR/log" 2>&1 </dev/null &
  remember_process "$DIR/pid" $!
  disown $!
}

# The role is no superuser: what the project asks of PostgreSQL in production has to suffice here.
complete() {
  local password
  password=$(cat "$DIR/password")
  sql postgres "select 1 from pg_roles where rolname = '$ROLE'" | grep -q 1 ||
    sql postgres "create role $ROLE login createdb password '$password'"
  sql postgres "select 1 from pg_database where datname = '$DATABASE'" | grep -q 1 ||
    sql postgres "create database $DATABASE owner $ROLE"
}

environment() {
  [ -s "$DIR/password" ] || die "there is no PostgreSQL yet: $0 up"
  echo "export DATABASE_URL='postgres://$ROLE:$(cat "$DIR/password")@127.0.0.1:$(port)/$DATABASE'"
}

main "$@"
