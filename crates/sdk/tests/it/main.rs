//! Tests of the SDK's public calls against a gateway and an executor in the same process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic fails the test"
)]

mod access;
mod locks;
mod schedules;
mod server;
mod testing;
mod worker;
mod workflows;
