//! Sessions of the console: what is kept of a principal, and how it becomes a principal again.
//!
//! A session keeps no credential. The keeper of an identity must make sure that it cannot be changed or invented.

use crate::control::{AccessControl, record};
use crate::credential::Rejection;
use crate::principal::{CredentialId, Principal};
use goconductor_saga::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The context of the check value of the bootstrap key.
const CONTEXT: &str = "goconductor 2026-11-30 session of the bootstrap key v1";

/// The identity of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SessionIdentity {
    /// An access key of the store, by its id.
    Key {
        /// The id.
        id: String,
    },
    /// The bootstrap key.
    Bootstrap {
        /// A check value that follows from the key. A session ends when the key is replaced.
        check: String,
    },
    /// A user of the identity provider.
    User {
        /// The issuer.
        issuer: String,
        /// The subject.
        subject: String,
        /// The groups that bindings named when the user signed in.
        groups: Vec<String>,
    },
}

impl AccessControl {
    /// Returns the identity of a session of a principal with an access key. `None` for another credential.
    #[must_use]
    pub fn identity_of(&self, principal: &Principal) -> Option<SessionIdentity> {
        match &principal.credential {
            CredentialId::Key(id) => Some(SessionIdentity::Key { id: id.clone() }),
            CredentialId::Bootstrap => {
                let (hash, _) = self.bootstrap()?;
                Some(SessionIdentity::Bootstrap { check: check_value(hash).to_hex().to_string() })
            }
            CredentialId::Certificate(_) | CredentialId::User(_) => None,
        }
    }

    /// Returns the principal of a session that ends at `ends_at`, with the rights that it has now. It ends earlier if its
    /// key ends.
    ///
    /// # Errors
    /// Returns the [`Rejection`] of the credential behind the session. `Unavailable` and `Busy` say nothing about it.
    pub async fn resume(
        &self,
        identity: &SessionIdentity,
        ends_at: Timestamp,
    ) -> Result<Arc<Principal>, Rejection> {
        self.resumed(identity, ends_at).await.inspect_err(record)
    }

    async fn resumed(
        &self,
        identity: &SessionIdentity,
        ends_at: Timestamp,
    ) -> Result<Arc<Principal>, Rejection> {
        if ends_at <= self.now() {
            return Err(Rejection::Expired);
        }
        let principal = match identity {
            SessionIdentity::Key { id } => self.principal_of_key(id).await?,
            SessionIdentity::Bootstrap { check } => {
                let (hash, principal) = self.bootstrap().ok_or(Rejection::Revoked)?;
                let wanted = blake3::Hash::from_hex(check).map_err(|_| Rejection::Unknown)?;
                if check_value(hash) != wanted {
                    return Err(Rejection::Revoked);
                }
                Arc::clone(principal)
            }
            SessionIdentity::User { issuer, subject, groups } => {
                Arc::new(self.user(issuer, subject, groups).ok_or(Rejection::Revoked)?)
            }
        };
        let expires_at = principal.expires_at.map_or(ends_at, |at| at.min(ends_at));
        Ok(Arc::new(Principal { expires_at: Some(expires_at), ..Principal::clone(&principal) }))
    }
}

fn check_value(hash: &blake3::Hash) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(hash.as_bytes());
    hasher.finalize()
}
