//! Tests of the crate.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test panics on failure")]

mod course;
mod daylight_saving;
mod times;
