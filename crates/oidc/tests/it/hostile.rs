//! Valid tokens of every algorithm, and a table of hostile ones.

use crate::issuer::{AUDIENCE, Issuer, NOW, now};
use crate::signer::{Signer, encode};
use aws_lc_rs::hmac;
use goconductor_oidc::{Algorithm, Reason, Rejection, Settings, Verifier};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// An issuer with one key of each type.
struct Keys {
    rsa: Signer,
    p256: Signer,
    p384: Signer,
    ed25519: Signer,
}

impl Keys {
    fn new() -> Self {
        Self { rsa: Signer::rsa(), p256: Signer::p256(), p384: Signer::p384(), ed25519: Signer::ed25519() }
    }

    fn jwks(&self) -> Vec<Value> {
        vec![self.rsa.jwk("rsa"), self.p256.jwk("p256"), self.p384.jwk("p384"), self.ed25519.jwk("ed25519")]
    }

    fn of(&self, algorithm: Algorithm) -> (&Signer, &'static str) {
        match &algorithm.name()[..2] {
            "RS" | "PS" => (&self.rsa, "rsa"),
            "Ed" => (&self.ed25519, "ed25519"),
            _ if algorithm == Algorithm::Es256 => (&self.p256, "p256"),
            _ => (&self.p384, "p384"),
        }
    }
}

fn header() -> Value {
    json!({"alg": "ES256", "typ": "JWT", "kid": "p256"})
}

/// Returns `object` with `changes`. `null` removes a member.
fn with(mut object: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        let members = object.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(name)
        } else {
            members.insert(name.clone(), value.clone())
        };
    }
    object
}

async fn reason(verifier: &Verifier, token: &str) -> Option<Reason> {
    match verifier.verify(token, now()).await {
        Ok(_) => None,
        Err(Rejection::Invalid(reason)) => Some(reason),
        Err(Rejection::Unavailable) => panic!("the keys are not available"),
    }
}

#[tokio::test]
async fn valid_token_of_every_algorithm_is_accepted() {
    let keys = Keys::new();
    let issuer = Issuer::start(keys.jwks()).await;
    let verifier = issuer.verifier();
    for algorithm in Algorithm::ALL {
        let (signer, id) = keys.of(algorithm);
        let claims = verifier.verify(&issuer.token(signer, algorithm.name(), id), now()).await;
        let claims = claims.unwrap_or_else(|error| panic!("{}: {error}", algorithm.name()));
        assert_eq!((claims.issuer.as_str(), claims.subject.as_str()), (issuer.url.as_str(), "user-1"));
        assert_eq!(claims.groups, ["operators", "shop"]);
        assert_eq!(claims.expires_at, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + 600));
    }
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn claims_decide() {
    let signer = Signer::p256();
    let issuer = Issuer::start(vec![signer.jwk("p256")]).await;
    let verifier = issuer.verifier();
    let cases: &[(Value, Option<Reason>)] = &[
        (json!({}), None),
        (json!({"iss": "https://other.example"}), Some(Reason::Issuer)),
        (json!({"iss": format!("{}/", issuer.url)}), Some(Reason::Issuer)),
        (json!({"iss": [issuer.url]}), Some(Reason::Claim)),
        (json!({"iss": null}), Some(Reason::Claim)),
        (json!({"aud": "other"}), Some(Reason::Audience)),
        (json!({"aud": "GoConductor"}), Some(Reason::Audience)),
        (json!({"aud": []}), Some(Reason::Audience)),
        (json!({"aud": ["other", "another"]}), Some(Reason::Audience)),
        (json!({"aud": ["other", AUDIENCE]}), None),
        (json!({"aud": [AUDIENCE, 1]}), Some(Reason::Claim)),
        (json!({"aud": {"0": AUDIENCE}}), Some(Reason::Claim)),
        (json!({"aud": null}), Some(Reason::Audience)),
        (json!({"exp": null}), Some(Reason::Claim)),
        (json!({"exp": NOW - 59}), None),
        (json!({"exp": NOW - 60}), Some(Reason::Expired)),
        (json!({"exp": 0}), Some(Reason::Expired)),
        (json!({"exp": 1_800_000_000.5}), None),
        (json!({"exp": -1}), Some(Reason::Claim)),
        (json!({"exp": u64::MAX}), Some(Reason::Claim)),
        (json!({"exp": 1e300}), Some(Reason::Claim)),
        (json!({"exp": (NOW + 600).to_string()}), Some(Reason::Claim)),
        (json!({"nbf": NOW + 60}), None),
        (json!({"nbf": NOW + 61}), Some(Reason::NotYetValid)),
        (json!({"nbf": "tomorrow"}), Some(Reason::Claim)),
        (json!({"iat": NOW + 61}), Some(Reason::NotYetValid)),
        (json!({"iat": null}), None),
        (json!({"sub": null}), Some(Reason::Claim)),
        (json!({"sub": ""}), Some(Reason::Claim)),
        (json!({"sub": "a\nb"}), Some(Reason::Claim)),
        (json!({"sub": "x".repeat(256)}), Some(Reason::Claim)),
        (json!({"sub": 1}), Some(Reason::Claim)),
        (json!({"groups": "operators"}), None),
        (json!({"groups": null}), None),
        (json!({"groups": ["operators", 1]}), Some(Reason::Claim)),
        (json!({"groups": {"operators": true}}), Some(Reason::Claim)),
    ];
    for (changes, wanted) in cases {
        let token = signer.sign(&header().to_string(), &with(issuer.claims(), changes.clone()).to_string());
        assert_eq!(reason(&verifier, &token).await, *wanted, "{changes}");
    }
}

