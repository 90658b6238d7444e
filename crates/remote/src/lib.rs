//! The ports of other processes, over gRPC: [`RemoteStore`] is a state store, [`RemoteElection`] the leader
//! electors. Who holds one does not know that the other side is not in its process.
//!
//! Each knows any number of [`Endpoints`] that are equal, speaks to one of them, and moves on to the next
//! when that one can't be reached.
//!
//! The crate deliberately decides nothing and remembers nothing but which endpoint answered last.
//!
//! Invariant: a call that may have taken effect is not sent again by itself, unless doing it twice is the
//! same as doing it once; its caller is told that nobody can say.

mod election;
mod endpoints;
mod store;

pub use election::RemoteElection;
pub use endpoints::{Endpoints, InvalidEndpoint};
pub use store::{ChangesFeed, ReadyGroup, RemoteStore};
