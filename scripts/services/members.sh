# shellcheck shell=bash
# Functions for services with several members. Source this file; do not run it.
#
# Each member is a server as in lib.sh. The members are numbered from 1. `kill 2` kills the second member, and `kill`
# kills all of them; other verbs work alike. A script sets GROUP (the name of the service) and PORTS (the names of
# further ports of each member), defines the functions that lib.sh needs, with `environment` for the whole service,
# and calls `members "$@"`. In the functions of a member, MEMBER is its number.
#
# With GOCONDUCTOR_SERVICES_TLS=1 at the first `up`, clients must use TLS and present a certificate. client.pem and
# client.key contain a certificate and its key, ca.pem the certificate authority.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
MEMBER=${GOCONDUCTOR_SERVICE_MEMBER:-}
WITH_TLS=${GOCONDUCTOR_SERVICES_TLS:-0}
DURABLE=${GOCONDUCTOR_SERVICES_DURABLE:-0}
export -n GOCONDUCTOR_SERVICE_MEMBER GOCONDUCTOR_SERVICES_TLS GOCONDUCTOR_SERVICES_DURABLE

group() { echo "$SERVICES/$GROUP"; }
size() { cat "$(group)/size" 2>/dev/null || echo 0; }
port_of() { cat "$(group)/$1/$2" 2>/dev/null; } # port_of MEMBER NAME
has_tls() { [ -e "$(group)/ca.pem" ]; }

# addresses [PORT]: print the addresses of all members, separated by commas.
addresses() {
  local i all=''
  (($(size) > 0)) || die "$GROUP was not started; run $0 up"
  for ((i = 1; i <= $(size); i++)); do all+="${all:+,}127.0.0.1:$(port_of "$i" "${1:-port}")"; done
  echo "$all"
}

# found MEMBERS: choose the ports of all members. They are permanent, because the members refer to each other.
found() {
  local i name port taken=' '
  for ((i = 1; i <= $1; i++)); do
    mkdir -p "$(group)/$i"
    for name in port "${PORTS[@]}"; do
      until port=$(free_port) && [[ $taken != *" $port "* ]]; do :; done
      taken+="$port "
      echo "$port" >"$(group)/$i/$name"
    done
  done
  if [ "$WITH_TLS" = 1 ]; then certify; fi
  echo "$1" >"$(group)/size"
}

# certify: create a certificate authority, a certificate for the members and one for the clients.
certify() {
  local each
  have openssl || install_packages openssl
  (
    cd "$(group)"
    umask 077
    key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }
    key ca
    openssl req -x509 -new -key ca.key -days 3650 -subj '/CN=temporary authority' -out ca.pem
    for each in server client; do
      key "$each"
      openssl req -new -key "$each.key" -subj "/CN=$each" |
        openssl x509 -req -CA ca.pem -CAkey ca.key -days 3650 -out "$each.pem" \
          -extfile <(echo "subjectAltName=IP:127.0.0.1,DNS:localhost") 2>/dev/null
    done
  ) || die "openssl failed to create certificates; see above"
}

# each VERB [MEMBER]: call the verb for one member, or for all members at once.
each() {
  local i failed=0 running=()
  for ((i = 1; i <= $(size); i++)); do
    if [ -n "${2:-}" ] && [ "$2" != "$i" ]; then continue; fi
    GOCONDUCTOR_SERVICE_MEMBER=$i GOCONDUCTOR_SERVICES=$SERVICES GOCONDUCTOR_CACHE=$CACHE \
      GOCONDUCTOR_SERVICES_DURABLE=$DURABLE "$0" "$1" &
    running+=($!)
  done
  ((${#running[@]} > 0)) || die "$GROUP has no member ${2:-}; run $0 up"
  for i in "${running[@]}"; do wait "$i" || failed=$?; done
  return "$failed"
}

# answer HOST:PORT TEXT: send the text and print the response.
answer() {
  exec 3<>"/dev/tcp/${1%:*}/${1#*:}" || return 1
  printf '%b' "$2" >&3
  timeout 3 cat <&3
  exec 3>&-
}

whole() {
  local verb=${1:-help} wanted
  case $verb in
    up)
      wanted=${2:-$(size)}
      if [ "$wanted" = 0 ]; then wanted=1; fi
      install
      mkdir -p "$(group)" || die "$SERVICES is not writable; set GOCONDUCTOR_SERVICES to another directory"
      if [ "$(size)" = 0 ]; then found "$wanted"; fi
      [ "$(size)" = "$wanted" ] || die "$GROUP has $(size) members; run $0 wipe first"
      each start && environment
      ;;
    start | stop | kill | pause | resume | status) each "$verb" "${2:-}" ;;
    env) environment ;;
    wipe)
      if (($(size) > 0)); then each kill; fi
      rm -rf -- "$(group)"
      rmdir "$SERVICES" 2>/dev/null || true
      ;;
    *) main "$@" ;;
  esac
}

members() {
  if [ -n "$MEMBER" ]; then
    SERVICE=$GROUP/$MEMBER
    main "$@"
  else
    SERVICE=$GROUP
    whole "$@"
  fi
}
