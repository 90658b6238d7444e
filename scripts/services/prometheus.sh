#!/usr/bin/env bash
# A temporary Prometheus that scrapes processes of GoConductor and evaluates rules:
# eval "$(GOCONDUCTOR_PROMETHEUS_TARGETS=127.0.0.1:8470 scripts/services/prometheus.sh up)"
#
# GOCONDUCTOR_PROMETHEUS_TARGETS   addresses of the processes, separated by commas (default: 127.0.0.1:8470)
# GOCONDUCTOR_PROMETHEUS_RULES     file of rules (default: deploy/monitoring/rules.yaml)
# GOCONDUCTOR_PROMETHEUS_INTERVAL  interval between two scrapes, and two evaluations (default: 5s)
#
# The targets can be changed while it runs: PROMETHEUS_TARGETS_FILE is a file of Prometheus' file-based discovery.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
SERVICE=prometheus
TARGETS=${GOCONDUCTOR_PROMETHEUS_TARGETS:-127.0.0.1:8470}
RULES=${GOCONDUCTOR_PROMETHEUS_RULES:-$ROOT/deploy/monitoring/rules.yaml}
INTERVAL=${GOCONDUCTOR_PROMETHEUS_INTERVAL:-5s}
export -n GOCONDUCTOR_PROMETHEUS_TARGETS GOCONDUCTOR_PROMETHEUS_RULES GOCONDUCTOR_PROMETHEUS_INTERVAL

install() {
  if have prometheus && have promtool; then return; fi
  install_packages prometheus
}

prepare() {
  if [ ! -e "$DIR/targets.json" ]; then
    printf '[{"targets": ["%s"]}]\n' "${TARGETS//,/\", \"}" >"$DIR/targets.json"
  fi
  cat >"$DIR/prometheus.yml" <<CONF
global: { scrape_interval: $INTERVAL, scrape_timeout: 1s, evaluation_interval: $INTERVAL }
rule_files: [ "$RULES" ]
scrape_configs:
  - job_name: goconductor
    file_sd_configs: [ { files: [ "$DIR/targets.json" ], refresh_interval: 1s } ]
CONF
  promtool check config "$DIR/prometheus.yml" >"$DIR/check" 2>&1 || die "$(<"$DIR/check")"
}

launch() {
  setsid prometheus --config.file="$DIR/prometheus.yml" --storage.tsdb.path="$DIR/data" \
    --web.listen-address="127.0.0.1:$(port)" --enable-feature=exemplar-storage >"$DIR/log" 2>&1 </dev/null 9>&- &
  remember_process "$DIR/pid" $!
  disown $!
}

is_ready() {
  local answer
  exec 3<>"/dev/tcp/127.0.0.1/$(port)" || return 1
  printf 'GET /-/ready HTTP/1.0\r\n\r\n' >&3
  answer=$(timeout 2 cat <&3) || return 1
  exec 3>&-
  [[ $answer == *' 200 OK'* ]]
}

environment() {
  echo "export PROMETHEUS_URL='http://127.0.0.1:$(port)'"
  echo "export PROMETHEUS_TARGETS_FILE='$DIR/targets.json'"
}

main "$@"
