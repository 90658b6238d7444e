//! Sign-ins by the authorization code flow.

use crate::issuer::{Issuer, Mode, NOW, now};
use crate::signer::{Signer, encode};
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::StatusCode;
use goconductor_oidc::{CodeFlow, CodeFlowClient, CodeFlowError, PendingSignIn};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const REDIRECT: &str = "https://conductor.example/api/v1/session/oidc/callback";

fn flow(issuer: &Issuer, secret: Option<&str>) -> CodeFlow {
    let client = CodeFlowClient {
        id: "console".to_owned(),
        secret: secret.map(str::to_owned),
        scopes: vec!["groups".to_owned(), "openid".to_owned()],
        redirect_uri: REDIRECT.to_owned(),
    };
    CodeFlow::new(issuer.verifier(), client)
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

/// The nonce that the browser takes to the issuer.
fn query(url: &str) -> BTreeMap<String, String> {
    pairs(url.split_once('?').unwrap().1)
}

fn id_token(issuer: &Issuer, signer: &Signer, changes: Value) -> Value {
    let mut claims = issuer.claims();
    claims["aud"] = json!("console");
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": "k"});
    json!({"id_token": signer.sign(&header.to_string(), &claims.to_string()), "access_token": "x"})
}

#[tokio::test]
async fn user_signs_in_with_a_code_and_a_proof() {
    let signer = Signer::p256();
    let issuer = Issuer::start(vec![signer.jwk("k")]).await;
    for secret in [None, Some("hunter 2")] {
        let flow = flow(&issuer, secret);
        let (url, pending) = flow.begin().await.unwrap();
        let sent = query(&url);
        assert!(url.starts_with(&format!("{}/authorize?", issuer.url)), "{url}");
        assert_eq!((sent["response_type"].as_str(), sent["scope"].as_str()), ("code", "openid groups"));
        assert_eq!((sent["state"].as_str(), sent["redirect_uri"].as_str()), (&*pending.state, REDIRECT));
        issuer.set_exchange(StatusCode::OK, id_token(&issuer, &signer, json!({"nonce": sent["nonce"]})));
        let claims = flow.complete("the-code", &pending, now()).await.unwrap();
        assert_eq!((claims.subject.as_str(), claims.groups.len()), ("user-1", 2));
        let (credentials, form) = issuer.exchanges().pop().unwrap();
        let form = pairs(&form);
        assert_eq!((form["grant_type"].as_str(), form["code"].as_str()), ("authorization_code", "the-code"));
        let challenge = encode(digest(&SHA256, form["code_verifier"].as_bytes()).as_ref());
        assert_eq!(challenge, sent["code_challenge"]);
        assert_eq!(sent["code_challenge_method"], "S256");
        assert_eq!(credentials.is_some(), secret.is_some());
        assert_eq!(form.contains_key("client_id"), secret.is_none());
    }
}

#[tokio::test]
async fn sign_ins_have_nothing_in_common() {
    let issuer = Issuer::start(Vec::new()).await;
    let flow = flow(&issuer, None);
    let [one, other] = [query(&flow.begin().await.unwrap().0), query(&flow.begin().await.unwrap().0)];
    for name in ["state", "nonce", "code_challenge"] {
        assert!(one[name].len() >= 43, "{name}");
        assert_ne!(one[name], other[name], "{name}");
    }
}

#[tokio::test]
async fn id_token_of_another_sign_in_or_client_is_refused() {
    let signer = Signer::p256();
    let issuer = Issuer::start(vec![signer.jwk("k")]).await;
    let flow = flow(&issuer, None);
    let (url, pending) = flow.begin().await.unwrap();
    let nonce = query(&url)["nonce"].clone();
    for changes in [
        json!({}),
        json!({"nonce": "another"}),
        json!({"nonce": nonce, "aud": "goconductor"}),
        json!({"nonce": nonce, "aud": ["console", "other"]}),
        json!({"nonce": nonce, "aud": ["console", "other"], "azp": "other"}),
        json!({"nonce": nonce, "azp": "other"}),
        json!({"nonce": nonce, "iss": "https://other.example"}),
        json!({"nonce": nonce, "exp": NOW - 3600}),
    ] {
        issuer.set_exchange(StatusCode::OK, id_token(&issuer, &signer, changes.clone()));
        let refused = flow.complete("code", &pending, now()).await;
        assert!(matches!(refused, Err(CodeFlowError::Token(_))), "{changes}: {refused:?}");
    }
    let several = json!({"nonce": nonce, "aud": ["console", "other"], "azp": "console"});
    issuer.set_exchange(StatusCode::OK, id_token(&issuer, &signer, several));
    assert!(flow.complete("code", &pending, now()).await.is_ok());
    let other = Signer::p256();
    issuer.set_exchange(StatusCode::OK, id_token(&issuer, &other, json!({"nonce": nonce})));
    assert!(matches!(flow.complete("code", &pending, now()).await, Err(CodeFlowError::Token(_))));
}

#[tokio::test]
async fn failures_of_the_issuer_are_reported_without_its_texts() {
    let issuer = Issuer::start(Vec::new()).await;
    let flow = flow(&issuer, Some("hunter2"));
    let (_, pending) = flow.begin().await.unwrap();
    for (status, body, shown) in [
        (StatusCode::BAD_REQUEST, json!({"error": "invalid_grant"}), "status 400, invalid_grant"),
        (
            StatusCode::BAD_REQUEST,
            json!({"error": "<b>hunter2</b>"}),
            "status 400, the response has no ID token",
        ),
        (StatusCode::OK, json!({"access_token": "x"}), "status 200, the response has no ID token"),
        (StatusCode::FOUND, json!({"id_token": "x.y.z"}), "status 302, the response has no ID token"),
    ] {
        issuer.set_exchange(status, body);
        let Err(CodeFlowError::Refused(message)) = flow.complete("code", &pending, now()).await else {
            panic!("{shown}: not refused")
        };
        assert_eq!(message, shown);
    }
    assert!(matches!(flow.complete("", &pending, now()).await, Err(CodeFlowError::Refused(_))));
    for mode in [Mode::Status(StatusCode::INTERNAL_SERVER_ERROR), Mode::OtherIssuer] {
        issuer.set_mode(mode);
        assert!(flow.begin().await.is_ok(), "the endpoints are known");
        let other = self::flow(&issuer, None);
        assert!(matches!(other.begin().await, Err(CodeFlowError::Unavailable(_))));
    }
}

#[test]
fn pending_sign_in_is_kept_as_json_and_not_printed() {
    let kept = json!({"state": "s", "nonce": "hunter2", "code_verifier": "hunter2"});
    let pending: PendingSignIn = serde_json::from_value(kept.clone()).unwrap();
    assert_eq!(serde_json::to_value(&pending).unwrap(), kept);
    assert!(!format!("{pending:?}").contains("hunter2"));
}
