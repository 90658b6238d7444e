//! The caller of a request, once it is authenticated.

use crate::grants::Grants;
use goconductor_saga::Timestamp;
use goconductor_service_kit::config::{AccessConfig, AccessSubject};
use std::fmt;

/// Identifies a credential, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CredentialId {
    /// An access key of the store, by its id.
    Key(String),
    /// The bootstrap key of the configuration.
    Bootstrap,
    /// A client certificate, by one of its URIs.
    Certificate(String),
    /// A user of the identity provider, by the subject of the token.
    User(String),
}

impl fmt::Display for CredentialId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Bootstrap => f.write_str("key:bootstrap"),
            Self::Certificate(uri) => write!(f, "cert:{uri}"),
            Self::User(subject) => write!(f, "user:{subject}"),
        }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The name that the history records, such as `key:0123456789abcdef` or `cert:spiffe://shop/operator`.
    pub actor: String,
    /// The credential.
    pub credential: CredentialId,
    /// The rights of the caller.
    pub grants: Grants,
    /// Time from which on the credential is refused. `None` if it does not expire.
    pub expires_at: Option<Timestamp>,
}

impl Principal {
    /// Returns the principal of a user of the identity provider, with the rights that bindings give now.
    pub(crate) fn of_user(
        subject: &str,
        groups: &[String],
        config: &AccessConfig,
        expires_at: Option<Timestamp>,
    ) -> Self {
        let groups = groups.iter().cloned().map(AccessSubject::Group);
        let subjects: Vec<AccessSubject> = groups.chain([AccessSubject::User(subject.to_owned())]).collect();
        let credential = CredentialId::User(subject.to_owned());
        let grants = Grants::of_subjects(&subjects, config);
        Self { actor: credential.to_string(), credential, grants, expires_at }
    }
}
