//! Tests of the state store over SQLite: conformance and batching.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed assertion ends the test"
)]

mod batches;
mod changes;
mod conformance;
mod instrumented;
mod remote;
