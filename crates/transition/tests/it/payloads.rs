//! Encrypted payloads: sealed in the store and on the queue, and open for the rules.

use crate::fixture::{Fixture, completed_with};
use async_trait::async_trait;
use goconductor_saga::{Input, Outcome, PayloadRef, State, Status, evolve};
use goconductor_secrets::PayloadKey;
use goconductor_store::{Error as StoreError, PayloadStore, StoredPayload, WorkflowStore};
use goconductor_transition::{Engine, Error, PayloadKeys, without_payload};
use secrecy::SecretSlice;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Keys whose newest version is a number. Every version can be read.
#[derive(Debug)]
struct Keys {
    newest: AtomicU32,
}

fn key(version: u32) -> Arc<PayloadKey> {
    let bytes = SecretSlice::from(vec![u8::try_from(version).unwrap(); 32]);
    Arc::new(PayloadKey::new(version, &bytes).unwrap())
}

#[async_trait]
impl PayloadKeys for Keys {
    fn seals(&self, namespace: &str) -> bool {
        namespace == "default" && self.newest.load(Ordering::Relaxed) > 0
    }

    async fn current(&self, _: &str) -> Result<Arc<PayloadKey>, StoreError> {
        Ok(key(self.newest.load(Ordering::Relaxed)))
    }

    async fn version(&self, _: &str, version: u32) -> Result<Arc<PayloadKey>, StoreError> {
        Ok(key(version))
    }
}

fn with_keys(engine: &Engine, newest: u32) -> Arc<Keys> {
    let keys = Arc::new(Keys { newest: AtomicU32::new(newest) });
    engine.set_payload_keys(Arc::clone(&keys) as Arc<dyn PayloadKeys>);
    keys
}

/// Returns everything that the store has of a workflow, as text.
async fn stored(fixture: &Fixture, state: &State) -> String {
    let state_text = fixture.store.load_encoded(&[state.id]).await.unwrap();
    let events = fixture.store.history(state.id, 0, 1000).await.unwrap();
    format!("{state_text:?} {}", json!(events))
}

#[tokio::test]
async fn payload_is_sealed_in_the_store_and_open_in_every_engine() {
    let fixture = Fixture::new().await;
    with_keys(&fixture.engine, 1);
    let started = fixture.start(Some("key"), json!({"card": "4929-8841"})).await.unwrap();
    let id = started.state.id;
    let state = fixture.engine.submit(id, completed_with(0, json!({"receipt": "r-77"}))).await.unwrap();
    assert_eq!(state.steps[0].output.as_deref(), Some(&json!({"receipt": "r-77"})));
    let text = stored(&fixture, &state).await;
    assert!(text.contains("gcenc1:1:") && !text.contains("4929") && !text.contains("r-77"), "{text}");
    // An engine of another process reads and continues it.
    let other = fixture.other_engine();
    with_keys(&other, 1);
    assert_eq!(other.load(id).await.unwrap().state, *state);
    let state = other.submit(id, completed_with(1, json!(null))).await.unwrap();
    assert_eq!(*state.input, json!({"card": "4929-8841"}));
    // The first engine has a stale state: a conflict returns the current one.
    let state = fixture.engine.submit(id, completed_with(2, json!("done"))).await.unwrap();
    assert_eq!(state.status(), Status::Completed);
    let events = fixture.engine.history("default", id, 0, 1000).await.unwrap();
    assert_eq!(
        events.iter().fold(None, evolve).as_ref(),
        Some(&*state),
        "the open history folds to the state"
    );
    let replayed = fixture.start(Some("key"), json!({"card": "4929-8841"})).await.unwrap();
    assert!(replayed.replayed);
    assert_eq!(*replayed.state, *state);
}

