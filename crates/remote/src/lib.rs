//! Clients of other processes that implement ports over gRPC: [`RemoteStore`] for state stores and [`RemoteElection`] for
//! leader electors. A caller does not know whether a port is local or remote.
//!
//! Each client has a list of equivalent [`Endpoints`]. It uses one of them and switches to the next one if it cannot be
//! reached.
//!
//! The crate makes no decisions. Its only state is the endpoint that responded last.
//!
//! Invariant: a request that may have been executed is not retried unless it is idempotent. Otherwise the caller gets
//! `OutcomeUnknown`.

mod election;
mod endpoints;
mod resolver;
mod store;

pub use election::RemoteElection;
pub use endpoints::{Endpoints, InvalidEndpoint};
pub use resolver::{NameResolver, SystemResolver};
pub use store::{ChangesFeed, ReadyBatch, RemoteStore};
