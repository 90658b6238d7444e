# shellcheck shell=bash
# The Rust SDK, crates/sdk: the conformance suite with its driver, crates/sdk-conformance. scripts/test runs the lints and the
# tests of both with those of the other crates. scripts/sdk sources this file.
# shellcheck disable=SC2015,SC2016,SC2034,SC2086,SC2154,SC2164 # scripts/sdk sets the options and the variables

# need_rust: exit with instructions unless the driver, the suite and the server can run.
need_rust() {
  need_cargo
  need_go
  need_server
}

# driver_rust: build the driver, and print its path.
driver_rust() {
  need_c_compiler
  # With the features of the whole workspace, the crates are those that scripts/test has built.
  cargo build --locked --workspace --bin goconductor-conformance-driver >&2 || die "the driver does not build"
  echo "$CARGO_TARGET_DIR/debug/goconductor-conformance-driver"
}

# install_rust: what takes minutes on a new machine.
install_rust() {
  need_cargo
  need_go
  driver_rust >&2
  (cd sdk/conformance && go vet ./...)
}

check_rust() {
  local broken driver
  STEPS=3
  need_rust
  step "Rust: the driver"
  driver=$(driver_rust)
  step "Rust: conformance suite"
  build_suite
  suite -- "$driver"
  step "Rust: broken drivers fail the suite"
  for broken in no-heartbeat new-key-on-retry inbox-without-tombstone; do
    suite -broken "$broken" -- "$driver"
  done
  step_done
}
