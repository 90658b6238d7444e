//! The vault: secrets of the store, opened with the master keys of this process.
//!
//! The store and its service hold sealed values only. Each process that uses secrets has the master keys itself. All
//! processes agree on the current master key in the configuration entry [`ENTRY`]: a new value is sealed with that key.
//! [`Vault::rotate`] makes the first key of this process the current one, and [`Vault::run`] wraps the data keys of earlier
//! master keys again.

mod error;
mod master_keys;
mod payload_keys;
#[cfg(test)]
mod tests;

pub use error::VaultError;
pub use payload_keys::VaultPayloadKeys;

use goconductor_saga::{Json, Timestamp};
use goconductor_secrets::{
    Binding, KeyId, KeyRing, OpenError, Randomness, SealedValue, WrappedKey, open, rewrap, seal,
};
use goconductor_service_kit::config::SecretsConfig;
use goconductor_store::{SecretHead, SecretPosition, SecretVersion, Store, WrappedDataKey};
use master_keys::MasterKeys;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The configuration entry with the id of the current master key.
const ENTRY: &str = "secrets.master_key";
/// Versions of a secret that are kept, so that a process that reads a given version survives some changes.
const KEPT_VERSIONS: u32 = 10;
/// Versions that one pass reads at once.
const PAGE: u32 = 200;
/// Most versions that a rotation counts.
const MAX_COUNTED: u32 = 1000;
/// Attempts to store a secret that other processes store at the same time.
const MAX_CONFLICTS: u32 = 20;
/// Interval between two searches for data keys of earlier master keys.
const INTERVAL: Duration = Duration::from_secs(30);
/// Delay after a search that failed.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// Secrets of the store, opened with the master keys of this process.
#[derive(Debug)]
pub struct Vault {
    store: Arc<dyn Store>,
    keys: MasterKeys,
    rotated: Notify,
}

/// The progress of a rotation of the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The id of the current master key.
    pub key_id: String,
    /// Whether this call made it the current one.
    pub changed: bool,
    /// Versions whose data keys are still wrapped with an earlier master key, at most 1000.
    pub pending: u32,
}

impl Vault {
    /// Returns the master keys that were read last.
    #[must_use]
    pub fn key_ring(&self) -> Arc<KeyRing> {
        self.keys.ring()
    }

    /// Opens the vault, and compares the master keys with the key that the store expects. Returns `None` if the process has
    /// no master key and the store no secrets.
    ///
    /// # Errors
    /// Returns [`VaultError`] if the keys cannot be read, if the key that the store expects is not among them, or if the
    /// store cannot be read.
    pub async fn open(
        config: &SecretsConfig,
        store: Arc<dyn Store>,
    ) -> Result<Option<Arc<Self>>, VaultError> {
        let Some(source) = config.master_key.clone() else {
            return match expected_key(&*store).await? {
                Some((_, key_id)) if has_secrets(&*store).await? => Err(VaultError::NoKey { key_id }),
                Some(_) | None => Ok(None),
            };
        };
        let keys = MasterKeys::read(source, config.command_timeout).await?;
        let this = Self { store, keys, rotated: Notify::new() };
        this.check_keys().await?;
        Ok(Some(Arc::new(this)))
    }

    /// Compares the keys with the expected one. The first process of a store, and of one that has no secrets any more,
    /// sets the expectation.
    async fn check_keys(&self) -> Result<(), VaultError> {
        let ring = self.keys.ring();
        loop {
            let expected = expected_key(&*self.store).await?;
            let revision = match expected {
                Some((revision, key_id)) if known(&ring, &key_id).is_none() => {
                    if has_secrets(&*self.store).await? {
                        return Err(self.keys.wrong(key_id));
                    }
                    revision
                }
                Some((_, key_id)) => return self.check_earlier_keys(&ring, &key_id).await,
                None => 0,
            };
            let value = entry(ring.current().id());
            if self.store.compare_and_set(ENTRY, revision, &value).await?.is_some() {
                return Ok(());
            }
        }
    }

