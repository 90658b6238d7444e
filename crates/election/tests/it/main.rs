//! The conformance cases with every backend and with faulty elections, and elections whose processes and servers are
//! killed or paused.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test panics on failure and prints why it was skipped"
)]

mod access;
mod backends;
mod broken;
mod conformance;
mod eras;
mod local;
mod members;
mod movable;
mod postgres;
mod processes;
mod servers;
