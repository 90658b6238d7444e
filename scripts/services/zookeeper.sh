#!/usr/bin/env bash
# A temporary ZooKeeper with one or three servers: eval "$(scripts/services/zookeeper.sh up [1|3])"
#
# The libraries are downloaded once and kept in the cache. By default the servers do not sync to disk. With
# GOCONDUCTOR_SERVICES_DURABLE=1 they sync.
# shellcheck source-path=SCRIPTDIR source=members.sh
. "$(dirname "${BASH_SOURCE[0]}")/members.sh"
VERSION=3.9.5
LIBRARIES=$CACHE/zookeeper-$VERSION
GROUP=zookeeper
PORTS=(quorum election secure)

install() {
  have java || install_packages openjdk-17-jre-headless
  if [ -e "$LIBRARIES/complete" ]; then return; fi
  have mvn || install_packages maven
  say "downloading ZooKeeper $VERSION to $LIBRARIES"
  mkdir -p "$LIBRARIES"
  # ZooKeeper declares the last two as optional, but it does not start without them.
  cat >"$LIBRARIES/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>local</groupId><artifactId>zookeeper</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.zookeeper</groupId><artifactId>zookeeper</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>ch.qos.logback</groupId><artifactId>logback-classic</artifactId><version>1.3.16</version></dependency>
    <dependency><groupId>io.dropwizard.metrics</groupId><artifactId>metrics-core</artifactId><version>4.1.12.1</version></dependency>
    <dependency><groupId>org.xerial.snappy</groupId><artifactId>snappy-java</artifactId><version>1.1.10.7</version></dependency>
  </dependencies>
</project>
POM
  cat >"$LIBRARIES/logback.xml" <<'LOG'
<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d %p %c{1} %m%n</pattern></encoder>
  </appender>
  <root level="info"><appender-ref ref="OUT"/></root>
</configuration>
LOG
  mvn -q -B -f "$LIBRARIES/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$LIBRARIES" >&2 || die "failed to download ZooKeeper; check that Maven reaches its repository"
  touch "$LIBRARIES/complete"
}

configuration() {
  local i
  cat <<CONF
tickTime=500
initLimit=20
syncLimit=4
maxSessionTimeout=60000
maxClientCnxns=0
admin.enableServer=false
4lw.commands.whitelist=srvr
dataDir=$DIR/data
clientPortAddress=127.0.0.1
clientPort=$(port)
CONF
  if has_tls; then
    cat <<CONF
secureClientPortAddress=127.0.0.1
secureClientPort=$(port_of "$MEMBER" secure)
serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
ssl.keyStore.location=$(group)/server-chain.pem
ssl.trustStore.location=$(group)/ca.pem
ssl.clientAuth=need
CONF
  fi
  if (($(size) > 1)); then
    for ((i = 1; i <= $(size); i++)); do
      echo "server.$i=127.0.0.1:$(port_of "$i" quorum):$(port_of "$i" election)"
    done
  fi
}

prepare() {
  mkdir -p "$DIR/data"
  echo "$MEMBER" >"$DIR/data/myid"
  if has_tls; then # ZooKeeper reads key and certificate from one file
    (umask 077 && cat "$(group)/server.key" "$(group)/server.pem" >"$(group)/server-chain.pem")
  fi
  configuration >"$DIR/zoo.cfg"
}

launch() {
  local sync=yes
  if [ "$DURABLE" != 1 ]; then sync=no; fi
  setsid java -Xmx160m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dzookeeper.forceSync="$sync" \
    -Dlogback.configurationFile="$LIBRARIES/logback.xml" -cp "$LIBRARIES/*" \
    org.apache.zookeeper.server.quorum.QuorumPeerMain "$DIR/zoo.cfg" >"$DIR/log" 2>&1 </dev/null 9>&- &
  remember_process "$DIR/pid" $!
  disown $!
}

# `ruok` succeeds without a quorum. Only a server that serves clients reports its mode.
is_ready() { answer "127.0.0.1:$(port)" srvr | grep -q '^Mode:'; }

environment() {
  if has_tls; then
    echo "export ZOOKEEPER_SERVERS='$(addresses secure)'"
    echo "export ZOOKEEPER_CERTIFICATES='$(group)'"
  else
    echo "export ZOOKEEPER_SERVERS='$(addresses)'"
  fi
}

members "$@"
