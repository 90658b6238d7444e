//! The command as people and scripts meet it: what it prints, and what it ends with.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a test fails by a panic"
)]

mod bench;
mod command;
mod docs;
mod exit_codes;
mod readme;
mod server;
mod usage;
