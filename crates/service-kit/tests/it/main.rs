//! Tests of the configuration and of signals.

#![allow(clippy::expect_used, reason = "a test whose setup fails has failed")]

mod config;
mod dynamic;
#[cfg(unix)]
mod signals;
mod tls;
