//! The conformance cases against SQLite and PostgreSQL, and against stores that are broken on purpose.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what it expects"
)]

mod broken;
mod golden;
mod killed;
mod lookups;
mod partitions;
mod postgres;
mod sqlite;
