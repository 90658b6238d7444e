#!/usr/bin/env bash
# A temporary PostgreSQL: eval "$(scripts/services/postgres.sh up)"
#
# With GOCONDUCTOR_SERVICES_DURABLE=1 the server syncs each commit to disk, as in production. By default it does not
# sync. A crash of the server then loses nothing. After a crash of the machine the data is removed.
#
# With GOCONDUCTOR_SERVICES_SECURED=1 at the first `up`, clients need TLS and a certificate. client.pem and client.key in
# POSTGRES_CERTIFICATES contain one, ca.pem the authority.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SERVICE=postgres
STOP=INT # TERM would wait for all clients to disconnect
DURABLE=${GOCONDUCTOR_SERVICES_DURABLE:-0}
SECURED=${GOCONDUCTOR_SERVICES_SECURED:-0}
export -n GOCONDUCTOR_SERVICES_DURABLE GOCONDUCTOR_SERVICES_SECURED
ROLE=goconductor
DATABASE=goconductor

# binaries: print the directory of the newest installed PostgreSQL.
binaries() {
  local newest
  newest=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV | head -n 1)
  if [ -x "$newest/postgres" ]; then echo "$newest"; return; fi
  newest=$(command -v postgres) && dirname "$newest" # for systems other than Debian
}

install() {
  if binaries >/dev/null; then return; fi
  install_packages postgresql
  binaries >/dev/null || die "postgresql was installed, but its binaries are not in /usr/lib/postgresql/*/bin"
}

as_server() { as_user postgres "$@"; }

sql() { # sql DATABASE TEXT: run as superuser over the Unix socket, which only the server's user can open
  as_server "$(binaries)/psql" -qAtX -v ON_ERROR_STOP=1 -h "$DIR/socket" -p "$(port)" -U postgres -d "$1" -c "$2"
}
is_ready() { sql postgres 'select 1'; } # pg_isready succeeds before logins are possible

prepare() {
  local data=$DIR/data
  forget_after_power_cut
  mkdir -p "$data" "$DIR/socket"
  chmod 700 "$data" "$DIR/socket"
  ((${#DIR} < 80)) || die "$DIR is too long for the path of a Unix socket; set GOCONDUCTOR_SERVICES to a shorter path"
  if [ "$(id -u)" = 0 ]; then
    chown postgres: "$data" "$DIR/socket"
    as_server test -x "$DIR" || die "the user postgres cannot access $DIR; set GOCONDUCTOR_SERVICES to another directory"
  fi
  if [ ! -e "$data/PG_VERSION" ]; then
    as_server "$(binaries)/initdb" -D "$data" -U postgres -E UTF8 --locale=C.UTF-8 --no-sync \
      --auth-local=trust --auth-host=scram-sha-256 >"$DIR/initdb.log" 2>&1 ||
      die "initdb failed: $(tail -n 3 "$DIR/initdb.log")"
    new_password "$DIR/password"
    if [ "$SECURED" = 1 ]; then secure; fi
    boot >"$DIR/boot"
  fi
  forget_dead_server
}

# secure: require TLS and a client certificate of all connections over TCP.
secure() {
  local data=$DIR/data
  certificates "$DIR/secured"
  # The server refuses a key that others can read, and one of another user.
  cp "$DIR/secured/server.pem" "$DIR/secured/server.key" "$DIR/secured/ca.pem" "$data/"
  chmod 600 "$data/server.key"
  if [ "$(id -u)" = 0 ]; then chown postgres: "$data"/server.pem "$data"/server.key "$data"/ca.pem; fi
  printf '%s\n' "ssl = on" "ssl_cert_file = 'server.pem'" "ssl_key_file = 'server.key'" "ssl_ca_file = 'ca.pem'" \
    >>"$data/postgresql.conf"
  printf '%s\n' "local all all trust" "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca" \
    >"$data/pg_hba.conf"
}

boot() { cat /proc/sys/kernel/random/boot_id; }

# Without fsync, a crash of the machine can corrupt the data directory of a running server.
forget_after_power_cut() {
  if [ -e "$DIR/data/postmaster.pid" ] && [ "$(cat "$DIR/boot" 2>/dev/null)" != "$(boot)" ] && [ "$DURABLE" != 1 ]; then
    say "the machine restarted while PostgreSQL ran without fsync; removing its data"
    rm -rf -- "${DIR:?}/data"
  fi
  if [ -d "$DIR/data" ]; then boot >"$DIR/boot"; fi
}

# postmaster.pid remains after SIGKILL or a reboot, and another process may have the same ID by now.
forget_dead_server() {
  local pid=
  { read -r pid <"$DIR/data/postmaster.pid"; } 2>/dev/null || return 0
  if [ -n "$pid" ] && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$DIR/data"; then
    die "another PostgreSQL, process $pid, uses $DIR/data; stop it first"
  fi
  rm -f "$DIR/data/postmaster.pid"
}

launch() {
  local options=()
  if [ "$DURABLE" = 1 ]; then
    # Settings of a small production server, for benchmarks.
    options=(-c shared_buffers=512MB -c max_wal_size=4GB)
  else
    options=(-c shared_buffers=64MB -c fsync=off -c synchronous_commit=off -c full_page_writes=off)
  fi
  launch_as postgres "$(binaries)/postgres" -D "$DIR/data" -k "$DIR/socket" -p "$(port)" -c listen_addresses=127.0.0.1 \
    -c max_connections=200 -c log_line_prefix='%m [%p] %d ' "${options[@]}"
}

# The role is not a superuser, because the project must not need one in production.
complete() {
  local password
  password=$(cat "$DIR/password")
  sql postgres "select 1 from pg_roles where rolname = '$ROLE'" | grep -q 1 ||
    sql postgres "create role $ROLE login createdb password '$password'"
  sql postgres "select 1 from pg_database where datname = '$DATABASE'" | grep -q 1 ||
    sql postgres "create database $DATABASE owner $ROLE"
}

environment() {
  [ -s "$DIR/password" ] || die "PostgreSQL was not started; run $0 up"
  echo "export DATABASE_URL='postgres://$ROLE:$(cat "$DIR/password")@127.0.0.1:$(port)/$DATABASE'"
  if [ -e "$DIR/secured/ca.pem" ]; then echo "export POSTGRES_CERTIFICATES='$DIR/secured'"; fi
}

main "$@"
