//! The gRPC types generated from `proto/`, and the conversions between them and the types of the ports.
//!
//! [`v1`] is the public API. [`internal`] is the protocol between the services of one release. [`store`] and
//! [`election`] convert values, [`handshake`] compares the releases of two processes, and [`status`] converts errors to statuses and back, so that a port behaves the same
//! whether its adapter is in this process or in another.
//!
//! The crate deliberately opens no connections and serves nothing.
//!
//! Invariant: a value that is converted to its message and back is unchanged.

pub mod election;
pub mod handshake;
pub mod status;
pub mod store;

/// The public API.
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

/// The protocol between the services of one release.
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

/// The descriptors of the API, `proto/goconductor/v1`, for gRPC reflection. They leave out the calls between the services
/// of a release.
pub const API_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/api_descriptors.bin"));
