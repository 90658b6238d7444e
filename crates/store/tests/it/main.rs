//! The conformance cases against SQLite and PostgreSQL, and against stores with injected faults.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a failed expectation fails the test"
)]

mod audit;
mod broken;
mod golden;
mod killed;
mod lookups;
mod partitions;
mod postgres;
mod schema;
mod sqlite;
