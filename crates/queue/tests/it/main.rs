//! The conformance cases against the in-process queue, and against queues that are broken on purpose.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that can't set itself up has failed, or says why it was not run"
)]

mod broken;
mod kafka;
mod memory;
