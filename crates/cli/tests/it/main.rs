//! Black-box tests of the command: its output and its exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "tests fail by panicking"
)]

mod bench;
#[cfg(unix)]
mod certs;
mod command;
mod docs;
mod exit_codes;
mod monitoring;
mod readme;
mod server;
mod usage;
