//! The state store over SQLite: it keeps a store's promises, and groups.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what it expects"
)]

mod changes;
mod conformance;
mod groups;
mod remote;
mod watched;
