//! Masked fields, for callers with and without the permission to see them.

use super::*;
use goconductor_saga::{Failure, Input, Outcome, Side, StepIndex, Timestamp};
use goconductor_store::DeadLetter;

const PAYLOAD: &[u8] = br#"{"state": {"input": {"card": {"number": "4111"}}}}"#;

#[tokio::test]
async fn masked_fields_are_shown_only_with_the_permission() {
    let access = AccessConfig { enabled: true, bootstrap_key: Some(ADMIN.into()), ..AccessConfig::default() };
    let fixture = Fixture::with_redaction(Some(access), RateConfig::default(), &["$.card.number"]).await;
    let (viewer, _) = fixture.key(&["viewer"], &["*"]).await;
    let (elsewhere, _) = fixture.key(&["admin"], &["shop"]).await;
    fixture.workflow("shop").await;
    let start = r#"{"definition": "order", "input": {"card": {"number": "4111"}}}"#;
    let (status, started, _) = fixture.call("POST", "/api/v1/workflows", Some(ADMIN), "shop", start).await;
    assert_eq!((status, &started["input"]["card"]["number"]), (StatusCode::CREATED, &json!("4111")));
    let letter = DeadLetter {
        id: "0190b5a8-0000-7000-8000-000000000001".to_owned(),
        topic: "payments".to_owned(),
        key: "k".to_owned(),
        payload: PAYLOAD.to_vec(),
        reason: "test".to_owned(),
        at: Timestamp(1),
    };
    fixture.store.put_dead_letters(std::slice::from_ref(&letter)).await.unwrap();
    let workflow = format!("/api/v1/workflows/{}", started["id"].as_str().unwrap());
    for (path, token, is_shown) in [
        (workflow.clone(), ADMIN, true),
        (workflow.clone(), &*viewer, false),
        (workflow.clone(), &*elsewhere, true),
        (format!("{workflow}/events"), ADMIN, true),
        (format!("{workflow}/events"), &*viewer, false),
        ("/api/v1/dead-letters".to_owned(), ADMIN, true),
        ("/api/v1/dead-letters".to_owned(), &*viewer, false),
        (format!("/api/v1/dead-letters/{}", letter.id), ADMIN, true),
        (format!("/api/v1/dead-letters/{}", letter.id), &*viewer, false),
    ] {
        let (status, body, _) = fixture.call("GET", &path, Some(token), "shop", "").await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        let text = body.to_string();
        assert_eq!((text.contains("4111"), text.contains("***")), (is_shown, !is_shown), "{path}: {text}");
    }
}

#[tokio::test]
async fn sample_of_a_batch_shows_masked_fields_only_with_the_permission() {
    let access = AccessConfig { enabled: true, bootstrap_key: Some(ADMIN.into()), ..AccessConfig::default() };
    let fixture = Fixture::with_redaction(Some(access), RateConfig::default(), &["$.card.number"]).await;
    let (operator, _) = fixture.key(&["operator"], &["shop"]).await;
    let definition = r#"{"workflow": "two", "steps": [
        {"name": "pay", "run": "payments/charge", "compensate": "payments/refund"},
        {"name": "ship", "run": "parcels/send", "compensate": "none"}]}"#;
    let (status, applied, _) =
        fixture.call("PUT", "/api/v1/definitions/two", Some(ADMIN), "shop", definition).await;
    assert!(status.is_success(), "{applied}");
    let start = r#"{"definition": "two"}"#;
    let (_, started, _) = fixture.call("POST", "/api/v1/workflows", Some(ADMIN), "shop", start).await;
    let id = started["id"].as_str().unwrap().parse().unwrap();
    let failure = Failure {
        code: "CARD".to_owned(),
        message: "refused".to_owned(),
        detail: Some(json!({"card": {"number": "4111"}})),
    };
    // The refund has no worker, so the workflow does not end.
    for (step, outcome) in [(0, Outcome::Done { output: Value::Null }), (1, Outcome::Refused { failure })] {
        let input = Input::ReportOutcome {
            step: StepIndex(step),
            side: Side::Execute,
            attempt: 1,
            started_at: Timestamp(0),
            deadline: Timestamp(1),
            outcome,
        };
        fixture.api.engine.submit(id, input).await.unwrap();
    }
    let body = r#"{"operation": "pause", "filter": "", "reason": "test", "dry_run": true}"#;
    for (token, is_shown) in [(ADMIN, true), (&*operator, false)] {
        let (status, preview, _) = fixture.call("POST", "/api/v1/batches", Some(token), "shop", body).await;
        assert_eq!((status, &preview["count"]), (StatusCode::OK, &json!(1)), "{preview}");
        let text = preview["sample"].to_string();
        assert_eq!((text.contains("4111"), text.contains("***")), (is_shown, !is_shown), "{text}");
    }
}
