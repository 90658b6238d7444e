//! Tokens that the processes of a cluster issue and accept: texts that are sealed with a key which follows from the master
//! key.

use crate::cipher::Cipher;
use crate::key_ring::KeyRing;
use crate::master_key::{KeyId, MasterKey};
use crate::randomness::{KEY_BYTES, NONCE_BYTES, Randomness};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// The purpose of sealed tokens, the first part of the associated data. It must never change.
const TOKEN: &str = "goconductor token";

impl KeyRing {
    /// Returns a ring with one random key, for a process without a master key. Only this process opens its tokens.
    #[must_use]
    pub fn of_process(randomness: &Randomness) -> Self {
        let key: &[u8; KEY_BYTES] = &randomness.key;
        Self::with_only(MasterKey::of_bytes(key))
    }

    /// Seals a text. A token of one purpose is not accepted for another one. The nonce must be random.
    #[must_use]
    pub fn seal_token(&self, purpose: &str, text: &[u8], nonce: [u8; NONCE_BYTES]) -> String {
        let key = self.current();
        let sealed = key.tokens().seal(nonce, text, &associated(purpose, key.id()));
        format!("{}.{}", key.id(), URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Opens a token. Returns `None` if it was changed, was sealed for another purpose or with a key that is not in the
    /// ring.
    #[must_use]
    pub fn open_token(&self, purpose: &str, token: &str) -> Option<Zeroizing<Vec<u8>>> {
        let (id, sealed) = token.split_once('.')?;
        let id: KeyId = id.parse().ok()?;
        let cipher: &Cipher = self.get(id)?.tokens();
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        cipher.open(&sealed, &associated(purpose, id)).ok()
    }
}

fn associated(purpose: &str, key: KeyId) -> Vec<u8> {
    format!("{TOKEN}\0{purpose}\0{key}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(seed: u8) -> KeyRing {
        KeyRing::of_process(&Randomness::of_bytes([seed; 32], [0; 24], [0; 24]))
    }

    #[test]
    fn token_is_opened_by_its_key_for_its_purpose_only() {
        let ring_of_one = ring(1);
        let token = ring_of_one.seal_token("session", b"ada", [7; 24]);
        let opened = |ring: &KeyRing, purpose: &str, token: &str| {
            ring.open_token(purpose, token).map(|text| text.to_vec())
        };
        assert_eq!(opened(&ring_of_one, "session", &token).as_deref(), Some(b"ada".as_slice()));
        assert_eq!(opened(&ring_of_one, "sign-in", &token), None);
        assert_eq!(opened(&ring(2), "session", &token), None);
        let other = ring(2).seal_token("session", b"ada", [7; 24]);
        let (id, _) = token.split_once('.').unwrap();
        let (_, sealed) = other.split_once('.').unwrap();
        assert_eq!(opened(&ring_of_one, "session", &format!("{id}.{sealed}")), None, "the id of another key");
        for text in ["", ".", "x.y", id, &format!("{id}."), &format!("{token}A"), &format!("{token} ")] {
            assert_eq!(opened(&ring_of_one, "session", text), None, "{text}");
        }
    }

    #[test]
    fn token_of_which_a_character_was_changed_is_not_opened() {
        let ring = ring(1);
        let token = ring.seal_token("session", b"ada", [7; 24]);
        for at in 0..token.len() - 1 {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(ring.open_token("session", &changed).is_none(), "character {at}");
        }
    }

    #[test]
    fn token_of_an_earlier_key_is_opened_while_the_key_is_configured() {
        let text = |seed: u8| format!("{}\n", "0123456789abcdef".repeat(3) + &format!("{seed:016x}"));
        let earlier = KeyRing::parse(&text(1)).unwrap();
        let token = earlier.seal_token("session", b"ada", [7; 24]);
        let both = KeyRing::parse(&(text(2) + &text(1))).unwrap();
        assert!(both.open_token("session", &token).is_some());
        assert!(KeyRing::parse(&text(2)).unwrap().open_token("session", &token).is_none());
    }
}
