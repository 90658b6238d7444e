//! Tests of the verifier with real keys, and with an issuer on this machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed expectation fails the test"
)]

mod code_flow;
mod hostile;
mod issuer;
mod outage;
mod signer;
