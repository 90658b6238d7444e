//! Settings of the adapters, as plain data.
//!
//! The modules here name no type of a driver, so they compile without any. The configuration reads its sections
//! straight into these types.

pub mod kafka;
pub mod kinesis;
pub mod nats;
pub mod rabbitmq;

use std::path::PathBuf;

/// TLS files in PEM form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificate authorities to trust. `None` means those that this machine trusts.
    pub ca_file: Option<PathBuf>,
    /// The client certificate, for brokers that ask for one.
    pub certificate_file: Option<PathBuf>,
    /// The private key of the client certificate.
    pub key_file: Option<PathBuf>,
}
