//! TLS of the listeners and clients of all services.
//!
//! - [`TlsIdentity`] has the certificate of a process and the authorities that it trusts. It follows its files, so that
//!   both are replaced without a restart.
//! - [`TlsIdentity::accept`] is the side of a listener, and [`ClientTls`] that of a client.
//! - [`Peer`] is the identity in the certificate of the other side. Its [`PeerRole`]s say what it may do.
//!
//! An identity is a URI in the certificate, `spiffe://<trust domain>/<role>`. Services authenticate one another by it: a
//! certificate of an executor is refused where a gateway is expected, whichever host name it contains.
//!
//! The crate deliberately knows no configuration file, no HTTP and no method. Sessions are never resumed, because a
//! resumed session would not check the certificate again.
//!
//! Invariants: files that cannot be used never replace files that can; a new handshake uses the files of the last
//! second; a session whose certificate is no longer trusted is reported as [`SessionStatus::Refused`].

mod certificate;
mod client;
mod connector;
mod error;
mod files;
mod identity;
mod loaded;
pub mod metrics;
mod peer;
mod provider;
mod roles;
mod server;
mod stream;
mod verifier;

pub use client::{ClientTls, no_servers};
pub use connector::{ConnectFailure, SecureConnector};
pub use error::{Error, is_refused_certificate};
pub use files::TlsFiles;
pub use identity::TlsIdentity;
pub use peer::Peer;
pub use roles::{DEFAULT_TRUST_DOMAIN, PeerRole, PeerRoles, is_trust_domain};
pub use server::{HandshakeFailure, SessionStatus, TlsSession};
pub use stream::ClientStream;
pub use tokio_rustls::server::TlsStream as ServerStream;