#[tokio::test]
async fn header_decides() {
    let signer = Signer::p256();
    let issuer = Issuer::start(vec![signer.jwk("p256")]).await;
    let verifier = issuer.verifier();
    let foreign = Signer::p256();
    let cases: &[(Value, Option<Reason>)] = &[
        (json!({"kid": null}), None),
        (json!({"typ": null}), None),
        (json!({"typ": "at+JWT"}), None),
        (json!({"typ": "application/at+jwt"}), None),
        (json!({"typ": "logout+jwt"}), Some(Reason::Type)),
        (json!({"typ": 1}), Some(Reason::Malformed)),
        (json!({"alg": null}), Some(Reason::Algorithm)),
        (json!({"alg": "none"}), Some(Reason::Algorithm)),
        (json!({"alg": "nOnE"}), Some(Reason::Algorithm)),
        (json!({"alg": ["ES256"]}), Some(Reason::Malformed)),
        (json!({"alg": "HS256"}), Some(Reason::Algorithm)),
        (json!({"alg": "ES384"}), Some(Reason::UnknownKey)),
        (json!({"alg": "RS256"}), Some(Reason::UnknownKey)),
        (json!({"alg": "EdDSA"}), Some(Reason::UnknownKey)),
        (json!({"kid": "other"}), Some(Reason::UnknownKey)),
        (json!({"kid": "P256"}), Some(Reason::UnknownKey)),
        (json!({"kid": "../p256"}), Some(Reason::UnknownKey)),
        (json!({"kid": 1}), Some(Reason::Malformed)),
        (json!({"crit": ["exp"]}), Some(Reason::CriticalHeader)),
        (json!({"crit": []}), Some(Reason::CriticalHeader)),
        (json!({"b64": false, "crit": ["b64"]}), Some(Reason::CriticalHeader)),
        (json!({"b64": false}), Some(Reason::CriticalHeader)),
        // Keys and their URLs in a token are never used.
        (json!({"jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1/"}), None),
    ];
    for (changes, wanted) in cases {
        let token = signer.sign(&with(header(), changes.clone()).to_string(), &issuer.claims().to_string());
        assert_eq!(reason(&verifier, &token).await, *wanted, "{changes}");
    }
    let own_key = with(header(), json!({"jwk": foreign.jwk("p256")}));
    let token = foreign.sign(&own_key.to_string(), &issuer.claims().to_string());
    assert_eq!(reason(&verifier, &token).await, Some(Reason::Signature));
}

