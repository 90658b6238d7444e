# shellcheck shell=bash
# Runs with the drivers of all SDKs: sagas over participants that are killed, and their throughput. scripts/sdk sources this
# file, and has the functions that it uses.
# shellcheck disable=SC2034,SC2154,SC2164 # scripts/sdk sets the options and the variables

# program NAME COMMAND…: write a program that runs a command, and print its path.
program() {
  printf '#!/bin/sh\nexec' >"$folder/$1"
  printf ' %q' "${@:2}" >>"$folder/$1"
  # shellcheck disable=SC2016 # the program expands it
  printf ' "$@"\n' >>"$folder/$1"
  chmod 755 "$folder/$1"
  echo "$folder/$1"
}

# all_drivers: build the drivers of all SDKs, and set `drivers` to their flags. GOCONDUCTOR_RUST_DRIVER is the path of a driver
# of Rust that was built already. With the argument `warm`, the driver of Java has the options of a program that runs for long.
all_drivers() {
  local python java typescript rust target=$ROOT/$JAVA_SDK/conformance/target
  step "the suite and the driver of Go"
  build_suite
  (cd "$GO_MODULE" && go build -o "$folder/driver-go" ./internal/conformance)
  step "the driver of Python"
  python=$(python_environment requirements.txt)
  driver_python "$python"
  step "the driver of TypeScript"
  build_typescript
  typescript=$(program driver-typescript node "$ROOT/$TYPESCRIPT_PACKAGE/build/conformance/main.js")
  step "the driver of Java"
  maven_java "$JAVA_SDK" --projects conformance --also-make -DskipTests package
  if [ "${1:-}" = warm ]; then
    java=$(program driver-java java -cp "$target/goconductor-conformance-0.1.0.jar:$target/lib/*" "$JAVA_DRIVER_MAIN")
  else
    java=$(driver_java)
  fi
  step "the driver of Rust"
  rust=${GOCONDUCTOR_RUST_DRIVER:-}
  [ -n "$rust" ] || rust=$(driver_rust)
  [ -x "$rust" ] || die "$rust does not exist; set GOCONDUCTOR_RUST_DRIVER to the path of the driver of Rust, or unset it"
  drivers=(-driver "go=$folder/driver-go" -driver "python=$folder/driver-python" -driver "typescript=$typescript"
    -driver "java=$java" -driver "rust=$rust")
}

# kill_run ARGUMENT…: run sagas over participants of all SDKs while they are killed.
kill_run() {
  local drivers
  STEPS=6
  all_drivers
  step "sagas over killed participants"
  suite kill-run "${drivers[@]}" "$@"
  step_done
}

# throughput ARGUMENT…: measure the sagas per second with one worker of each SDK.
throughput() {
  local drivers
  STEPS=6
  all_drivers warm
  step "throughput with one worker of each SDK"
  suite throughput "${drivers[@]}" "$@"
  step_done
}
