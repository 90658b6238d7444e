//! XChaCha20-Poly1305, and the form of its output: a format byte, the nonce, the encrypted bytes and the tag.

use crate::randomness::{KEY_BYTES, NONCE_BYTES};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

/// The first byte of everything that is sealed. Another algorithm gets another number.
const FORMAT: u8 = 1;
/// Bytes before the encrypted ones.
const HEADER_BYTES: usize = 1 + NONCE_BYTES;
/// Bytes of the tag behind the encrypted ones.
const TAG_BYTES: usize = 16;

/// A cipher with its key. The key is overwritten on drop.
#[derive(Clone)]
pub(crate) struct Cipher(XChaCha20Poly1305);

/// The bytes are not what the key sealed, or not with this associated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

impl Cipher {
    pub(crate) fn new(key: &[u8; KEY_BYTES]) -> Self {
        Self(XChaCha20Poly1305::new(&Key::from(*key)))
    }

    pub(crate) fn seal(&self, nonce: [u8; NONCE_BYTES], data: &[u8], associated: &[u8]) -> Vec<u8> {
        let payload = Payload { msg: data, aad: associated };
        let mut sealed = Vec::with_capacity(HEADER_BYTES + data.len() + TAG_BYTES);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        // Invariant: the cipher refuses only data of more than 256 GiB. An empty result cannot be opened.
        match self.0.encrypt(&XNonce::from(nonce), payload) {
            Ok(encrypted) => sealed.extend_from_slice(&encrypted),
            Err(_) => sealed.clear(),
        }
        sealed
    }

    pub(crate) fn open(&self, sealed: &[u8], associated: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
        let (header, encrypted) = sealed.split_at_checked(HEADER_BYTES).ok_or(Refused)?;
        let (format, nonce) = header.split_first().ok_or(Refused)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| Refused)?;
        if *format != FORMAT {
            return Err(Refused);
        }
        let payload = Payload { msg: encrypted, aad: associated };
        self.0.decrypt(&XNonce::from(nonce), payload).map(Zeroizing::new).map_err(|_| Refused)
    }
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher")
    }
}
