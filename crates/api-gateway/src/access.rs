//! Access control of the gateway: one table of rules, decided after routing.
//!
//! `rules` has the table, `gate` authenticates and authorises each request of REST and gRPC by it, and [`observe`] sees
//! every refusal and every change. If access control is off, a request costs one branch.

mod authorised;
mod gate;
mod observe;
pub(crate) mod rules;

pub(crate) use authorised::{Authorised, AuthorisedNamespace};
pub(crate) use gate::{Gate, SignedIn, serve_grpc};

#[cfg(test)]
mod tests;
