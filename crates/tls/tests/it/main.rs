//! Tests of handshakes between this crate's server and client, with certificates that are created here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test panics on failure")]

mod authority;
mod handshake;
mod rotation;
