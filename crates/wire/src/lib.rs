//! The gRPC types.
