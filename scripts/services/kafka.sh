#!/usr/bin/env bash
# A temporary Kafka with one or three brokers: eval "$(scripts/services/kafka.sh up [1|3])"
#
# `lose` removes all data. The brokers are numbered from 1. `kill 2` kills the second broker, and `kill` kills all of
# them; other verbs work alike. The libraries are downloaded once and kept in the cache.
# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
VERSION=4.4.0
LOG4J=2.25.5
NODE=${GOCONDUCTOR_KAFKA_NODE:-}
export -n GOCONDUCTOR_KAFKA_NODE
SERVICE=kafka${NODE:+/$NODE}
LIBRARIES=$CACHE/kafka-$VERSION

install() {
  have java || install_packages openjdk-17-jre-headless
  if [ -e "$LIBRARIES/complete" ]; then return; fi
  have mvn || install_packages maven
  say "downloading Kafka $VERSION to $LIBRARIES"
  mkdir -p "$LIBRARIES"
  cat >"$LIBRARIES/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$LOG4J</version></dependency>
  </dependencies>
</project>
POM
  # is_ready reads the log, which is empty without a configuration.
  cat >"$LIBRARIES/log4j2.properties" <<'LOG'
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c{1} %m%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = OUT
LOG
  mvn -q -B -f "$LIBRARIES/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$LIBRARIES" >&2 || die "failed to download Kafka; check that Maven reaches its repository"
  touch "$LIBRARIES/complete"
}

cluster() { echo "$SERVICES/kafka"; }
size() { cat "$(cluster)/size" 2>/dev/null || echo 0; }
port_of() { cat "$(cluster)/$1/$2" 2>/dev/null; } # port_of NODE port|controller
java_with() { java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -cp "$LIBRARIES/*" "$@"; }

properties() {
  local n voters='' i
  n=$(size)
  for ((i = 1; i <= n; i++)); do voters+="${voters:+,}$i@127.0.0.1:$(port_of "$i" controller)"; done
  cat <<CONF
process.roles=broker,controller
node.id=$NODE
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$(port),CONTROLLER://127.0.0.1:$(port_of "$NODE" controller)
advertised.listeners=PLAINTEXT://127.0.0.1:$(port)
inter.broker.listener.name=PLAINTEXT
log.dirs=$DIR/data
auto.create.topics.enable=false
default.replication.factor=$n
min.insync.replicas=$(((n + 1) / 2))
offsets.topic.replication.factor=$n
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$n
transaction.state.log.min.isr=$(((n + 1) / 2))
share.coordinator.state.topic.replication.factor=$n
share.coordinator.state.topic.min.isr=$(((n + 1) / 2))
group.initial.rebalance.delay.ms=0
log.retention.ms=-1
broker.session.timeout.ms=6000
log.cleaner.dedupe.buffer.size=16777216
CONF
}

prepare() {
  properties >"$DIR/server.properties"
  if [ ! -e "$DIR/data/meta.properties" ]; then
    java_with kafka.tools.StorageTool format -t "$(cat "$(cluster)/id")" -c "$DIR/server.properties" \
      >"$DIR/format.log" 2>&1 || die "failed to format the storage of a broker: $(tail -n 3 "$DIR/format.log")"
  fi
}

launch() {
  # Tests need a fast start. Benchmarks need the compiler that production uses.
  local compiler=(-XX:TieredStopAtLevel=1)
  if [ "${GOCONDUCTOR_SERVICES_DURABLE:-0}" = 1 ]; then compiler=(); fi
  setsid java -Xms128m -Xmx512m -XX:+UseSerialGC "${compiler[@]}" -XX:+ExitOnOutOfMemoryError \
    -Dlog4j2.configurationFile="$LIBRARIES/log4j2.properties" -cp "$LIBRARIES/*" \
    kafka.Kafka "$DIR/server.properties" >"$DIR/log" 2>&1 </dev/null 9>&- &
  remember_process "$DIR/pid" $!
  disown $!
}

is_ready() { grep -q 'Kafka Server started' "$DIR/log"; } # logged when the controller has registered the broker

environment() {
  local i brokers='' n
  n=$(size)
  ((n > 0)) || die "Kafka was not started; run $0 up"
  for ((i = 1; i <= n; i++)); do brokers+="${brokers:+,}127.0.0.1:$(port_of "$i" port)"; done
  echo "export KAFKA_BROKERS='$brokers'"
}

# each VERB [NODE]: call the verb for one broker, or for all brokers at once.
each() {
  local i n failed=0 running=()
  n=$(size)
  for ((i = 1; i <= n; i++)); do
    if [ -n "${2:-}" ] && [ "$2" != "$i" ]; then continue; fi
    GOCONDUCTOR_KAFKA_NODE=$i GOCONDUCTOR_SERVICES=$SERVICES GOCONDUCTOR_CACHE=$CACHE "$0" "$1" &
    running+=($!)
  done
  for i in "${running[@]}"; do wait "$i" || failed=$?; done
  return "$failed"
}

whole() {
  local verb=${1:-help} i
  case $verb in
    up)
      install
      mkdir -p "$(cluster)" || die "$SERVICES is not writable; set GOCONDUCTOR_SERVICES to another directory"
      if [ "$(size)" = 0 ]; then
        for ((i = 1; i <= ${2:-1}; i++)); do
          mkdir -p "$(cluster)/$i"
          free_port >"$(cluster)/$i/port"
          free_port >"$(cluster)/$i/controller"
        done
        # A leading hyphen would be read as an option.
        head -c16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=\n' >"$(cluster)/id"
        echo "${2:-1}" >"$(cluster)/size"
      fi
      [ "$(size)" = "${2:-1}" ] || die "the cluster has $(size) brokers; run $0 wipe first"
      each start && environment
      ;;
    start | stop | kill | pause | resume) each "$verb" "${2:-}" ;;
    lose) # restart the brokers without data
      each kill
      for ((i = 1; i <= $(size); i++)); do rm -rf -- "$(cluster)/$i/data"; done
      each start
      ;;
    status) each status "${2:-}" ;;
    wipe)
      each kill
      rm -rf -- "$(cluster)"
      rmdir "$SERVICES" 2>/dev/null || true
      ;;
    *) main "$@" ;;
  esac
}

if [ -n "$NODE" ]; then
  mkdir -p "$SERVICES/kafka"
  main "$@"
else
  whole "$@"
fi
