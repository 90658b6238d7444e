//! The public keys of an issuer: JSON Web Keys (RFC 7517) and the signatures that they verify.

use crate::settings::Algorithm;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// Maximum keys of a set. Issuers publish two or three; a longer list is a wrong document.
const MAX_KEYS: usize = 64;
/// Bytes of an RSA modulus. Shorter keys can be factored, longer ones cost too much per signature.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;
/// Bytes of a coordinate of a point on P-256 and on P-384, and of a key of Ed25519.
const P256_BYTES: usize = 32;
const P384_BYTES: usize = 48;
const ED25519_BYTES: usize = 32;

/// The keys of an issuer.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<IssuerKey>,
}

/// A key, parsed once for each algorithm that it may verify.
#[derive(Debug)]
struct IssuerKey {
    id: Option<String>,
    verifiers: Vec<(Algorithm, ParsedPublicKey)>,
}

/// A document that is not a usable set of keys.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidKeySet {
    #[error("it is not a JSON Web Key Set: {0}")]
    Malformed(String),
    #[error("it has {0} keys, more than {MAX_KEYS}")]
    TooMany(usize),
    #[error("none of its {0} keys is a public signature key for one of the allowed algorithms")]
    NoneUsable(usize),
}

#[derive(Deserialize)]
struct KeySetDocument {
    keys: Vec<serde_json::Value>,
}

/// The members of a JSON Web Key that are read. Private members and certificates are ignored.
#[derive(Deserialize)]
struct JsonWebKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Parses a key set. Keys that are not usable are left out, as RFC 7517, section 5, requires.
    pub(crate) fn parse(text: &[u8], allowed: &[Algorithm]) -> Result<Self, InvalidKeySet> {
        let document: KeySetDocument =
            serde_json::from_slice(text).map_err(|error| InvalidKeySet::Malformed(error.to_string()))?;
        let count = document.keys.len();
        if count > MAX_KEYS {
            return Err(InvalidKeySet::TooMany(count));
        }
        let keys: Vec<IssuerKey> = document
            .keys
            .into_iter()
            .filter_map(|key| serde_json::from_value::<JsonWebKey>(key).ok())
            .filter_map(|key| key.parse(allowed))
            .collect();
        if keys.is_empty() {
            return Err(InvalidKeySet::NoneUsable(count));
        }
        Ok(Self { keys })
    }

    /// Returns the one key for `algorithm` with this id. Without an id, the set must have only one key for `algorithm`.
    /// Returns `None` if there is none, or more than one: a guess would make the result depend on the order.
    pub(crate) fn select(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        let mut found = self
            .keys
            .iter()
            .filter(|key| id.is_none() || key.id.as_deref() == id)
            .filter_map(|key| key.verifiers.iter().find(|(of, _)| *of == algorithm))
            .map(|(_, verifier)| verifier);
        match (found.next(), found.next()) {
            (Some(verifier), None) => Some(verifier),
            _ => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

impl JsonWebKey {
    fn parse(self, allowed: &[Algorithm]) -> Option<IssuerKey> {
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        if self.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|name| name == "verify")) {
            return None;
        }
        let is_allowed = |algorithm: Algorithm| {
            allowed.contains(&algorithm) && self.alg.as_deref().is_none_or(|name| name == algorithm.name())
        };
        let verifiers: Vec<(Algorithm, ParsedPublicKey)> = Algorithm::ALL
            .into_iter()
            .filter(|algorithm| is_allowed(*algorithm))
            .filter_map(|algorithm| Some((algorithm, self.verifier(algorithm)?)))
            .collect();
        (!verifiers.is_empty()).then_some(IssuerKey { id: self.kid, verifiers })
    }

    /// Returns the key for one algorithm. `None` if the type or the curve of the key is not that of the algorithm.
    fn verifier(&self, algorithm: Algorithm) -> Option<ParsedPublicKey> {
        let kind = (self.kty.as_str(), self.crv.as_deref());
        match algorithm {
            Algorithm::Rs256 => self.rsa(&RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => self.rsa(&RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => self.rsa(&RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Ps256 => self.rsa(&RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => self.rsa(&RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => self.rsa(&RSA_PSS_2048_8192_SHA512),
            Algorithm::Es256 if kind == ("EC", Some("P-256")) => {
                self.point(&ECDSA_P256_SHA256_FIXED, P256_BYTES)
            }
            Algorithm::Es384 if kind == ("EC", Some("P-384")) => {
                self.point(&ECDSA_P384_SHA384_FIXED, P384_BYTES)
            }
            Algorithm::EdDsa if kind == ("OKP", Some("Ed25519")) => {
                let key = decode(self.x.as_deref()?).filter(|key| key.len() == ED25519_BYTES)?;
                ParsedPublicKey::new(&ED25519, key).ok()
            }
            Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => None,
        }
    }

    fn rsa(&self, parameters: &'static RsaParameters) -> Option<ParsedPublicKey> {
        if self.kty != "RSA" {
            return None;
        }
        let n = without_leading_zeros(decode(self.n.as_deref()?)?);
        let e = without_leading_zeros(decode(self.e.as_deref()?)?);
        if !RSA_MODULUS_BYTES.contains(&n.len()) {
            return None;
        }
        RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters).ok()
    }

    /// Returns the key of a point whose coordinates have `bytes` bytes each.
    fn point(&self, algorithm: &'static dyn VerificationAlgorithm, bytes: usize) -> Option<ParsedPublicKey> {
        let x = decode(self.x.as_deref()?).filter(|x| x.len() == bytes)?;
        let y = decode(self.y.as_deref()?).filter(|y| y.len() == bytes)?;
        // The uncompressed form of SEC 1, section 2.3.3.
        ParsedPublicKey::new(algorithm, [&[0x04], &*x, &*y].concat()).ok()
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Some issuers write the sign byte of ASN.1 before a modulus.
fn without_leading_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}
