//! Texts of workflows, sealed with a key of their namespace.

use crate::cipher::Cipher;
use crate::randomness::{KEY_BYTES, NONCE_BYTES};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretSlice};
use std::fmt;
use zeroize::Zeroizing;

/// The start of a sealed text. No JSON text starts with it.
const PREFIX: &str = "gcenc1:";

/// The key of a namespace for the texts of its workflows.
#[derive(Clone)]
pub struct PayloadKey {
    version: u32,
    cipher: Cipher,
}

/// A text that cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The text is not a sealed text.
    #[error("the text is not sealed")]
    Malformed,
    /// The text was changed, or was sealed with another key or for another place.
    #[error("the sealed text was changed, or belongs to another workflow")]
    Refused,
    /// The key does not have 32 bytes.
    #[error("the payload key does not have 32 bytes")]
    Key,
}

/// Returns whether a text is sealed.
#[must_use]
pub fn is_sealed(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// Returns the version of the key of a sealed text. Returns `None` if the text is not sealed.
#[must_use]
pub fn payload_key_version(text: &str) -> Option<u32> {
    text.strip_prefix(PREFIX)?.split_once(':')?.0.parse().ok()
}

impl PayloadKey {
    /// Creates a key of a version from its bytes.
    ///
    /// # Errors
    /// Returns [`PayloadError::Key`] if there are not 32 bytes.
    pub fn new(version: u32, bytes: &SecretSlice<u8>) -> Result<Self, PayloadError> {
        let bytes: [u8; KEY_BYTES] = bytes.expose_secret().try_into().map_err(|_| PayloadError::Key)?;
        let bytes = Zeroizing::new(bytes);
        Ok(Self { version, cipher: Cipher::new(&bytes) })
    }

    /// Returns the version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Seals a text. `place` is where it is stored, and must be the same when it is opened. The nonce must be random.
    #[must_use]
    pub fn seal(&self, place: &str, text: &str, nonce: [u8; NONCE_BYTES]) -> String {
        let sealed = self.cipher.seal(nonce, text.as_bytes(), place.as_bytes());
        let mut out = String::with_capacity(PREFIX.len() + 12 + sealed.len().div_ceil(3) * 4);
        out.push_str(PREFIX);
        out.push_str(&self.version.to_string());
        out.push(':');
        STANDARD_NO_PAD.encode_string(&sealed, &mut out);
        out
    }

    /// Opens a text.
    ///
    /// # Errors
    /// Returns [`PayloadError`] if the text is not sealed, was changed, or belongs to another place.
    pub fn open(&self, place: &str, text: &str) -> Result<String, PayloadError> {
        let (version, sealed) =
            text.strip_prefix(PREFIX).and_then(|rest| rest.split_once(':')).ok_or(PayloadError::Malformed)?;
        if version.parse() != Ok(self.version) {
            return Err(PayloadError::Refused);
        }
        let sealed = STANDARD_NO_PAD.decode(sealed).map_err(|_| PayloadError::Malformed)?;
        let mut opened = self.cipher.open(&sealed, place.as_bytes()).map_err(|_| PayloadError::Refused)?;
        String::from_utf8(std::mem::take(&mut *opened)).map_err(|_| PayloadError::Malformed)
    }
}

impl fmt::Debug for PayloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PayloadKey({})", self.version)
    }
}
