//! Tests of the engine against the real SQLite store and the in-process queue.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test states what it expects"
)]

mod conflicts;
mod dispatch;
mod faults;
mod fixture;
mod inputs;
mod payloads;
mod starts;
