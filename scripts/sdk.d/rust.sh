# shellcheck shell=bash
# The Rust SDK, crates/sdk: the conformance suite with its driver, crates/sdk-conformance. scripts/test runs the lints and the
# tests of both with those of the other crates. scripts/sdk sources this file.
# shellcheck disable=SC2015,SC2016,SC2034,SC2086,SC2154,SC2164 # scripts/sdk sets the options and the variables

# driver_rust: build the driver, and print its path.
driver_rust() {
  # With the features of the whole workspace, the crates are those that scripts/test has built.
  cargo build --locked --workspace --bin goconductor-conformance-driver >&2 || die "the driver does not build"
  echo "$CARGO_TARGET_DIR/debug/goconductor-conformance-driver"
}

# install_rust: what takes minutes on a new machine.
install_rust() {
  driver_rust >&2
  (cd sdk/conformance && go vet ./...)
}

check_rust() {
  local driver
  STEPS=3
  step "Rust: the driver"
  driver=$(driver_rust)
  build_suite
  suites Rust "$driver"
  step_done
}
