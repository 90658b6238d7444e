//! Keys of an issuer, and tokens that they sign.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A private key.
pub(crate) enum Signer {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    pub(crate) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    /// The public key as a JSON Web Key.
    pub(crate) fn jwk(&self, id: &str) -> Value {
        let mut jwk = match self {
            Self::Rsa(key) => {
                let n = encode(key.public_key().modulus().big_endian_without_leading_zero());
                let e = encode(key.public_key().exponent().big_endian_without_leading_zero());
                json!({"kty": "RSA", "n": n, "e": e})
            }
            Self::P256(key) => point("P-256", key.public_key().as_ref()),
            Self::P384(key) => point("P-384", key.public_key().as_ref()),
            Self::Ed25519(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref())})
            }
        };
        jwk["kid"] = json!(id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// Signs any header and payload that are JSON texts. RSA uses the algorithm of the header,
    /// and RS256 if it names another one.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", encode(header.as_bytes()), encode(payload.as_bytes()));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(key) => {
                let encoding: &dyn aws_lc_rs::signature::RsaEncoding = match algorithm(header).as_str() {
                    "RS384" => &RSA_PKCS1_SHA384,
                    "RS512" => &RSA_PKCS1_SHA512,
                    "PS256" => &RSA_PSS_SHA256,
                    "PS384" => &RSA_PSS_SHA384,
                    "PS512" => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::P256(key) | Self::P384(key) => {
                key.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec()
            }
            Self::Ed25519(key) => key.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", encode(&signature))
    }
}

fn algorithm(header: &str) -> String {
    let header: Value = serde_json::from_str(header).unwrap_or_default();
    header["alg"].as_str().unwrap_or_default().to_owned()
}

fn point(curve: &str, public: &[u8]) -> Value {
    let (x, y) = public[1..].split_at((public.len() - 1) / 2);
    json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
