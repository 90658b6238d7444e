#!/usr/bin/env bash
# A temporary RabbitMQ: eval "$(scripts/services/rabbitmq.sh up)"
#
# `lose` removes all data. With GOCONDUCTOR_SERVICES_SECURED=1 at the first `up`, clients need TLS and a certificate. The
# server is Debian's, started without Debian's wrapper, so that data and logs stay in the folder of the service. It has
# its own epmd, the name server of Erlang nodes, which ends together with it.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SERVICE=rabbitmq
BIN=/usr/lib/rabbitmq/bin
SECURED=${GOCONDUCTOR_SERVICES_SECURED:-0}
export -n GOCONDUCTOR_SERVICES_SECURED
READY_WITHIN=300
USER_NAME=goconductor

install() {
  if [ -x "$BIN/rabbitmq-server" ]; then return; fi
  install_packages rabbitmq-server
  [ -x "$BIN/rabbitmq-server" ] || die "rabbitmq-server was installed, but not in $BIN"
}

# own_port NAME: print a further port of this server.
own_port() {
  [ -s "$DIR/$1" ] || free_port >"$DIR/$1"
  cat "$DIR/$1"
}

# server COMMAND...: run with the names, ports and folders of this server, as its user.
server() {
  local name
  name=goconductor$(port)@localhost
  local environment=(env -i PATH="/usr/sbin:/usr/bin:/sbin:/bin" LANG=C.UTF-8 HOME="$DIR/home"
    RABBITMQ_NODENAME="$name" RABBITMQ_NODE_PORT="$(port)" RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
    RABBITMQ_DIST_PORT="$(own_port distribution)" ERL_EPMD_PORT="$(own_port epmd)" ERL_EPMD_ADDRESS=127.0.0.1
    RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_CONFIG_FILE="$DIR/rabbitmq.conf"
    RABBITMQ_MNESIA_BASE="$DIR/data" RABBITMQ_LOG_BASE="$DIR/logs" RABBITMQ_ENABLED_PLUGINS_FILE="$DIR/plugins"
    RABBITMQ_GENERATED_CONFIG_DIR="$DIR/generated"
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +sbwt none")
  if [ "$(id -u)" = 0 ]; then # the user of Debian's package
    environment+=(setpriv --reuid=rabbitmq --regid=rabbitmq --clear-groups --)
  fi
  exec env -C / "${environment[@]}" "$@"
}

prepare() {
  local password=$DIR/secured/password
  if [ ! -e "$DIR/secured/server.pem" ] && [ ! -e "$DIR/data" ]; then
    mkdir -p "$DIR/secured"
    if [ "$SECURED" = 1 ]; then certificates "$DIR/secured"; else new_password "$password"; fi
  fi
  mkdir -p "$DIR/home" "$DIR/data" "$DIR/logs" "$DIR/generated"
  echo "[]." >"$DIR/plugins"
  {
    printf '%s\n' "default_user = $USER_NAME" "default_pass = $(cat "$password")" 'loopback_users = none' \
      'log.console = true' 'log.console.level = info' 'log.file = false' \
      'vm_memory_high_watermark.absolute = 512MB' 'disk_free_limit.absolute = 50MB'
    if [ -e "$DIR/secured/server.pem" ]; then
      printf '%s\n' 'listeners.tcp = none' "listeners.ssl.1 = 127.0.0.1:$(port)" \
        "ssl_options.cacertfile = $DIR/secured/ca.pem" "ssl_options.certfile = $DIR/secured/server.pem" \
        "ssl_options.keyfile = $DIR/secured/server.key" 'ssl_options.verify = verify_peer' \
        'ssl_options.fail_if_no_peer_cert = true'
    fi
  } >"$DIR/rabbitmq.conf"
  if [ "$(id -u)" = 0 ]; then
    chown -R rabbitmq: "$DIR/home" "$DIR/data" "$DIR/logs" "$DIR/generated" "$DIR/plugins" "$DIR/secured" \
      "$DIR/rabbitmq.conf"
    setpriv --reuid=rabbitmq --regid=rabbitmq --clear-groups -- test -x "$DIR" ||
      die "the user rabbitmq cannot access $DIR; set GOCONDUCTOR_SERVICES to another directory"
  fi
}

launch() {
  # Without a running epmd, the server would start one that outlives it.
  (server epmd -port "$(own_port epmd)") >"$DIR/epmd.log" 2>&1 </dev/null 9>&- &
  remember_process "$DIR/epmd.pid" $!
  disown $!
  (server setsid "$BIN/rabbitmq-server") >"$DIR/log" 2>&1 </dev/null 9>&- &
  remember_process "$DIR/pid" $!
  disown $!
}

stopped() {
  local daemon
  if daemon=$(process_of "$DIR/epmd.pid"); then
    signal KILL "$daemon"
    await_end "$daemon" 10 || true
  fi
}

# The server opens its port last.
is_ready() { ! port_is_free "$(port)"; }

environment() {
  [ -s "$DIR/secured/password" ] || die "RabbitMQ was not started; run $0 up"
  echo "export RABBITMQ_HOSTS='127.0.0.1:$(port)'"
  secured_environment RABBITMQ "$DIR/secured" "$USER_NAME"
}

if [ "${1:-}" = lose ]; then # restart the server without data
  "$0" kill
  rm -rf -- "$SERVICES/$SERVICE/data"
  exec "$0" start
fi
main "$@"
