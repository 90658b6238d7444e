//! The keys of encrypted payloads: one for each namespace, in versions. They are secrets of a namespace of their own, whose
//! name no user can choose.

use super::{Vault, VaultError};
use async_trait::async_trait;
use goconductor_secrets::{MasterKey, PayloadKey, Randomness};
use goconductor_service_kit::config::EncryptionConfig;
use goconductor_store::{Error, SecretHead};
use goconductor_transition::PayloadKeys;
use parking_lot::RwLock;
use secrecy::ExposeSecret;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The namespace of the keys. The name of a key is that of its namespace.
const NAMESPACE: &str = ":payloads";
/// Time after which a process notices that another one rotated the key of a namespace.
const MAX_AGE: Duration = Duration::from_secs(5);

/// The keys of encrypted payloads. A key that was read once is kept.
#[derive(Debug)]
pub struct VaultPayloadKeys {
    vault: Arc<Vault>,
    config: EncryptionConfig,
    /// The newest key of each namespace, and when it was read.
    current: RwLock<HashMap<String, (Arc<PayloadKey>, Instant)>>,
    versions: RwLock<HashMap<String, HashMap<u32, Arc<PayloadKey>>>>,
}

impl VaultPayloadKeys {
    /// Creates the keys of a vault.
    #[must_use]
    pub fn new(vault: Arc<Vault>, config: EncryptionConfig) -> Arc<Self> {
        Arc::new(Self { vault, config, current: RwLock::default(), versions: RwLock::default() })
    }

    fn fresh(&self, namespace: &str) -> Option<Arc<PayloadKey>> {
        let current = self.current.read();
        let (key, read_at) = current.get(namespace)?;
        (read_at.elapsed() < MAX_AGE).then(|| Arc::clone(key))
    }

    async fn read(
        &self,
        namespace: &str,
        version: Option<u32>,
    ) -> Result<Option<Arc<PayloadKey>>, VaultError> {
        let Some((version, bytes)) = self.vault.get_bytes(NAMESPACE, namespace, version).await? else {
            return Ok(None);
        };
        let corrupt = |_| VaultError::Corrupt { name: format!("payload key of {namespace}") };
        let key = Arc::new(PayloadKey::new(version, &bytes).map_err(corrupt)?);
        self.versions.write().entry(namespace.to_owned()).or_default().insert(version, Arc::clone(&key));
        Ok(Some(key))
    }

    async fn newest(&self, namespace: &str) -> Result<Arc<PayloadKey>, VaultError> {
        loop {
            if let Some(key) = self.read(namespace, None).await? {
                return Ok(key);
            }
            self.vault.create_payload_key(namespace).await?;
        }
    }
}

impl Vault {
    /// Creates the next version of the payload key of a namespace. All processes use it within five seconds. Payloads with
    /// earlier keys stay readable.
    ///
    /// # Errors
    /// Returns the errors of [`put`](Self::put).
    pub async fn create_payload_key(&self, namespace: &str) -> Result<SecretHead, VaultError> {
        let key = MasterKey::random_bytes(&Randomness::of_system()?);
        self.put_bytes((NAMESPACE, namespace), key.expose_secret(), 0).await
    }
}

#[async_trait]
impl PayloadKeys for VaultPayloadKeys {
    fn seals(&self, namespace: &str) -> bool {
        self.config.seals(namespace)
    }

    async fn current(&self, namespace: &str) -> Result<Arc<PayloadKey>, Error> {
        if let Some(key) = self.fresh(namespace) {
            return Ok(key);
        }
        match self.newest(namespace).await {
            Ok(key) => {
                let entry = (Arc::clone(&key), Instant::now());
                self.current.write().insert(namespace.to_owned(), entry);
                Ok(key)
            }
            Err(error) => {
                // An earlier key is as good while the newest one cannot be read.
                let known = self.current.read().get(namespace).map(|(key, _)| Arc::clone(key));
                known.ok_or_else(|| store_error(error))
            }
        }
    }

    async fn version(&self, namespace: &str, version: u32) -> Result<Arc<PayloadKey>, Error> {
        let known = self.versions.read().get(namespace).and_then(|keys| keys.get(&version).cloned());
        if let Some(key) = known {
            return Ok(key);
        }
        let missing = || {
            let reason =
                "the key does not exist: restore the tables of secrets from the backup of the workflows";
            Error::corrupt(format!("version {version} of the payload key of {namespace}"), reason)
        };
        self.read(namespace, Some(version)).await.map_err(store_error)?.ok_or_else(missing)
    }
}

fn store_error(error: VaultError) -> Error {
    if let VaultError::Store(error) = error {
        return error;
    }
    let reason = error.to_string();
    if error.is_retryable() { Error::unavailable(reason) } else { Error::configuration(reason) }
}
