//! The client against a small server that follows the API contract.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a panic fails the test")]

mod follow;
mod responses;
