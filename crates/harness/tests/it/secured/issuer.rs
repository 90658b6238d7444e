//! A small OpenID Connect issuer on this machine: its discovery document, its keys and its tokens.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::UNIX_EPOCH;

/// The audience of valid tokens.
pub(super) const AUDIENCE: &str = "goconductor";

/// The client id of the console.
pub(super) const CLIENT: &str = "console";

/// A private key.
pub(super) enum Signer {
    Rs256(RsaKeyPair),
    Es256(EcdsaKeyPair),
}

impl Signer {
    pub(super) fn rs256() -> Self {
        Self::Rs256(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(super) fn es256() -> Self {
        Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
        }
    }

    /// The public key as a JSON Web Key.
    fn jwk(&self, id: &str) -> Value {
        let mut jwk = match self {
            Self::Rs256(key) => {
                let n = encode(key.public_key().modulus().big_endian_without_leading_zero());
                let e = encode(key.public_key().exponent().big_endian_without_leading_zero());
                json!({"kty": "RSA", "n": n, "e": e})
            }
            Self::Es256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
        };
        jwk["kid"] = json!(id);
        jwk["use"] = json!("sig");
        jwk
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Self::Es256(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
        }
    }
}

/// An issuer with two keys: `rs` and `es`.
pub(super) struct Issuer {
    pub(super) url: String,
    pub(super) rs256: Signer,
    pub(super) es256: Signer,
    /// The ID token that the token endpoint returns.
    pub(super) id_token: Arc<Mutex<String>>,
}

impl Issuer {
    pub(super) async fn start() -> Self {
        let (rs256, es256) = (Signer::rs256(), Signer::es256());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let discovery = json!({
            "issuer": url,
            "jwks_uri": format!("{url}/keys"),
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
        });
        let id_token: Arc<Mutex<String>> = Arc::default();
        let returned = Arc::clone(&id_token);
        let exchange = move || {
            let token = returned.lock().unwrap().clone();
            async move { Json(json!({"token_type": "Bearer", "id_token": token})) }
        };
        let keys = json!({"keys": [rs256.jwk("rs"), es256.jwk("es")]});
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(|| async move { Json(discovery) }))
            .route("/keys", get(|| async move { Json(keys) }))
            .route("/token", post(exchange));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, rs256, es256, id_token }
    }

    /// Returns the claims of a valid token with some changes.
    fn claims(&self, changes: &Value) -> Value {
        let now = now();
        let mut claims = json!({"iss": self.url, "aud": AUDIENCE, "iat": now - 10, "exp": now + 600});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    /// Returns a token that is signed with RS256.
    pub(super) fn token(&self, changes: &Value) -> String {
        self.signed_by(&self.rs256, "rs", changes)
    }

    /// Returns a token that is signed by a key, in the name of the key `id`.
    pub(super) fn signed_by(&self, signer: &Signer, id: &str, changes: &Value) -> String {
        let message = self.message(signer.algorithm(), id, changes);
        let signature = signer.sign(message.as_bytes());
        format!("{message}.{}", encode(&signature))
    }

    /// Returns a token without a signature.
    pub(super) fn unsigned(&self, changes: &Value) -> String {
        format!("{}.", self.message("none", "rs", changes))
    }

    /// Returns a token whose signature is an HMAC with the public key, which everybody knows.
    pub(super) fn confused(&self, changes: &Value) -> String {
        let message = self.message("HS256", "rs", changes);
        let public = self.rs256.jwk("rs")["n"].as_str().unwrap().to_owned();
        let public = URL_SAFE_NO_PAD.decode(public).unwrap();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), message.as_bytes());
        format!("{message}.{}", encode(tag.as_ref()))
    }

    /// Returns a token that names another algorithm than that of its key.
    pub(super) fn mislabelled(&self, changes: &Value) -> String {
        let message = self.message("ES256", "rs", changes);
        let signature = self.rs256.sign(message.as_bytes());
        format!("{message}.{}", encode(&signature))
    }

    fn message(&self, algorithm: &str, id: &str, changes: &Value) -> String {
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": id}).to_string();
        let claims = self.claims(changes).to_string();
        format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()))
    }
}

/// The time in seconds since 1970.
pub(super) fn now() -> i64 {
    i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap()
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
