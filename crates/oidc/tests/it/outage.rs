//! Rotation of keys, and an issuer that cannot be reached.

use crate::issuer::{Issuer, Mode, now};
use crate::signer::Signer;
use axum::http::StatusCode;
use goconductor_oidc::{Reason, Rejection, Settings, Verifier};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn rotated_key_is_fetched_once_and_the_old_one_is_refused() {
    let (old, new) = (Signer::p256(), Signer::p256());
    let issuer = Issuer::start(vec![old.jwk("old")]).await;
    let verifier = issuer.verifier();
    let (old_token, new_token) = (issuer.token(&old, "ES256", "old"), issuer.token(&new, "ES256", "new"));
    verifier.verify(&old_token, now()).await.unwrap();
    issuer.set_keys(vec![new.jwk("new")]);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let checks = (0..50).map(|_| {
        let (verifier, token) = (verifier.clone(), new_token.clone());
        tokio::spawn(async move { verifier.verify(&token, now()).await })
    });
    for check in checks.collect::<Vec<_>>() {
        check.await.unwrap().unwrap();
    }
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(verifier.verify(&old_token, now()).await, Err(Rejection::Invalid(Reason::UnknownKey)));
}

#[tokio::test]
async fn unknown_keys_cause_few_fetches() {
    let (key, foreign) = (Signer::p256(), Signer::p256());
    let issuer = Issuer::start(vec![key.jwk("a")]).await;
    let settings = Settings { min_fetch_interval: SHORT, ..issuer.settings() };
    let verifier = Verifier::new(settings).unwrap();
    verifier.verify(&issuer.token(&key, "ES256", "a"), now()).await.unwrap();
    for number in 0..100 {
        let token = issuer.token(&foreign, "ES256", &format!("b{number}"));
        assert_eq!(verifier.verify(&token, now()).await, Err(Rejection::Invalid(Reason::UnknownKey)));
    }
    assert!(issuer.fetches() <= 2, "{} fetches", issuer.fetches());
    tokio::time::sleep(SHORT).await;
    drop(verifier.verify(&issuer.token(&foreign, "ES256", "c"), now()).await);
    assert!((2..=3).contains(&issuer.fetches()), "{} fetches", issuer.fetches());
}

#[tokio::test]
async fn keys_are_refreshed_by_age_without_delay() {
    let (old, new) = (Signer::p256(), Signer::p256());
    let issuer = Issuer::start(vec![old.jwk("old")]).await;
    let settings = Settings { refresh_interval: SHORT, ..issuer.settings() };
    let verifier = Verifier::new(settings).unwrap();
    let token = issuer.token(&old, "ES256", "old");
    verifier.verify(&token, now()).await.unwrap();
    issuer.set_keys(vec![new.jwk("new")]);
    tokio::time::sleep(SHORT).await;
    // This check uses the keys that are there, and causes the fetch.
    verifier.verify(&token, now()).await.unwrap();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if verifier.verify(&token, now()).await.is_err() {
            return;
        }
    }
    panic!("the withdrawn key is still accepted");
}

#[tokio::test]
async fn old_keys_are_used_up_to_their_age_and_then_refused_as_unavailable() {
    let (key, new) = (Signer::p256(), Signer::p256());
    let issuer = Issuer::start(vec![key.jwk("a")]).await;
    let settings = Settings { refresh_interval: SHORT / 3, keys_max_age: SHORT * 3, ..issuer.settings() };
    let verifier = Verifier::new(settings).unwrap();
    let (token, new_token) = (issuer.token(&key, "ES256", "a"), issuer.token(&new, "ES256", "b"));
    verifier.verify(&token, now()).await.unwrap();
    issuer.set_mode(Mode::Status(StatusCode::SERVICE_UNAVAILABLE));
    tokio::time::sleep(SHORT).await;
    verifier.verify(&token, now()).await.unwrap();
    // A new key may be published, so the token may be valid.
    assert_eq!(verifier.verify(&new_token, now()).await, Err(Rejection::Unavailable));
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(verifier.verify(&token, now()).await, Err(Rejection::Unavailable));
    // A token that is wrong in any case is not retryable.
    assert_eq!(verifier.verify("nonsense", now()).await, Err(Rejection::Invalid(Reason::Malformed)));
    issuer.set_mode(Mode::Healthy);
    tokio::time::sleep(Duration::from_millis(5)).await;
    verifier.verify(&token, now()).await.unwrap();
}

#[tokio::test]
async fn unusable_documents_are_an_outage() {
    let key = Signer::p256();
    let issuer = Issuer::start(vec![key.jwk("a")]).await;
    let token = issuer.token(&key, "ES256", "a");
    let healthy = Issuer::start(vec![key.jwk("a")]).await;
    for mode in [
        Mode::Status(StatusCode::NOT_FOUND),
        Mode::Status(StatusCode::NO_CONTENT),
        Mode::Redirect(format!("{}/.well-known/openid-configuration", healthy.url)),
        Mode::Endless,
        Mode::Silent,
        Mode::OtherIssuer,
        Mode::KeysAt("http://10.0.0.1/keys".to_owned()),
        Mode::KeysAt("file:///etc/passwd".to_owned()),
    ] {
        issuer.set_mode(mode.clone());
        let settings = Settings { fetch_timeout: SHORT, ..issuer.settings() };
        let verifier = Verifier::new(settings).unwrap();
        assert!(!verifier.prepare().await, "{mode:?}");
        assert_eq!(verifier.verify(&token, now()).await, Err(Rejection::Unavailable), "{mode:?}");
    }
    assert_eq!(healthy.fetches(), 0);
    for keys in [vec![], vec![serde_json::json!({"kty": "oct", "k": "c2VjcmV0"})], vec![key.jwk("a"); 65]] {
        issuer.set_mode(Mode::Healthy);
        issuer.set_keys(keys);
        assert_eq!(issuer.verifier().verify(&token, now()).await, Err(Rejection::Unavailable));
    }
}

#[tokio::test]
async fn key_set_is_read_from_a_given_url() {
    let key = Signer::p256();
    let issuer = Issuer::start(vec![key.jwk("a")]).await;
    let settings = Settings { jwks_url: Some(format!("{}/keys", issuer.url)), ..issuer.settings() };
    let verifier = Verifier::new(settings).unwrap();
    verifier.verify(&issuer.token(&key, "ES256", "a"), now()).await.unwrap();
    assert_eq!(issuer.fetches(), 0);
}

#[tokio::test]
async fn client_that_gives_up_does_not_cancel_the_fetch() {
    let (old, new) = (Signer::p256(), Signer::p256());
    let issuer = Issuer::start(vec![old.jwk("old")]).await;
    let settings = Settings { min_fetch_interval: Duration::from_secs(3600), ..issuer.settings() };
    let verifier = Verifier::new(settings).unwrap();
    let token = issuer.token(&new, "ES256", "new");
    issuer.set_keys(vec![new.jwk("new")]);
    let check = verifier.verify(&token, now());
    // Polled once, the check has begun the fetch. Then it is dropped.
    let _ = tokio::time::timeout(Duration::ZERO, check).await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if verifier.verify(&token, now()).await.is_ok() {
            return assert_eq!(issuer.fetches(), 1);
        }
    }
    panic!("the fetch was cancelled");
}
