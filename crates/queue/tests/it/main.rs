//! The conformance cases against the in-process queue, and against queues that are broken on purpose.

#![allow(clippy::expect_used, reason = "a test that can't set itself up has failed")]

mod broken;
mod memory;
