//! The client against a small server that behaves as the API says.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by a panic")]

mod follow;
mod replies;
