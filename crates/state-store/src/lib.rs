//! The state store: durable state for other processes. What all of them write together is grouped into one
//! database transaction by [`goconductor_store::batching`].
//!
//! It deliberately knows no SQL and takes no decision.
//!
//! Invariant: an answer is given once what it says is durable.

mod run;
mod service;

pub use run::run;
pub use service::{Service, service};
