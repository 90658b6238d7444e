//! The configuration as its users write it.

#![allow(clippy::expect_used, reason = "a test that can't set itself up has failed")]

mod config;
