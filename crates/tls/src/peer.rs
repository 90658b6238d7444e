//! The identity of the other side of a connection.

use crate::certificate::CertificateFacts;
use crate::roles::{Identities, PeerRole, PeerRoles};
use std::sync::Arc;

/// The identity in a verified certificate. Clones are cheap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The URIs among the alternative names of the certificate.
    pub uris: Arc<[String]>,
    /// The common name of the subject. It is for people: decisions use the URIs.
    pub common_name: Option<Arc<str>>,
    roles: PeerRoles,
    services: Arc<[String]>,
}

impl Peer {
    /// Creates the identity of a certificate with these URIs. Roles are read from URIs of the trust domain; `None`
    /// accepts every domain.
    #[must_use]
    pub fn new(uris: Vec<String>, common_name: Option<&str>, trust_domain: Option<&str>) -> Self {
        let Identities { roles, services } = Identities::read(uris.iter().map(String::as_str), trust_domain);
        Self { uris: uris.into(), common_name: common_name.map(Into::into), roles, services: services.into() }
    }

    pub(crate) fn of(facts: &CertificateFacts, trust_domain: Option<&str>) -> Self {
        Self::new(facts.uris.clone(), facts.common_name.as_deref(), trust_domain)
    }

    /// Returns the roles of the peer.
    #[must_use]
    pub fn roles(&self) -> PeerRoles {
        self.roles
    }

    /// Returns whether the peer may serve a service as a worker.
    #[must_use]
    pub fn may_serve(&self, service: &str) -> bool {
        self.roles.contains(PeerRole::Worker)
            && (self.services.is_empty() || self.services.iter().any(|allowed| allowed == service))
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.uris.first(), &self.common_name) {
            (Some(uri), _) => f.write_str(uri),
            (None, Some(name)) => write!(f, "CN={name}"),
            (None, None) => f.write_str("a certificate without an identity"),
        }
    }
}
