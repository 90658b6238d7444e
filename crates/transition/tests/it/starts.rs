//! Starts: idempotency keys, and responses that are lost.

use crate::faults::Fault;
use crate::fixture::Fixture;
use goconductor_transition::Error;
use serde_json::json;

#[tokio::test]
async fn repeated_start_returns_the_existing_workflow() {
    let fixture = Fixture::new().await;
    let first = fixture.start(Some("key"), json!({"a": 1, "b": 2})).await.unwrap();
    let second = fixture.start(Some("key"), json!({"b": 2, "a": 1})).await.unwrap();
    assert_eq!((first.replayed, second.replayed), (false, true));
    assert_eq!(second.state.id, first.state.id);
}

#[tokio::test]
async fn start_with_the_key_of_another_input_is_a_key_conflict() {
    let fixture = Fixture::new().await;
    let first = fixture.start(Some("key"), json!({"a": 1})).await.unwrap();
    let error = fixture.start(Some("key"), json!({"a": 2})).await.unwrap_err();
    assert!(matches!(error, Error::KeyConflict(id) if id == first.state.id), "{error}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn start_whose_response_was_lost_is_not_started_twice() {
    for key in [None, Some("key")] {
        let fixture = Fixture::new().await;
        fixture.store.fail_next(Fault::LoseResponse);
        let started = fixture.start(key, json!({})).await.unwrap();
        assert!(!started.replayed, "the caller's own start is not a replay");
        assert_eq!(fixture.store.take_writes().len(), 2, "the write was repeated once");
        let stored = fixture.engine.load(started.state.id).await.unwrap();
        assert_eq!(stored.state, *started.state);
    }
}

#[tokio::test]
async fn start_of_an_unknown_definition_is_refused() {
    let fixture = Fixture::new().await;
    let error = fixture.engine.plan("default", "unknown", None).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchDefinition), "{error}");
}
