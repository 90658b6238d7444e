//! The gRPC types that are generated from `proto/`, and the conversions between them and the ports' own.
//!
//! [`v1`] is for everybody, [`internal`] for the services of one release. [`store`] and [`election`]
//! convert; [`status`] turns errors into statuses and back, so that a port behaves the same whether its
//! adapter is in this process or another.
//!
//! The crate deliberately opens no connection and serves nothing.
//!
//! Invariant: what is converted forth and back is what it was.

pub mod election;
pub mod status;
pub mod store;

/// What is open to everybody.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    clippy::missing_errors_doc,
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    clippy::str_to_string,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "generated"
)]
pub mod v1 {
    tonic::include_proto!("goconductor.v1");
}

/// What the services of one release say to one another.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    clippy::missing_errors_doc,
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    clippy::str_to_string,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "generated"
)]
pub mod internal {
    tonic::include_proto!("goconductor.internal.v1");
}

/// The descriptors of all that is in `proto/`: for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
