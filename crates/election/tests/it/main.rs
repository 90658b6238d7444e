//! The conformance cases against the election of a single process, and against elections that are broken
//! on purpose.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that can't set itself up has failed, or says why it was not run"
)]

mod broken;
mod local;
mod postgres;
