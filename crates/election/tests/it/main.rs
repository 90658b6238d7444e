//! The conformance cases against the election of a single process, and against elections that are broken
//! on purpose.

#![allow(clippy::expect_used, reason = "a test that can't set itself up has failed")]

mod broken;
mod local;
