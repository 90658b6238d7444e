#!/usr/bin/env bash
# A temporary MariaDB, which speaks the protocol and the SQL of MySQL: eval "$(scripts/services/mysql.sh up)"
#
# The server does not sync commits to disk. A crash of the server then loses nothing.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SERVICE=mysql
ROLE=goconductor

install() {
  if [ -x /usr/sbin/mariadbd ]; then return; fi
  install_packages mariadb-server mariadb-client
  [ -x /usr/sbin/mariadbd ] || die "mariadb-server was installed, but /usr/sbin/mariadbd is missing"
}

as_server() { as_user mysql "$@"; }

sql() { # run as superuser over the Unix socket, which only the server's user can open
  as_server mariadb --no-defaults --batch --skip-column-names --socket "$DIR/socket/mysql.sock" -u "$(server_user)" -e "$1"
}
server_user() { if [ "$(id -u)" = 0 ]; then echo mysql; else id -un; fi; }
is_ready() { sql 'select 1'; }

prepare() {
  mkdir -p "$DIR/data" "$DIR/socket"
  chmod 700 "$DIR/data" "$DIR/socket"
  ((${#DIR} < 80)) || die "$DIR is too long for the path of a Unix socket; set GOCONDUCTOR_SERVICES to a shorter path"
  if [ "$(id -u)" = 0 ]; then chown mysql: "$DIR/data" "$DIR/socket"; fi
  if [ ! -e "$DIR/data/mysql" ]; then
    as_server mariadb-install-db --no-defaults --datadir="$DIR/data" --auth-root-authentication-method=socket \
      --auth-root-socket-user="$(server_user)" --skip-test-db >"$DIR/install.log" 2>&1 ||
      die "mariadb-install-db failed: $(tail -n 3 "$DIR/install.log")"
    new_password "$DIR/password"
  fi
}

launch() {
  launch_as mysql /usr/sbin/mariadbd --no-defaults --datadir="$DIR/data" --socket="$DIR/socket/mysql.sock" \
    --bind-address=127.0.0.1 --port="$(port)" --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=64M
}

complete() {
  sql "create user if not exists $ROLE@'%' identified by '$(cat "$DIR/password")'; grant all on *.* to $ROLE@'%'"
}

environment() {
  [ -s "$DIR/password" ] || die "MariaDB was not started; run $0 up"
  echo "export MYSQL_DSN='$ROLE:$(cat "$DIR/password")@tcp(127.0.0.1:$(port))/?parseTime=true'"
}

main "$@"
