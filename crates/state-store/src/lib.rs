//! The state store: durable state for other processes.
//!
//! It batches the writes of all its clients into database transactions, see [`goconductor_store::batching`]. It does not
//! contain SQL and makes no decisions.
//!
//! Invariant: everything that a response reports is durable.

mod run;
mod service;

pub use run::run;
pub use service::{StoreService, service};