#[tokio::test]
async fn sealed_history_folds_to_the_sealed_state() {
    let fixture = Fixture::new().await;
    let keys = with_keys(&fixture.engine, 1);
    let id = fixture.start(None, json!({"card": "4929-8841"})).await.unwrap().state.id;
    let failure = goconductor_saga::Failure {
        code: "DECLINED".to_owned(),
        message: "card 4929-8841 was declined".to_owned(),
        detail: Some(json!({"card": "4929-8841"})),
    };
    let mut report = completed_with(0, json!(null));
    let Input::ReportOutcome { outcome, .. } = &mut report else { panic!("it reports an outcome") };
    *outcome = Outcome::Retryable { failure, not_before: None };
    fixture.engine.submit(id, report).await.unwrap();
    keys.newest.store(2, Ordering::Relaxed);
    let state = fixture.engine.submit(id, completed_with(1, json!({"a": null}))).await.unwrap();
    let text = stored(&fixture, &state).await;
    assert!(text.contains("gcenc1:1:") && text.contains("gcenc1:2:"), "both keys were used: {text}");
    assert!(text.contains("DECLINED") && !text.contains("4929"), "{text}");
    let sealed = fixture.store.load(&[id]).await.unwrap().remove(0).unwrap().state;
    let events = fixture.store.history(id, 0, 1000).await.unwrap();
    let folded = events.iter().fold(None, evolve).unwrap();
    assert_eq!(without_payload(folded), without_payload(sealed));
    assert_eq!(fixture.engine.load(id).await.unwrap().state, *state, "earlier payloads stay readable");
}

#[tokio::test]
async fn sealed_workflow_is_refused_without_keys() {
    let fixture = Fixture::new().await;
    with_keys(&fixture.engine, 1);
    let id = fixture.start(None, json!({"card": "4929-8841"})).await.unwrap().state.id;
    let other = fixture.other_engine();
    let refused = other.submit(id, completed_with(0, json!(1))).await.unwrap_err();
    assert!(matches!(&refused, Error::Store(StoreError::Configuration { .. })), "{refused}");
    assert!(refused.to_string().contains("secrets.master_key"), "{refused}");
    assert_eq!(fixture.completions(id).await, [0, 0, 0], "nothing was decided on placeholders");
}

#[tokio::test]
async fn workflow_of_before_is_sealed_with_its_next_transition() {
    let fixture = Fixture::new().await;
    let keys = with_keys(&fixture.engine, 0);
    let id = fixture.start(None, json!({"card": "4929-8841"})).await.unwrap().state.id;
    keys.newest.store(1, Ordering::Relaxed);
    fixture.engine.submit(id, completed_with(0, json!(1))).await.unwrap();
    let sealed = fixture.store.load(&[id]).await.unwrap().remove(0).unwrap().state;
    assert!(sealed.sealed.is_some() && *sealed.input == json!(null));
    keys.newest.store(0, Ordering::Relaxed);
    let state = fixture.engine.submit(id, completed_with(1, json!(2))).await.unwrap();
    let open = fixture.store.load(&[id]).await.unwrap().remove(0).unwrap().state;
    assert_eq!(open, *state, "without encryption, the next transition is open");
}

#[tokio::test]
async fn payload_of_a_signal_is_sealed() {
    let fixture = Fixture::new().await;
    with_keys(&fixture.engine, 1);
    let id = fixture.start(None, json!({})).await.unwrap().state.id;
    let signal = |payload| Input::Signal {
        name: "card".to_owned(),
        payload: Arc::new(payload),
        key: Some("k-1".to_owned()),
        actor: None,
    };
    let state = fixture.engine.submit(id, signal(json!({"card": "4929-8841"}))).await.unwrap();
    let text = stored(&fixture, &state).await;
    assert!(text.contains("gcenc1:1:") && !text.contains("4929"), "{text}");
    assert_eq!(fixture.engine.load(id).await.unwrap().state, *state);
    let sealed = fixture.store.load(&[id]).await.unwrap().remove(0).unwrap().state;
    let events = fixture.store.history(id, 0, 1000).await.unwrap();
    let folded = events.iter().fold(None, evolve).unwrap();
    assert_eq!(without_payload(folded), without_payload(sealed));
    let repeated = fixture.engine.submit(id, signal(json!(1))).await.unwrap();
    assert_eq!(repeated.seq, state.seq, "a repeat changes nothing");
}

