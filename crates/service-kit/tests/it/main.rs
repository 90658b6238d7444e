//! The configuration as its users write it, and an end as the system brings it.

#![allow(clippy::expect_used, reason = "a test that can't set itself up has failed")]

mod config;
#[cfg(unix)]
mod signals;
