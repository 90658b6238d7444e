# shellcheck shell=bash
# What servers of several members share. Source it, do not run it.
#
# Each member is a server of its own, as lib.sh has it. They are numbered from 1: `kill 2` and the like mean the
# second, without a number all of them. A script sets GROUP (the name of the whole), PORTS (names of further
# ports of each member), CREDENTIALS (whether it can speak TLS), defines what lib.sh asks for, where
# `environment` is that of the whole, and calls `members "$@"`. In a member's functions MEMBER is its number.
#
# GOCONDUCTOR_SERVICES_TLS=1 at the first `up` has clients speak TLS and show a certificate: there is one in
# client.pem and client.key, and whom to trust in ca.pem.
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

# addresses [PORT]: of all members, with commas between them.
addresses() {
  local i all=''
  (($(size) > 0)) || die "there is no $GROUP yet: $0 up"
  for ((i = 1; i <= $(size); i++)); do all+="${all:+,}127.0.0.1:$(port_of "$i" "${1:-port}")"; done
  echo "$all"
}

# found MEMBERS: gives each of them its ports, for good, as they name one another.
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

# certify: an authority of this group's own, a certificate for its members and one for their clients.
certify() {
  local each
  have openssl || install_packages openssl
  (
    cd "$(group)"
    umask 077
    key() { openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }
    key ca
    openssl req -x509 -new -key ca.key -days 3650 -subj '/CN=throwaway authority' -out ca.pem
    for each in server client; do
      key "$each"
      openssl req -new -key "$each.key" -subj "/CN=$each" |
        openssl x509 -req -CA ca.pem -CAkey ca.key -days 3650 -out "$each.pem" \
          -extfile <(echo "subjectAltName=IP:127.0.0.1,DNS:localhost") 2>/dev/null
    done
  ) || die "no certificates can be made: see above"
}

# each VERB [MEMBER]: of one member, or of all at once.
each() {
  local i failed=0 running=()
  for ((i = 1; i <= $(size); i++)); do
    if [ -n "${2:-}" ] && [ "$2" != "$i" ]; then continue; fi
    GOCONDUCTOR_SERVICE_MEMBER=$i GOCONDUCTOR_SERVICES=$SERVICES GOCONDUCTOR_CACHE=$CACHE \
      GOCONDUCTOR_SERVICES_DURABLE=$DURABLE "$0" "$1" &
    running+=($!)
  done
  ((${#running[@]} > 0)) || die "there is no member ${2:-} of $GROUP: $0 up"
  for i in "${running[@]}"; do wait "$i" || failed=$?; done
  return "$failed"
}

# answer HOST:PORT TEXT: what is answered to it at once.
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
      mkdir -p "$(group)" || die "$SERVICES can't be written: set GOCONDUCTOR_SERVICES to a directory of yours"
      if [ "$(size)" = 0 ]; then found "$wanted"; fi
      [ "$(size)" = "$wanted" ] || die "there are $(size) members here: $0 wipe begins again"
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
