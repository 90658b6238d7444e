//! The text of an access key: `gck_ID_SECRET`.
//!
//! The secret has 256 random bits, so it cannot be guessed, and a slow hash would protect nothing. The digest is the
//! derived key of BLAKE3 over the id and the secret: a digest is of use for this purpose and this id only.

use secrecy::SecretString;

/// The prefix by which people and scanners recognise a key.
pub(crate) const PREFIX: &str = "gck_";
/// The context of the derivation. Another text would make all keys invalid.
const CONTEXT: &str = "goconductor 2026-11-30 access key digest v1";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// The operating system has no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system has no random numbers")]
pub struct NoRandomness;

/// A new access key. Its text is shown once and then forgotten.
#[derive(Debug)]
pub struct IssuedKey {
    /// Identifies the key.
    pub id: String,
    /// The text of the key, which the caller sends as `Authorization: Bearer`.
    pub text: SecretString,
    /// The digest of the secret, for the store.
    pub digest: Vec<u8>,
}

impl IssuedKey {
    /// Generates a key.
    ///
    /// # Errors
    /// Returns [`NoRandomness`] if the operating system has no random numbers.
    pub fn generate() -> Result<Self, NoRandomness> {
        let id = random::<ID_BYTES>()?;
        let secret = random::<SECRET_BYTES>()?;
        let digest = digest(&id, &secret).as_bytes().to_vec();
        Ok(Self { text: SecretString::from(format!("{PREFIX}{id}_{secret}")), id, digest })
    }
}

fn random<const BYTES: usize>() -> Result<String, NoRandomness> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Splits the text of a key into its id and its secret.
pub(crate) fn split(text: &str) -> Option<(&str, &str)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let is_hexadecimal = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let has_form = id.len() == 2 * ID_BYTES && secret.len() == 2 * SECRET_BYTES;
    (has_form && is_hexadecimal(id) && is_hexadecimal(secret)).then_some((id, secret))
}

/// Returns the digest of a secret. Digests are compared in constant time.
pub(crate) fn digest(id: &str, secret: &str) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(id.as_bytes()).update(b"_").update(secret.as_bytes());
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn generated_key_has_its_id_and_its_digest() {
        let [one, other] = [IssuedKey::generate().unwrap(), IssuedKey::generate().unwrap()];
        let (id, secret) = split(one.text.expose_secret()).unwrap();
        assert_eq!(id, one.id);
        assert_eq!(digest(id, secret).as_bytes().to_vec(), one.digest);
        assert_ne!(digest(&other.id, secret).as_bytes().to_vec(), one.digest, "a digest belongs to its id");
        assert_ne!((&one.id, &one.digest), (&other.id, &other.digest));
        assert!(!format!("{one:?}").contains(secret));
    }

    #[test]
    fn digest_is_stable() {
        let hash = digest("0123456789abcdef", &"ab".repeat(32));
        assert_eq!(hash, digest("0123456789abcdef", &"ab".repeat(32)));
        assert_ne!(hash, blake3::hash(b"0123456789abcdef_"));
    }

    #[test]
    fn text_in_another_form_is_not_a_key() {
        let secret = "ab".repeat(32);
        assert!(split(&format!("gck_0123456789abcdef_{secret}")).is_some());
        for text in [
            "",
            "gck_",
            "gck__",
            &format!("gck_0123456789ABCDEF_{secret}"),
            &format!("gck_0123456789abcdef_{secret}0"),
            &format!("gck_0123456789abcdef_{secret} "),
            &format!("GCK_0123456789abcdef_{secret}"),
            &format!("gck_0123456789abcde_{secret}"),
            &format!("gck_0123456789abcdef{secret}"),
        ] {
            assert!(split(text).is_none(), "{text}");
        }
    }
}