#[tokio::test]
async fn hostile_texts_are_refused() {
    let signer = Signer::p256();
    let issuer = Issuer::start(vec![signer.jwk("p256")]).await;
    let verifier = issuer.verifier();
    let claims = issuer.claims().to_string();
    let token = signer.sign(&header().to_string(), &claims);
    let parts: Vec<&str> = token.split('.').collect();
    let (head, payload, signature) = (parts[0], parts[1], parts[2]);
    let admin = encode(with(issuer.claims(), json!({"sub": "admin"})).to_string().as_bytes());
    let duplicate = claims.replacen('{', r#"{"sub":"admin","#, 1);
    let twice = signer.sign(&header().to_string(), &duplicate);
    let two_algorithms = signer.sign(r#"{"alg":"none","alg":"ES256","kid":"p256"}"#, &claims);
    let long = signer
        .sign(&header().to_string(), &with(issuer.claims(), json!({"x": "y".repeat(9000)})).to_string());
    let deep = signer
        .sign(&header().to_string(), &claims.replacen('{', &format!("{{\"x\":{}", "[".repeat(3000)), 1));
    let mut cases: Vec<(String, Reason)> = vec![
        (format!("{head}.{admin}.{signature}"), Reason::Signature),
        (format!("{}.{payload}.{signature}", encode(br#"{"alg":"ES256","kid":"p256"}"#)), Reason::Signature),
        (format!("{head}.{payload}."), Reason::Signature),
        (format!("{head}.{payload}.{}", encode(&[0; 64])), Reason::Signature),
        (format!("{head}.{payload}.{}", encode(&[0xff; 64])), Reason::Signature),
        (format!("{}.{payload}.", encode(br#"{"alg":"none"}"#)), Reason::Algorithm),
        (twice, Reason::Malformed),
        (two_algorithms, Reason::Malformed),
        (deep, Reason::Malformed),
        (long, Reason::TooLong),
        ("x".repeat(1 << 20), Reason::TooLong),
        (".".repeat(8000), Reason::Malformed),
    ];
    for text in
        ["", ".", "..", "...", "nonsense", "a.b.c", "ä.ö.ü", "\0", "null", "e30.e30.", "e30.e30.e30.e30.e30"]
    {
        cases.push((
            text.to_owned(),
            if text.starts_with("e30.e30.") && text.len() < 9 {
                Reason::Algorithm
            } else {
                Reason::Malformed
            },
        ));
    }
    for text in [
        format!("{head}.{payload}"),
        format!("{token}."),
        format!("{token}.{signature}"),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{token}="),
        format!("Bearer {token}"),
    ] {
        cases.push((text, Reason::Malformed));
    }
    // The claims are decoded only after the signature was verified.
    cases.push((token.replacen('.', ".=", 1), Reason::Signature));
    for (text, wanted) in cases {
        let shown: String = text.chars().take(80).collect();
        assert_eq!(reason(&verifier, &text).await, Some(wanted), "{shown}");
    }
    for length in 0..token.len() {
        assert!(reason(&verifier, &token[..length]).await.is_some(), "truncated to {length}");
    }
    assert_eq!(reason(&verifier, &token).await, None);
}

#[tokio::test]
async fn public_key_is_not_accepted_as_a_secret() {
    let signer = Signer::rsa();
    let jwk = signer.jwk("rsa");
    let issuer = Issuer::start(vec![jwk.clone()]).await;
    let verifier = issuer.verifier();
    let modulus = jwk["n"].as_str().unwrap().to_owned();
    for secret in [jwk.to_string(), modulus, String::new()] {
        for (name, digest) in [("HS256", hmac::HMAC_SHA256), ("HS512", hmac::HMAC_SHA512)] {
            let header = json!({"alg": name, "kid": "rsa"}).to_string();
            let message =
                format!("{}.{}", encode(header.as_bytes()), encode(issuer.claims().to_string().as_bytes()));
            let tag = hmac::sign(&hmac::Key::new(digest, secret.as_bytes()), message.as_bytes());
            let token = format!("{message}.{}", encode(tag.as_ref()));
            assert_eq!(reason(&verifier, &token).await, Some(Reason::Algorithm));
        }
    }
}

#[tokio::test]
async fn key_verifies_only_what_it_is_for() {
    let (signer, other) = (Signer::rsa(), Signer::p256());
    for (changes, wanted) in [
        (json!({"use": "enc"}), Some(Reason::UnknownKey)),
        (json!({"use": null}), None),
        (json!({"alg": "RS256"}), None),
        (json!({"alg": "PS256"}), Some(Reason::UnknownKey)),
        (json!({"alg": "HS256"}), Some(Reason::UnknownKey)),
        (json!({"key_ops": ["encrypt"]}), Some(Reason::UnknownKey)),
        (json!({"key_ops": ["verify"]}), None),
        (json!({"kty": "oct", "k": encode(b"secret")}), Some(Reason::UnknownKey)),
        (json!({"n": encode(&[0xc1; 128])}), Some(Reason::UnknownKey)),
        (json!({"n": "???"}), Some(Reason::UnknownKey)),
    ] {
        let issuer = Issuer::start(vec![with(signer.jwk("rsa"), changes.clone()), other.jwk("p256")]).await;
        let token = issuer.token(&signer, "RS256", "rsa");
        assert_eq!(reason(&issuer.verifier(), &token).await, wanted, "{changes}");
    }
}

#[tokio::test]
async fn ambiguous_key_is_refused() {
    let (first, second) = (Signer::p256(), Signer::p256());
    let issuer = Issuer::start(vec![first.jwk("a"), second.jwk("b")]).await;
    let without_id = first.sign(r#"{"alg":"ES256"}"#, &issuer.claims().to_string());
    assert_eq!(reason(&issuer.verifier(), &without_id).await, Some(Reason::UnknownKey));
    let twice = Issuer::start(vec![first.jwk("a"), second.jwk("a")]).await;
    assert_eq!(reason(&twice.verifier(), &twice.token(&first, "ES256", "a")).await, Some(Reason::UnknownKey));
}

#[tokio::test]
async fn algorithm_that_is_not_allowed_is_refused() {
    let keys = Keys::new();
    let issuer = Issuer::start(keys.jwks()).await;
    let settings = Settings { algorithms: vec![Algorithm::Es256], ..issuer.settings() };
    let verifier = Verifier::new(settings).unwrap();
    for algorithm in Algorithm::ALL {
        let (signer, id) = keys.of(algorithm);
        let wanted = (algorithm != Algorithm::Es256).then_some(Reason::Algorithm);
        assert_eq!(reason(&verifier, &issuer.token(signer, algorithm.name(), id)).await, wanted);
    }
}
