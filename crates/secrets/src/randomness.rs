//! Random bytes for keys and nonces.

use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce.
pub(crate) const NONCE_BYTES: usize = 24;

/// The random bytes of one operation. It must be used for one operation only.
pub struct Randomness {
    pub(crate) key: Zeroizing<[u8; KEY_BYTES]>,
    pub(crate) key_nonce: [u8; NONCE_BYTES],
    pub(crate) value_nonce: [u8; NONCE_BYTES],
}

/// The operating system returned no random bytes.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the operating system returned no random bytes: {reason}")]
pub struct RandomnessError {
    reason: String,
}

impl Randomness {
    /// Returns random bytes of the operating system.
    ///
    /// # Errors
    /// Returns [`RandomnessError`] if the operating system has none.
    pub fn of_system() -> Result<Self, RandomnessError> {
        let mut this = Self {
            key: Zeroizing::new([0; KEY_BYTES]),
            key_nonce: [0; NONCE_BYTES],
            value_nonce: [0; NONCE_BYTES],
        };
        for bytes in [&mut this.key[..], &mut this.key_nonce, &mut this.value_nonce] {
            getrandom::fill(bytes).map_err(|error| RandomnessError { reason: error.to_string() })?;
        }
        Ok(this)
    }

    /// Returns a random nonce of the operating system.
    ///
    /// # Errors
    /// Returns [`RandomnessError`] if the operating system has none.
    pub fn nonce() -> Result<[u8; NONCE_BYTES], RandomnessError> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|error| RandomnessError { reason: error.to_string() })?;
        Ok(nonce)
    }

    /// Returns given bytes. Only tests may use it: two values that are sealed with the same bytes are not protected.
    #[must_use]
    pub fn of_bytes(key: [u8; 32], key_nonce: [u8; 24], value_nonce: [u8; 24]) -> Self {
        Self { key: Zeroizing::new(key), key_nonce, value_nonce }
    }
}

impl std::fmt::Debug for Randomness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Randomness").finish_non_exhaustive()
    }
}
