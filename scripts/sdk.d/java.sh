# shellcheck shell=bash
# The checks of the Java SDK. scripts/sdk sources this file.
# shellcheck disable=SC2015,SC2016,SC2034,SC2086,SC2154,SC2164 # scripts/sdk sets the options and the variables
JAVA_SDK=sdk/java
JAVA_DRIVER_MAIN=io.github.goconductor.conformance.Driver

# need_java: exit with instructions unless a compiler of Java 17 or later and Maven run.
need_java() {
  local version
  have javac || die "a Java compiler is not installed. Install a JDK 17 or later, for example openjdk-17-jdk, then run this again."
  version=$(javac -version 2>&1 | sed 's/[^0-9]*\([0-9]*\).*/\1/')
  ((version >= 17)) || die "javac is of version $version. Install a JDK 17 or later, for example openjdk-17-jdk."
  have mvn || die "Maven is not installed. Install Maven 3.8 or later, for example the package maven, then run this again."
}

# maven_java FOLDER ARGUMENT…: run Maven in a folder. Its packages are in the cache.
maven_java() {
  (cd "$1" && mvn --batch-mode --no-transfer-progress --quiet "-Dmaven.repo.local=$CACHE/maven" "${@:2}")
}

# install_java: what takes minutes on a new machine: the packages and the plugins of the build.
install_java() {
  scripts/services/postgres.sh install
  scripts/services/mysql.sh install
  maven_java "$JAVA_SDK" -DskipTests verify
}

# installs_java: build a program in an empty project, from a repository in a folder with the archives as published. The
# local repository must not have those of the build.
installs_java() {
  local project=$folder/java-project
  mkdir -p "$project/src/main/java"
  cp "$JAVA_SDK/examples/src/main/java/io/github/goconductor/examples/orderinone/OrderInOne.java" "$project/src/main/java/"
  cat >"$project/pom.xml" <<END
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>example.test</groupId>
  <artifactId>order</artifactId>
  <version>1</version>
  <properties>
    <maven.compiler.release>17</maven.compiler.release>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <repositories>
    <repository>
      <id>published</id>
      <url>file://$folder/java-repository</url>
    </repository>
  </repositories>
  <dependencies>
    <dependency>
      <groupId>io.github.goconductor</groupId>
      <artifactId>goconductor-sdk</artifactId>
      <version>0.1.0</version>
    </dependency>
  </dependencies>
</project>
END
  rm -rf -- "$CACHE/maven/io/github/goconductor"
  maven_java "$project" org.apache.maven.plugins:maven-compiler-plugin:3.15.0:compile
  [ -e "$project/target/classes/io/github/goconductor/examples/orderinone/OrderInOne.class" ] ||
    die "the program of the empty project was not built"
  rm -rf -- "$CACHE/maven/io/github/goconductor"
}

# driver_java: write the command that starts the driver, and print its path. The classes that each start loads are in an
# archive of the runtime, because most scenarios last for less time than it takes to load them.
driver_java() {
  local target=$ROOT/$JAVA_SDK/conformance/target
  local path="$target/goconductor-conformance-0.1.0.jar:$target/lib/*" options="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
  # A call of the client loads the classes of gRPC. No process listens on the port.
  (
    echo '{"id": 1, "op": "hello"}'
    echo '{"id": 2, "op": "client", "gateway": "http://127.0.0.1:1", "namespace": "x", "call": "describe", "workflow": "w"}'
    sleep 5
  ) | java $options "-XX:ArchiveClassesAtExit=$folder/driver-java.jsa" -cp "$path" "$JAVA_DRIVER_MAIN" \
    >"$folder/driver-java.log" 2>&1 || die "the driver of Java failed: $(tail -n 5 "$folder/driver-java.log")"
  cat >"$folder/driver-java" <<END
#!/bin/sh
exec java $options -Xlog:cds=off -Xlog:cds+dynamic=off "-XX:SharedArchiveFile=$folder/driver-java.jsa" \
  -cp "$path" $JAVA_DRIVER_MAIN
END
  chmod 755 "$folder/driver-java"
  echo "$folder/driver-java"
}

check_java() {
  local driver
  STEPS=6
  step "Java: the SQL of the inbox is that of the other languages"
  same_sql "$JAVA_SDK/core/src/main/resources/io/github/goconductor"
  step "Java: databases of the tests"
  start_databases
  step "Java: lints, tests, and archives as published"
  TMPDIR=$folder maven_java "$JAVA_SDK" -Prelease deploy \
    "-DaltDeploymentRepository=published::file://$folder/java-repository"
  copy_reference_java "$folder/reference"
  step "Java: the archives install in an empty project"
  installs_java
  build_suite
  driver=$(driver_java)
  suites Java "$driver"
  step_done
}
