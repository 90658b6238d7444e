//! Master keys.

use crate::cipher::Cipher;
use crate::randomness::{KEY_BYTES, Randomness};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use secrecy::{SecretSlice, SecretString};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// Bytes of a key id. Among a handful of keys, two never have the same id.
const ID_BYTES: usize = 8;
/// Contexts of the keys that are derived from a master key. They must never change.
const ID_CONTEXT: &str = "goconductor 2026-11 id of a master key";
const WRAPPING_CONTEXT: &str = "goconductor 2026-11 wrapping of data keys";
const TOKEN_CONTEXT: &str = "goconductor 2026-11 sealing of tokens";

/// The id of a master key: 16 hexadecimal digits, which are derived from the key by a one-way function.
///
/// The id is the key check value as well. A key that is not the expected one has another id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_BYTES]);

/// A text that is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// The text has another length or other characters.
    #[error(
        "a key must be 32 bytes in base64 (44 characters) or hexadecimal (64 digits): create one with \
         `goconductor secret generate-key`"
    )]
    Malformed,
    /// All bytes are equal, so the key was not created at random.
    #[error("the bytes of the key are all equal: create a random key with `goconductor secret generate-key`")]
    NotRandom,
}

/// A master key.
#[derive(Clone)]
pub struct MasterKey {
    id: KeyId,
    cipher: Cipher,
    tokens: Cipher,
}

impl MasterKey {
    /// Parses a key: 32 bytes in base64 or hexadecimal.
    ///
    /// # Errors
    /// Returns [`KeyTextError`] if the text is not a key. The error does not contain the text.
    pub fn parse(text: &str) -> Result<Self, KeyTextError> {
        let bytes = decode(text).ok_or(KeyTextError::Malformed)?;
        if bytes.iter().all(|byte| Some(byte) == bytes.first()) {
            return Err(KeyTextError::NotRandom);
        }
        Ok(Self::of_bytes(&bytes))
    }

    /// Returns the text of a new key, in base64.
    #[must_use]
    pub fn generate(randomness: &Randomness) -> SecretString {
        SecretString::from(STANDARD.encode(randomness.key.as_slice()))
    }

    /// Returns the bytes of a new key, which is not a master key.
    #[must_use]
    pub fn random_bytes(randomness: &Randomness) -> SecretSlice<u8> {
        SecretSlice::from(randomness.key.to_vec())
    }

    pub(crate) fn of_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        let mut id = [0; ID_BYTES];
        for (to, from) in id.iter_mut().zip(blake3::derive_key(ID_CONTEXT, bytes)) {
            *to = from;
        }
        let wrapping = Zeroizing::new(blake3::derive_key(WRAPPING_CONTEXT, bytes));
        let tokens = Zeroizing::new(blake3::derive_key(TOKEN_CONTEXT, bytes));
        Self { id: KeyId(id), cipher: Cipher::new(&wrapping), tokens: Cipher::new(&tokens) }
    }

    /// Returns the id of the key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn cipher(&self) -> &Cipher {
        &self.cipher
    }

    /// Returns the cipher of tokens. Its key follows from the master key, and says nothing about it.
    pub(crate) fn tokens(&self) -> &Cipher {
        &self.tokens
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not the id of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a key has 16 hexadecimal digits")]
pub struct KeyIdError;

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        decode_hex(text).map(Self).ok_or(KeyIdError)
    }
}

fn decode(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let text = text.trim();
    if text.len() == 2 * KEY_BYTES {
        return decode_hex(text).map(Zeroizing::new);
    }
    let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    let bytes = engines.into_iter().find_map(|engine| engine.decode(text).ok()).map(Zeroizing::new)?;
    let bytes: [u8; KEY_BYTES] = bytes.as_slice().try_into().ok()?;
    Some(Zeroizing::new(bytes))
}

fn decode_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(bytes)
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
