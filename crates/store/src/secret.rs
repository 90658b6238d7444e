//! Secrets: sealed values in versions. The store cannot open them.

use crate::Error;
use crate::layer::layer;
use async_trait::async_trait;
use goconductor_saga::Timestamp;

/// Sealed secrets.
#[async_trait]
pub trait SecretStore: std::fmt::Debug + Send + Sync {
    /// Stores the next version of a secret, deletes all but the newest `keep` versions (0 for none), and returns the
    /// secret. Returns `None`, and changes nothing, if `version` does not follow the newest version. The versions of a
    /// deleted secret are not used again. `created_at` of the version is set by the database.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn put_secret(&self, version: &SecretVersion, keep: u32) -> Result<Option<SecretHead>, Error>;

    /// Returns a secret without its value, also if it is deleted. Returns `None` if it never existed.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn secret_head(&self, namespace: &str, name: &str) -> Result<Option<SecretHead>, Error>;

    /// Returns a version of a secret, or the newest one if `version` is `None`. A deleted secret has no versions.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn secret_version(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<SecretVersion>, Error>;

    /// Returns up to `limit` secrets of a namespace that follow the name `after`, by name, without deleted ones.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn secrets(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<SecretHead>, Error>;

    /// Deletes a secret with all versions and returns whether it existed.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was deleted and `Error::OutcomeUnknown` if the response was lost.
    async fn delete_secret(&self, namespace: &str, name: &str) -> Result<bool, Error>;

    /// Returns up to `limit` versions of all namespaces whose data keys are not wrapped with the master key `key_id`. They
    /// follow `after`, by namespace, name and version.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn secrets_of_other_keys(
        &self,
        key_id: &str,
        after: Option<&SecretPosition>,
        limit: u32,
    ) -> Result<Vec<SecretVersion>, Error>;

    /// Replaces the wrapped data key of a version if it is still wrapped with the master key `from_key_id`. Returns whether
    /// it was replaced.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn rewrap_secret(
        &self,
        at: &SecretPosition,
        from_key_id: &str,
        key: &WrappedDataKey,
    ) -> Result<bool, Error>;
}

layer!(SecretStore, SecretLayer {
    fn put_secret(version: &SecretVersion, keep: u32) -> Option<SecretHead>;
    fn secret_head(namespace: &str, name: &str) -> Option<SecretHead>;
    fn secret_version(namespace: &str, name: &str, version: Option<u32>) -> Option<SecretVersion>;
    fn secrets(namespace: &str, after: Option<&str>, limit: u32) -> Vec<SecretHead>;
    fn delete_secret(namespace: &str, name: &str) -> bool;
    fn secrets_of_other_keys(key_id: &str, after: Option<&SecretPosition>, limit: u32) -> Vec<SecretVersion>;
    fn rewrap_secret(at: &SecretPosition, from_key_id: &str, key: &WrappedDataKey) -> bool;
});

/// A secret without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretHead {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The newest version, from 1.
    pub version: u32,
    /// Time when the secret was created, or created again after a deletion.
    pub created_at: Timestamp,
    /// Time of the newest version, or of the deletion.
    pub updated_at: Timestamp,
    /// Whether the secret is deleted.
    pub is_deleted: bool,
}

/// The place of a version among all versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretPosition {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The version, from 1.
    pub version: u32,
}

/// A data key that is sealed with a master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedDataKey {
    /// The id of the master key.
    pub key_id: String,
    /// The sealed data key.
    pub wrapped: Vec<u8>,
}

/// A version of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretVersion {
    /// Its place.
    pub position: SecretPosition,
    /// The data key, sealed with a master key.
    pub key: WrappedDataKey,
    /// The value, sealed with the data key.
    pub sealed: Vec<u8>,
    /// Time when the version was stored, by the database's clock.
    pub created_at: Timestamp,
}
