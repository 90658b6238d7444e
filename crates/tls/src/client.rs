//! The side of clients.

use crate::error::Error;
use crate::files::TlsFiles;
use crate::identity::TlsIdentity;
use crate::provider::provider;
use crate::roles::{PeerRole, PeerRoles};
use crate::verifier::{CurrentCertificate, Expectation, ServerVerifier};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// TLS of a client. It verifies the chain, the host name and the role of a server, and presents the certificate of its
/// own process. Both follow the files.
#[derive(Debug, Clone)]
pub struct ClientTls {
    identity: TlsIdentity,
    expectation: Expectation,
}

impl TlsIdentity {
    /// Returns the side of a client that expects a role of the server.
    #[must_use]
    pub fn client(&self, expected: PeerRole) -> ClientTls {
        let roles = PeerRoles::of(&[expected]);
        let expectation = Expectation { roles, checks_name: true, allows_no_identity: false };
        ClientTls { identity: self.clone(), expectation }
    }
}

impl ClientTls {
    /// Loads the files of a program that is only a client, and does not follow them. It accepts every trust domain.
    ///
    /// # Errors
    /// Returns [`Error`] if a file cannot be used, or if this machine trusts no authority and `files` names none.
    pub fn load(files: TlsFiles, section: &str, expected: PeerRole) -> Result<Self, Error> {
        Ok(TlsIdentity::load(files, section, None)?.client(expected))
    }

    /// Returns the certificate and the authorities of the client, such as to follow their files.
    #[must_use]
    pub fn identity(&self) -> &TlsIdentity {
        &self.identity
    }

    /// Returns the same client for servers with another role.
    #[must_use]
    pub fn expecting(&self, role: PeerRole) -> Self {
        self.identity.client(role)
    }

    /// Accepts a server with any role, such as to ask a process for its health.
    #[must_use]
    pub fn of_any_role(mut self) -> Self {
        self.expectation.roles = PeerRoles::of(&PeerRole::ALL);
        self
    }

    /// Accepts a server whose certificate does not contain the name of the host, as long as it has the role. Processes
    /// that were discovered have addresses that no certificate contains.
    #[must_use]
    pub fn by_identity(mut self) -> Self {
        self.expectation.checks_name = false;
        self
    }

    /// Also accepts a server whose certificate contains no identity at all, as long as it contains the name of the host.
    /// The certificate of an API may be of a public authority.
    #[must_use]
    pub fn or_by_name(mut self) -> Self {
        self.expectation.allows_no_identity = self.expectation.checks_name;
        self
    }

    /// Returns the configuration of handshakes, for a client that negotiates one of `protocols`.
    ///
    /// # Errors
    /// Returns [`Error`] if this build cannot speak TLS.
    pub fn config(&self, protocols: &[&[u8]]) -> Result<ClientConfig, Error> {
        let identity = self.identity.clone();
        let verifier = Arc::new(self.verifier());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(self.identity.provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new("", "tls", error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(CurrentCertificate(identity)));
        // A resumed session would not check the certificate of the server again.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }

    pub(crate) fn verifier(&self) -> ServerVerifier {
        ServerVerifier { identity: self.identity.clone(), expectation: self.expectation }
    }
}

/// Returns the configuration of a client that trusts no server, for a client of plain HTTP whose library requires one.
///
/// # Errors
/// Returns [`Error`] if this build cannot speak TLS.
pub fn no_servers() -> Result<ClientConfig, Error> {
    let config = ClientConfig::builder_with_provider(provider()?)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new("", "tls", error.to_string()))?;
    Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}
