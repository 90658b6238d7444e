//! Tests of the executor with an SQLite store, the in-process queue and HTTP participants.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic fails the test"
)]

mod sagas;
mod tokens;
