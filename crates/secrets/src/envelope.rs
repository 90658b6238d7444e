//! Sealed values.

use crate::cipher::Cipher;
use crate::key_ring::KeyRing;
use crate::master_key::{KeyId, MasterKey};
use crate::randomness::KEY_BYTES;
use crate::randomness::Randomness;
use secrecy::SecretSlice;
use zeroize::Zeroizing;

/// The purposes of sealed bytes. They are the first part of the associated data, and must never change.
const VALUE: &[u8] = b"goconductor secret value";
const DATA_KEY: &[u8] = b"goconductor secret data key";

/// The place of a value. A sealed value can be opened in its own place only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The name of the secret.
    pub name: &'a str,
    /// The version of the secret.
    pub version: u32,
}

/// A data key that is sealed with a master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// The master key.
    pub key_id: KeyId,
    /// The sealed data key.
    pub wrapped: Vec<u8>,
}

/// A value that is sealed with a data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedValue {
    /// The data key.
    pub key: WrappedKey,
    /// The sealed value.
    pub sealed: Vec<u8>,
}

/// A value that cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The master key is not in the ring.
    #[error("the master key {0} is not configured")]
    UnknownKey(KeyId),
    /// The value was changed, or was sealed with another key or for another place.
    #[error("the sealed value was changed, or belongs to another secret")]
    Refused,
}

/// Seals a value with a new data key, and the data key with the master key.
#[must_use]
pub fn seal(master: &MasterKey, binding: &Binding<'_>, value: &[u8], randomness: &Randomness) -> SealedValue {
    let sealed =
        Cipher::new(&randomness.key).seal(randomness.value_nonce, value, &associated(VALUE, binding, None));
    SealedValue { key: wrap(master, binding, &randomness.key, randomness), sealed }
}

/// Opens a value.
///
/// # Errors
/// Returns [`OpenError::UnknownKey`] if the ring does not contain the master key, and [`OpenError::Refused`] if the value
/// was changed.
pub fn open(
    ring: &KeyRing,
    binding: &Binding<'_>,
    value: &SealedValue,
) -> Result<SecretSlice<u8>, OpenError> {
    let key = unwrap(ring, binding, &value.key)?;
    let opened = Cipher::new(&key).open(&value.sealed, &associated(VALUE, binding, None));
    let mut opened = opened.map_err(|_| OpenError::Refused)?;
    Ok(SecretSlice::from(std::mem::take(&mut *opened)))
}

/// Seals a data key with the current master key. Returns `None` if it is sealed with this key already.
///
/// # Errors
/// Returns the errors of [`open`].
pub fn rewrap(
    ring: &KeyRing,
    binding: &Binding<'_>,
    key: &WrappedKey,
    randomness: &Randomness,
) -> Result<Option<WrappedKey>, OpenError> {
    if key.key_id == ring.current().id() {
        return Ok(None);
    }
    let data_key = unwrap(ring, binding, key)?;
    Ok(Some(wrap(ring.current(), binding, &data_key, randomness)))
}

fn wrap(
    master: &MasterKey,
    binding: &Binding<'_>,
    key: &[u8; KEY_BYTES],
    randomness: &Randomness,
) -> WrappedKey {
    let associated = associated(DATA_KEY, binding, Some(master.id()));
    WrappedKey { key_id: master.id(), wrapped: master.cipher().seal(randomness.key_nonce, key, &associated) }
}

fn unwrap(
    ring: &KeyRing,
    binding: &Binding<'_>,
    key: &WrappedKey,
) -> Result<Zeroizing<[u8; KEY_BYTES]>, OpenError> {
    let master = ring.get(key.key_id).ok_or(OpenError::UnknownKey(key.key_id))?;
    let associated = associated(DATA_KEY, binding, Some(key.key_id));
    let opened = master.cipher().open(&key.wrapped, &associated).map_err(|_| OpenError::Refused)?;
    let key: [u8; KEY_BYTES] = opened.as_slice().try_into().map_err(|_| OpenError::Refused)?;
    Ok(Zeroizing::new(key))
}

/// Returns the associated data. Each part has its length in front of it, so that two different places never have the
/// same bytes.
fn associated(purpose: &[u8], binding: &Binding<'_>, key: Option<KeyId>) -> Vec<u8> {
    let Binding { namespace, name, version } = binding;
    let key = key.map(|key| key.to_string()).unwrap_or_default();
    let mut bytes = Vec::new();
    for part in [purpose, namespace.as_bytes(), name.as_bytes(), &version.to_be_bytes(), key.as_bytes()] {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}
