//! Access keys: the credentials that the API issues. The store keeps a digest of the secret, never the secret.

use crate::Error;
use crate::layer::layer;
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use serde::{Deserialize, Serialize};

/// Access keys.
#[async_trait]
pub trait AccessKeyStore: std::fmt::Debug + Send + Sync {
    /// Stores a new key. Returns whether it was stored: `false` if a key has the same id, which is not changed.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn create_access_key(&self, key: &AccessKey) -> Result<bool, Error>;

    /// Returns a key, also one that has ended.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn access_key(&self, id: &str) -> Result<Option<AccessKey>, Error>;

    /// Returns a page of at most `limit` keys by id, starting behind the id `after`. Keys that have ended are included.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn access_keys(&self, after: Option<&str>, limit: u32) -> Result<Vec<AccessKey>, Error>;

    /// Ends a key. Returns the key with its end, or `None` if there is no such key. An end never moves to a later time.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost. A
    /// repeated call has the same effect.
    async fn end_access_key(&self, id: &str, end: AccessKeyEnd) -> Result<Option<AccessKey>, Error>;

    /// Returns a number that rises with each change of a key. A process that caches keys compares it.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn access_revision(&self) -> Result<u64, Error>;
}

layer!(AccessKeyStore, AccessKeyLayer {
    fn create_access_key(key: &AccessKey) -> bool;
    fn access_key(id: &str) -> Option<AccessKey>;
    fn access_keys(after: Option<&str>, limit: u32) -> Vec<AccessKey>;
    fn end_access_key(id: &str, end: AccessKeyEnd) -> Option<AccessKey>;
    fn access_revision() -> u64;
});

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Identifies the key. It is part of the text of the key and not secret.
    pub id: String,
    /// The purpose of the key, for people.
    pub name: String,
    /// A digest of the secret, from which the secret cannot be computed.
    pub digest: Vec<u8>,
    /// The rights of the key.
    pub scope: AccessScope,
    /// The caller that created the key.
    pub created_by: String,
    /// Time when the key was created.
    pub created_at: Timestamp,
    /// Time from which on the key is refused. `None` if it does not expire.
    pub expires_at: Option<Timestamp>,
    /// Time when the key was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The rights of a key: each of the roles in each of the namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AccessScope {
    /// The names of roles.
    pub roles: Vec<String>,
    /// Namespaces, or `*` for all.
    pub namespaces: Vec<String>,
    /// The services that a worker with the key may serve. Empty for all.
    pub services: Vec<String>,
}

/// The end of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessKeyEnd {
    /// The key is revoked at this time.
    Revoked(Timestamp),
    /// The key expires at this time, unless it expires earlier.
    Expires(Timestamp),
}
