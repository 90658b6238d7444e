//! Pending inputs: batching, refusals within a batch, drain.

use crate::fixture::{Fixture, assert_pending, completed, completed_with, pause};
use goconductor_saga::{Input, Json, Phase, RulesVersion, StepStatus, WorkflowId};
use goconductor_transition::{Error, Settings};
use std::pin::pin;
use std::sync::Arc;

/// Submits an input in a separate task and waits until its write is blocked.
async fn submit_and_block(
    fixture: &Fixture,
    id: WorkflowId,
    input: Input,
) -> tokio::task::JoinHandle<Result<Arc<goconductor_saga::State>, Error>> {
    fixture.store.gate.block_next();
    let engine = Arc::clone(&fixture.engine);
    let submission = tokio::spawn(async move { engine.submit(id, input).await });
    fixture.store.gate.entered().await;
    submission
}

#[tokio::test]
async fn inputs_that_arrive_during_a_write_become_one_transition() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let first = submit_and_block(&fixture, id, completed(0)).await;
    let mut second = pin!(fixture.engine.submit(id, completed(1)));
    let mut third = pin!(fixture.engine.submit(id, completed(2)));
    assert_pending(second.as_mut()).await;
    assert_pending(third.as_mut()).await;
    fixture.store.gate.open();
    first.await.unwrap().unwrap();
    let (second, third) = (second.await.unwrap(), third.await.unwrap());
    assert_eq!(second.seq, third.seq, "both inputs return the state after their common transition");
    assert_eq!(third.phase, Phase::Completed);
    // The second write has the events of both inputs and the completion of the workflow.
    assert_eq!(fixture.store.take_writes(), [1, 3]);
    assert_eq!(fixture.completions(id).await, [1, 1, 1]);
}

#[tokio::test]
async fn refused_input_does_not_affect_the_others_of_its_batch() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let first = submit_and_block(&fixture, id, completed(0)).await;
    let mut duplicate = pin!(fixture.engine.submit(id, completed(0)));
    let mut other = pin!(fixture.engine.submit(id, completed(1)));
    assert_pending(duplicate.as_mut()).await;
    assert_pending(other.as_mut()).await;
    fixture.store.gate.open();
    first.await.unwrap().unwrap();
    let error = duplicate.await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    other.await.unwrap();
    assert_eq!(fixture.completions(id).await, [1, 1, 0]);
}

#[tokio::test]
async fn input_that_an_earlier_release_does_not_know_waits_for_the_end_of_the_upgrade() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let signal = || {
        let (name, payload) = ("go".to_owned(), Arc::new(Json::Null));
        Input::Signal { name, payload, key: None, actor: None }
    };
    fixture.engine.set_start_rules(RulesVersion::FIRST);
    let error = fixture.engine.submit(id, signal()).await.unwrap_err();
    assert!(matches!(error, Error::Refused(_)) && error.to_string().contains("--finish"), "{error}");
    fixture.engine.submit(id, completed(0)).await.unwrap();
    fixture.engine.set_start_rules(RulesVersion::CURRENT);
    let state = fixture.engine.submit(id, signal()).await.unwrap();
    assert_eq!(state.signals.kept.len(), 1);
}

#[tokio::test]
async fn output_beyond_the_state_limit_is_rejected_for_its_step_alone() {
    let settings = Settings { state_bytes: 40_000, inline_bytes: 64 << 10, ..Settings::default() };
    let fixture = Fixture::with_settings(settings).await;
    let id = fixture.started().await;
    let text = |bytes: usize| Json::String("x".repeat(bytes));
    let first = submit_and_block(&fixture, id, completed_with(0, text(10_000))).await;
    let mut large = pin!(fixture.engine.submit(id, completed_with(1, text(30_000))));
    let mut small = pin!(fixture.engine.submit(id, completed_with(2, text(20_000))));
    assert_pending(large.as_mut()).await;
    assert_pending(small.as_mut()).await;
    fixture.store.gate.open();
    first.await.unwrap().unwrap();
    large.await.unwrap();
    let state = small.await.unwrap();
    let statuses: Vec<_> = state.steps.iter().map(|step| step.execution).collect();
    assert_eq!(statuses, [StepStatus::Completed, StepStatus::Unknown, StepStatus::Completed]);
    let error = state.error.as_ref().unwrap();
    assert_eq!(error.code, "STATE_TOO_LARGE");
    assert!(error.message.contains("30002 bytes") && error.message.contains("40000"), "{}", error.message);
    assert_eq!(state.steps.get(2).unwrap().output.as_deref(), Some(&text(20_000)));
}

#[tokio::test]
async fn cancelled_caller_does_not_cancel_its_input() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let caller = submit_and_block(&fixture, id, pause()).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    fixture.store.gate.open();
    fixture.engine.drain().await;
    assert!(fixture.engine.load(id).await.unwrap().state.paused);
}

#[tokio::test]
async fn drain_waits_for_pending_inputs() {
    let fixture = Fixture::new().await;
    let id = fixture.started().await;
    let first = submit_and_block(&fixture, id, completed(0)).await;
    let mut second = pin!(fixture.engine.submit(id, completed(1)));
    assert_pending(second.as_mut()).await;
    let mut drain = pin!(fixture.engine.drain());
    assert_pending(drain.as_mut()).await;
    fixture.store.gate.open();
    drain.await;
    assert_eq!(fixture.completions(id).await, [1, 1, 0], "both inputs were committed");
    first.await.unwrap().unwrap();
    second.await.unwrap();
}

#[tokio::test]
async fn input_for_an_unknown_workflow_is_refused() {
    let fixture = Fixture::new().await;
    let id = "018f0000-0000-7000-8000-000000000001".parse().unwrap();
    let error = fixture.engine.submit(id, pause()).await.unwrap_err();
    assert!(matches!(error, Error::NoSuchWorkflow), "{error}");
}