    /// Checks that the data keys of earlier master keys can be unwrapped: a rotation may not have ended.
    async fn check_earlier_keys(&self, ring: &KeyRing, current: &str) -> Result<(), VaultError> {
        let mut after: Option<SecretPosition> = None;
        loop {
            let page = self.store.secrets_of_other_keys(current, after.as_ref(), PAGE).await?;
            if let Some(lost) = page.iter().find(|version| known(ring, &version.key.key_id).is_none()) {
                return Err(self.keys.wrong(lost.key.key_id.clone()));
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last.position),
                None => return Ok(()),
            }
        }
    }

    /// Stores the next version of a secret.
    ///
    /// # Errors
    /// Returns [`VaultError::Contention`] if other callers stored the same secret at the same time, and the errors of the
    /// store.
    pub async fn put(
        &self,
        namespace: &str,
        name: &str,
        value: &SecretString,
    ) -> Result<SecretHead, VaultError> {
        self.put_bytes((namespace, name), value.expose_secret().as_bytes(), KEPT_VERSIONS).await
    }

    pub(crate) async fn put_bytes(
        &self,
        (namespace, name): (&str, &str),
        value: &[u8],
        keep: u32,
    ) -> Result<SecretHead, VaultError> {
        for _ in 0..MAX_CONFLICTS {
            let head = self.store.secret_head(namespace, name).await?;
            let version = head.map_or(0, |head| head.version).saturating_add(1);
            let key_id = self.current_key().await?;
            let sealed = {
                let ring = self.keys.ring();
                let key = known(&ring, &key_id).ok_or_else(|| self.keys.wrong(key_id.clone()))?;
                let binding = Binding { namespace, name, version };
                seal(key, &binding, value, &Randomness::of_system()?)
            };
            let position = SecretPosition { namespace: namespace.to_owned(), name: name.to_owned(), version };
            let stored = SecretVersion {
                position,
                key: stored_key(sealed.key),
                sealed: sealed.sealed,
                created_at: Timestamp(0),
            };
            if let Some(head) = self.store.put_secret(&stored, keep).await? {
                // A rotation that ended in the meantime did not see this version.
                if self.current_key().await? != key_id {
                    self.rewrap(&stored).await?;
                }
                return Ok(head);
            }
        }
        Err(VaultError::Contention { name: name.to_owned() })
    }

    /// Returns a version of a secret, or the newest one, and its number. Returns `None` if it does not exist.
    ///
    /// # Errors
    /// Returns [`VaultError::WrongKey`] if the master key is not known, [`VaultError::Corrupt`] if the stored value was
    /// changed, and the errors of the store.
    pub async fn get(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<(u32, SecretString)>, VaultError> {
        let Some((version, bytes)) = self.get_bytes(namespace, name, version).await? else { return Ok(None) };
        let text = std::str::from_utf8(bytes.expose_secret());
        let text = text.map_err(|_| VaultError::Corrupt { name: name.to_owned() })?;
        Ok(Some((version, SecretString::from(text))))
    }

    pub(crate) async fn get_bytes(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<(u32, SecretSlice<u8>)>, VaultError> {
        let stored = self.store.secret_version(namespace, name, version).await?;
        let Some(SecretVersion { position, key, sealed, .. }) = stored else { return Ok(None) };
        let key = opened_key(&key).ok_or_else(|| VaultError::Corrupt { name: name.to_owned() })?;
        let value = SealedValue { key, sealed };
        let version = position.version;
        let binding = Binding { namespace, name, version };
        let opened = match open(&self.keys.ring(), &binding, &value) {
            // The key may have been added to its source.
            Err(OpenError::UnknownKey(_)) => {
                let ring = self.keys.reload().await?;
                open(&ring, &binding, &value)
            }
            opened => opened,
        };
        match opened {
            Ok(bytes) => Ok(Some((version, bytes))),
            Err(OpenError::UnknownKey(id)) => Err(self.keys.wrong(id.to_string())),
            Err(OpenError::Refused) => Err(VaultError::Corrupt { name: name.to_owned() }),
        }
    }

    /// Returns the id of the key that seals new values.
    async fn current_key(&self) -> Result<String, VaultError> {
        let Some((_, key_id)) = expected_key(&*self.store).await? else {
            self.check_keys().await?;
            return Ok(self.keys.ring().current().id().to_string());
        };
        if known(&self.keys.ring(), &key_id).is_none() {
            self.keys.reload().await?;
        }
        Ok(key_id)
    }

    /// Reads the master keys again and makes the first one the current key. The data keys are wrapped again in the
    /// background.
    ///
    /// # Errors
    /// Returns [`VaultError`] if the keys cannot be read, if an earlier key that is still needed is not among them, or if
    /// the store failed.
    pub async fn rotate(&self) -> Result<Rotation, VaultError> {
        let ring = self.keys.reload().await?;
        let new = ring.current().id();
        let mut changed = false;
        for _ in 0..MAX_CONFLICTS {
            let (revision, current) = expected_key(&*self.store).await?.unwrap_or_default();
            if current == new.to_string() {
                self.rotated.notify_one();
                let pending = self.store.secrets_of_other_keys(&current, None, MAX_COUNTED).await?.len();
                let pending = u32::try_from(pending).unwrap_or(MAX_COUNTED);
                return Ok(Rotation { key_id: current, changed, pending });
            }
            if revision > 0 && known(&ring, &current).is_none() {
                return Err(self.keys.wrong(current));
            }
            self.check_earlier_keys(&ring, &current).await?;
            changed |= self.store.compare_and_set(ENTRY, revision, &entry(new)).await?.is_some();
        }
        Err(VaultError::Contention { name: ENTRY.to_owned() })
    }

    /// Wraps the data keys of earlier master keys with the current one, until `stop` ends. Every process may run it
    /// at the same time, and a process that is killed loses nothing.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let delay = match self.rewrap_all().await {
                Ok(0) => INTERVAL,
                Ok(rewrapped) => {
                    tracing::info!(rewrapped, "data keys were wrapped with the current master key");
                    INTERVAL
                }
                Err(error) => {
                    tracing::warn!(%error, "data keys were not wrapped with the current master key");
                    RETRY_DELAY
                }
            };
            // All arms are cancel-safe: they only wait.
            tokio::select! {
                () = &mut stop => return,
                () = self.rotated.notified() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    async fn rewrap_all(&self) -> Result<u64, VaultError> {
        let current = self.current_key().await?;
        let (mut after, mut rewrapped): (Option<SecretPosition>, u64) = (None, 0);
        loop {
            let page = self.store.secrets_of_other_keys(&current, after.as_ref(), PAGE).await?;
            for version in &page {
                rewrapped += u64::from(self.rewrap(version).await?);
            }
            match page.into_iter().next_back() {
                Some(last) => after = Some(last.position),
                None => return Ok(rewrapped),
            }
        }
    }

    /// Wraps the data key of a version with the current master key. Returns `false` if another process did.
    async fn rewrap(&self, version: &SecretVersion) -> Result<bool, VaultError> {
        let SecretPosition { namespace, name, version: number } = &version.position;
        let corrupt = || VaultError::Corrupt { name: name.clone() };
        let current = self.current_key().await?;
        let ring = self.keys.ring();
        let ring = ring.with_current(&current).ok_or_else(|| self.keys.wrong(current))?;
        let binding = Binding { namespace, name, version: *number };
        let key = opened_key(&version.key).ok_or_else(corrupt)?;
        let rewrapped = match rewrap(&ring, &binding, &key, &Randomness::of_system()?) {
            Ok(Some(rewrapped)) => stored_key(rewrapped),
            Ok(None) => return Ok(false),
            Err(OpenError::UnknownKey(id)) => return Err(self.keys.wrong(id.to_string())),
            Err(OpenError::Refused) => return Err(corrupt()),
        };
        Ok(self.store.rewrap_secret(&version.position, &version.key.key_id, &rewrapped).await?)
    }
}

/// Returns the revision of the entry and the id of the current master key.
async fn expected_key(store: &dyn Store) -> Result<Option<(u64, String)>, VaultError> {
    let Some(entry) = store.config_entry(ENTRY).await? else { return Ok(None) };
    let current = entry.value.get("current").and_then(Json::as_str).map(str::to_owned);
    Ok(Some((entry.revision, current.unwrap_or_default())))
}

async fn has_secrets(store: &dyn Store) -> Result<bool, VaultError> {
    Ok(!store.secrets_of_other_keys("", None, 1).await?.is_empty())
}

fn entry(key: KeyId) -> Json {
    json!({ "current": key.to_string() })
}

fn known<'r>(ring: &'r KeyRing, id: &str) -> Option<&'r goconductor_secrets::MasterKey> {
    ring.get(id.parse().ok()?)
}

fn stored_key(key: WrappedKey) -> WrappedDataKey {
    WrappedDataKey { key_id: key.key_id.to_string(), wrapped: key.wrapped }
}

fn opened_key(key: &WrappedDataKey) -> Option<WrappedKey> {
    Some(WrappedKey { key_id: key.key_id.parse().ok()?, wrapped: key.wrapped.clone() })
}
