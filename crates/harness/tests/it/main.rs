//! Whole runs against a real `goconductor dev`, seen from outside only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it expects"
)]
mod api;
mod check;
mod crash;
mod forward;
mod garbage;
mod rollback;
mod world;