#[tokio::test]
async fn large_payload_is_stored_apart_from_the_state_and_sealed() {
    let fixture = Fixture::new().await;
    with_keys(&fixture.engine, 1);
    let input = json!({"text": "4929-8841".repeat(100_000)});
    let state = fixture.start(Some("key"), input.clone()).await.unwrap().state;
    let id = state.id;
    let reference = PayloadRef::of(&state.input).unwrap();
    let state = fixture.engine.submit(id, completed_with(0, json!("x".repeat(900_000)))).await.unwrap();
    let output = PayloadRef::of(state.steps[0].output.as_ref().unwrap()).unwrap();
    assert_eq!((reference.bytes, output.bytes), (900_011, 900_002));
    assert!(stored(&fixture, &state).await.len() < 20_000, "the state and the events are small");
    let payload = StoredPayload { namespace: "default".to_owned(), digest: reference.digest };
    let chunk = fixture.store.payload_chunk(&payload, id, 0).await.unwrap().unwrap();
    // A shorter part could be in the ciphertext by chance.
    assert!(!String::from_utf8(chunk).unwrap().contains("4929-8841"));
    // An engine of another process reads it, and an engine without keys does not.
    let other = fixture.other_engine();
    with_keys(&other, 1);
    assert_eq!(*other.payload("default", id, reference).await.unwrap(), input);
    let without_keys = fixture.other_engine();
    without_keys.payload("default", id, reference).await.unwrap_err();
    let replayed = fixture.start(Some("key"), input).await.unwrap();
    assert!(replayed.replayed && replayed.state.id == id);
}

#[tokio::test]
async fn digest_of_another_workflow_gives_no_access_to_its_payload() {
    let fixture = Fixture::new().await;
    let owner = fixture.start(None, json!("x".repeat(100_000))).await.unwrap().state;
    let reference = PayloadRef::of(&owner.input).unwrap();
    let state = fixture.start(None, reference.to_json()).await.unwrap().state;
    let own = PayloadRef::of(&state.input).unwrap();
    assert_ne!(own, reference, "a value that looks like a reference is a payload itself");
    let read = async |reference| fixture.engine.payload("default", state.id, reference).await.unwrap();
    assert_eq!(*read(own).await, reference.to_json());
    assert_eq!(*read(reference).await, reference.to_json(), "it is a value");
    let state = fixture.engine.submit(state.id, completed_with(0, reference.to_json())).await.unwrap();
    let output = PayloadRef::of(state.steps[0].output.as_ref().unwrap()).unwrap();
    assert_eq!(output, own);
}

#[tokio::test]
async fn output_with_an_invented_reference_is_recorded_as_it_is() {
    let fixture = Fixture::new().await;
    let state = fixture.start(None, json!("x".repeat(100_000))).await.unwrap().state;
    let invented = PayloadRef { digest: goconductor_saga::PayloadDigest([7; 32]), bytes: 1 << 40 };
    let output = json!({"a": invented.to_json()});
    // An error would be returned for each report of the same attempt, so its effect would never be recorded.
    let state = fixture.engine.submit(state.id, completed_with(0, output.clone())).await.unwrap();
    assert_eq!(state.steps[0].output.as_deref(), Some(&output));
}

#[tokio::test]
async fn payloads_stay_in_the_state_while_an_earlier_release_is_in_use() {
    let fixture = Fixture::new().await;
    fixture.engine.set_start_rules(goconductor_saga::RulesVersion::FIRST);
    let state = fixture.start(None, json!("x".repeat(100_000))).await.unwrap().state;
    assert_eq!(PayloadRef::of(&state.input), None);
}
