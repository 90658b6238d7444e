//! The conformance cases against every backend, and against elections that are broken on purpose; and what
//! becomes of an election when processes and servers are killed or paused.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test that can't set itself up has failed, or says why it was not run"
)]

mod access;
mod backends;
mod broken;
mod eras;
mod local;
mod members;
mod own;
mod postgres;
mod processes;
mod promises;
