//! Conflicts between engines, and commits whose response is lost.

use crate::faults::Fault;
use crate::fixture::{Fixture, completed, pause};
use goconductor_saga::{EventKind, Input, StepStatus};
use goconductor_transition::Error;

#[tokio::test]
async fn conflicting_transition_is_recomputed_from_the_current_state() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.other_engine().submit(id, pause()).await.unwrap();
    let state = fixture.engine.submit(id, completed(0)).await.unwrap();
    assert!(state.paused, "the transition of the other engine is part of the state");
    assert_eq!(state.steps[0].execution, StepStatus::Completed);
    assert_eq!(
        fixture.store.take_writes().len(),
        2,
        "the first write conflicted, and the second was committed"
    );
    assert_eq!(fixture.completions(id).await, [1, 0, 0]);
}

#[tokio::test]
async fn input_that_a_stale_state_refuses_is_decided_by_the_stored_state() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.other_engine().submit(id, pause()).await.unwrap();
    assert!(!fixture.engine.cached(id).unwrap().paused, "the cached state is stale");
    let resume = Input::Resume { actor: None, reason: None };
    let state = fixture.engine.submit(id, resume).await.unwrap();
    assert!(!state.paused);
}

#[tokio::test]
async fn input_that_the_stored_state_refuses_is_refused_without_a_write() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let resume = Input::Resume { actor: None, reason: None };
    let error = fixture.engine.submit(id, resume).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    assert!(fixture.store.take_writes().is_empty());
}

#[tokio::test]
async fn commit_whose_response_was_lost_finds_its_own_events() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.store.fail_next(Fault::LoseResponse);
    let state = fixture.engine.submit(id, completed(0)).await.unwrap();
    assert_eq!(fixture.store.take_writes().len(), 2, "the write was repeated once");
    assert_eq!(fixture.completions(id).await, [1, 0, 0], "the event was committed once");
    assert_eq!(fixture.engine.load(id).await.unwrap().state, *state);
}

#[tokio::test]
async fn commit_whose_response_was_lost_is_recognized_after_later_transitions() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.store.fail_next(Fault::LoseResponse);
    fixture.store.gate.block_next();
    let submission = tokio::spawn({
        let engine = fixture.engine.clone();
        async move { engine.submit(id, completed(0)).await }
    });
    fixture.store.gate.entered().await;
    fixture.store.gate.open();
    // The other engine commits as soon as the first write is visible, and possibly before its repetition.
    let other = fixture.other_engine();
    while fixture.completions(id).await[0] == 0 {
        tokio::task::yield_now().await;
    }
    other.submit(id, completed(1)).await.unwrap();
    submission.await.unwrap().unwrap();
    assert_eq!(fixture.completions(id).await, [1, 1, 0]);
}

#[tokio::test]
async fn write_that_was_lost_before_the_commit_is_repeated() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.store.fail_next(Fault::LoseRequest);
    fixture.engine.submit(id, completed(0)).await.unwrap();
    assert_eq!(fixture.completions(id).await, [1, 0, 0]);
}

#[tokio::test]
async fn repeated_write_that_finds_events_of_another_engine_is_a_conflict() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    fixture.store.fail_next(Fault::LoseRequest);
    fixture.store.gate.block_next();
    let submission = tokio::spawn({
        let engine = fixture.engine.clone();
        async move { engine.submit(id, completed(0)).await }
    });
    fixture.store.gate.entered().await;
    fixture.other_engine().submit(id, pause()).await.unwrap();
    fixture.store.gate.open();
    let state = submission.await.unwrap().unwrap();
    assert!(state.paused);
    let paused = |kind: &EventKind| matches!(kind, EventKind::WorkflowPaused { .. });
    assert!(fixture.history(id).await.iter().any(paused));
    assert_eq!(fixture.completions(id).await, [1, 0, 0]);
    assert_eq!(fixture.store.take_writes().len(), 3, "lost, conflicting, committed");
}
