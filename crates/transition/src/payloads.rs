//! Encryption of payloads: the inputs, outputs and failures of workflows, sealed with a key of their namespace.
//!
//! The payload of a state or of an event is sealed as a whole, in its field `sealed`. Placeholders take its place, so that
//! everything else can be read, folded and compared without a key. The form is bound to the workflow, to its kind and to
//! `seq`: a sealed payload cannot be opened in another place.

use crate::Error;
use async_trait::async_trait;
use goconductor_saga::{Event, EventKind, Failure, Json, State, Transition, WorkflowId};
use goconductor_secrets::{PayloadKey, Randomness, payload_key_version};
use goconductor_store::Error as StoreError;
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;

/// The message of a failure whose message is sealed.
const PLACEHOLDER: &str = "(encrypted)";

/// The keys of payloads.
#[async_trait]
pub trait PayloadKeys: std::fmt::Debug + Send + Sync {
    /// Returns whether the payloads of new states of a namespace are sealed.
    fn seals(&self, namespace: &str) -> bool;

    /// Returns the key that seals new payloads of a namespace.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the key cannot be read now, and `Error::Configuration` if it cannot be opened.
    async fn current(&self, namespace: &str) -> Result<Arc<PayloadKey>, StoreError>;

    /// Returns a version of the key of a namespace.
    ///
    /// # Errors
    /// Returns the errors of [`current`](Self::current), also if the version does not exist.
    async fn version(&self, namespace: &str, version: u32) -> Result<Arc<PayloadKey>, StoreError>;
}

/// The payload of a state.
#[derive(Serialize, Deserialize)]
struct StatePayload {
    input: Arc<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    output: Option<Arc<Json>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    /// The payloads of the last signals and of the kept ones, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signals: Vec<Arc<Json>>,
    steps: Vec<StepPayload>,
}

/// The payload of a step.
#[derive(Serialize, Deserialize)]
struct StepPayload {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    output: Option<Arc<Json>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    /// The payloads of the signals that the step keeps, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    signals: Vec<Arc<Json>>,
}

/// The payload of an event.
#[derive(Default, Serialize, Deserialize)]
struct EventPayload {
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    value: Option<Arc<Json>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

/// Reads a field that is present. An output may be `null`, which is not the same as no output.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Arc<Json>>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

/// Returns a state without its payload, for comparisons with another state without payload.
#[must_use]
pub fn without_payload(mut state: State) -> State {
    drop(take_state(&mut state));
    state.sealed = None;
    state
}

/// Returns the transition with sealed payloads.
pub(crate) fn seal(key: &PayloadKey, transition: &Transition) -> Result<Transition, Error> {
    let mut sealed = transition.clone();
    let (namespace, id) = (transition.state.namespace.clone(), transition.id);
    let payload = take_state(&mut sealed.state);
    let place = place(&namespace, id, "state", sealed.state.seq);
    sealed.state.sealed = Some(seal_value(key, &place, &payload)?);
    for event in &mut sealed.events {
        if let Some(payload) = take_event(&mut event.kind) {
            let place = self::place(&namespace, id, "event", event.seq);
            event.sealed = Some(seal_value(key, &place, &payload)?);
        }
    }
    Ok(sealed)
}

/// Opens the payload of a state. A state that is not sealed is not changed.
pub(crate) async fn open_state(keys: Option<&dyn PayloadKeys>, state: &mut State) -> Result<(), StoreError> {
    let Some(sealed) = state.sealed.take() else { return Ok(()) };
    let place = place(&state.namespace, state.id, "state", state.seq);
    let StatePayload { input, output, error, signals, steps } =
        open_value(keys, &state.namespace, &place, &sealed).await?;
    (state.input, state.output, state.error) = (input, output, error);
    for (place, payload) in signals_of(state).zip(signals) {
        *place = payload;
    }
    for (step, payload) in state.steps.iter_mut().zip(steps) {
        (step.output, step.error) = (payload.output, payload.error);
        for (place, payload) in
            step.signals.iter_mut().flat_map(|kept| kept.values_mut()).zip(payload.signals)
        {
            *place = payload;
        }
    }
    Ok(())
}

/// Opens the payload of an event.
pub(crate) async fn open_event(
    keys: Option<&dyn PayloadKeys>,
    namespace: &str,
    id: WorkflowId,
    event: &mut Event,
) -> Result<(), StoreError> {
    let Some(sealed) = event.sealed.take() else { return Ok(()) };
    let place = place(namespace, id, "event", event.seq);
    let payload: EventPayload = open_value(keys, namespace, &place, &sealed).await?;
    if let (Some(value), Some(place)) = (payload.value, value_of(&mut event.kind)) {
        *place = value;
    }
    if let (Some(failure), Some(place)) = (payload.failure, failure_of(&mut event.kind)) {
        *place = failure;
    }
    Ok(())
}

fn place(namespace: &str, id: WorkflowId, kind: &str, seq: u64) -> String {
    format!("{namespace}/{id}/{kind}/{seq}")
}

fn seal_value(key: &PayloadKey, place: &str, payload: &impl Serialize) -> Result<String, Error> {
    let text = goconductor_store::json::json("a payload", payload)?;
    let nonce =
        Randomness::nonce().map_err(|_| Error::Internal("the operating system has no random bytes"))?;
    Ok(key.seal(place, &text, nonce))
}

async fn open_value<T: serde::de::DeserializeOwned>(
    keys: Option<&dyn PayloadKeys>,
    namespace: &str,
    place: &str,
    sealed: &str,
) -> Result<T, StoreError> {
    let keys = keys.ok_or_else(|| {
        let reason = "its payload is encrypted, and this process has no master key: set secrets.master_key";
        StoreError::configuration(format!("workflow {place}: {reason}"))
    })?;
    let corrupt = |reason: String| StoreError::corrupt(format!("the payload of {place}"), reason);
    let version = payload_key_version(sealed).ok_or_else(|| corrupt("it has no key version".to_owned()))?;
    let key = keys.version(namespace, version).await?;
    let text = key.open(place, sealed).map_err(|error| corrupt(error.to_string()))?;
    goconductor_store::json::parsed("a payload", &text)
}

fn take_state(state: &mut State) -> StatePayload {
    StatePayload {
        input: std::mem::replace(&mut state.input, Arc::new(Json::Null)),
        output: state.output.as_mut().map(take_value),
        error: state.error.as_mut().map(take_failure),
        signals: signals_of(state).map(take_value).collect(),
        steps: state
            .steps
            .iter_mut()
            .map(|step| StepPayload {
                output: step.output.as_mut().map(take_value),
                error: step.error.as_mut().map(take_failure),
                signals: step.signals.iter_mut().flat_map(|kept| kept.values_mut()).map(take_value).collect(),
            })
            .collect(),
    }
}

/// Returns the payloads of the signals of a state.
fn signals_of(state: &mut State) -> impl Iterator<Item = &mut Arc<Json>> {
    let kept = state.signals.kept.iter_mut().map(|kept| &mut kept.payload);
    state.signals.last.values_mut().chain(kept)
}

/// Returns `None` if events of the kind have no payload.
fn take_event(kind: &mut EventKind) -> Option<EventPayload> {
    let payload =
        EventPayload { value: value_of(kind).map(take_value), failure: failure_of(kind).map(take_failure) };
    (payload.value.is_some() || payload.failure.is_some()).then_some(payload)
}

fn take_value(value: &mut Arc<Json>) -> Arc<Json> {
    std::mem::replace(value, Arc::new(Json::Null))
}

/// Takes all of a failure. The code remains: it decides about retries, and people search for it.
fn take_failure(failure: &mut Failure) -> Failure {
    let placeholder = Failure { code: failure.code.clone(), message: PLACEHOLDER.to_owned(), detail: None };
    std::mem::replace(failure, placeholder)
}

pub(crate) fn value_of(kind: &mut EventKind) -> Option<&mut Arc<Json>> {
    match kind {
        EventKind::WorkflowStarted { input: value, .. }
        | EventKind::StepCompleted { output: value, .. }
        | EventKind::SignalReceived { payload: value, .. }
        | EventKind::WorkflowCompleted { output: value, .. } => Some(value),
        EventKind::StepQueued { .. }
        | EventKind::StepWaiting { .. }
        | EventKind::SignalDelivered { .. }
        | EventKind::FailureTolerated { .. }
        | EventKind::CompensationUnneeded { .. }
        | EventKind::StepSkipped { .. }
        | EventKind::AttemptStarted { .. }
        | EventKind::ChildStarted { .. }
        | EventKind::AttemptFailed { .. }
        | EventKind::StepFailed { .. }
        | EventKind::StepUnknown { .. }
        | EventKind::StepProbing { .. }
        | EventKind::StepWithdrawn { .. }
        | EventKind::RollbackRequested { .. }
        | EventKind::RollbackRefused { .. }
        | EventKind::RollbackStarted { .. }
        | EventKind::CompensationQueued { .. }
        | EventKind::StepCompensated { .. }
        | EventKind::CompensationFailed { .. }
        | EventKind::CompensationSkipped { .. }
        | EventKind::StepRetried { .. }
        | EventKind::RerunStarted { .. }
        | EventKind::StepsReset { .. }
        | EventKind::WorkflowMigrated { .. }
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::LocksRequested { .. }
        | EventKind::LocksAcquired { .. }
        | EventKind::LocksFailed { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => None,
    }
}

fn failure_of(kind: &mut EventKind) -> Option<&mut Failure> {
    match kind {
        EventKind::AttemptFailed { failure, .. }
        | EventKind::StepFailed { failure, .. }
        | EventKind::StepUnknown { failure, .. }
        | EventKind::StepProbing { failure, .. }
        | EventKind::CompensationFailed { failure, .. }
        | EventKind::LocksFailed { failure } => Some(failure),
        EventKind::WorkflowCompleted { failure, .. } => failure.as_mut(),
        EventKind::WorkflowStarted { .. }
        | EventKind::StepQueued { .. }
        | EventKind::StepWaiting { .. }
        | EventKind::SignalReceived { .. }
        | EventKind::SignalDelivered { .. }
        | EventKind::FailureTolerated { .. }
        | EventKind::CompensationUnneeded { .. }
        | EventKind::StepSkipped { .. }
        | EventKind::AttemptStarted { .. }
        | EventKind::ChildStarted { .. }
        | EventKind::StepCompleted { .. }
        | EventKind::StepWithdrawn { .. }
        | EventKind::RollbackRequested { .. }
        | EventKind::RollbackRefused { .. }
        | EventKind::RollbackStarted { .. }
        | EventKind::CompensationQueued { .. }
        | EventKind::StepCompensated { .. }
        | EventKind::CompensationSkipped { .. }
        | EventKind::StepRetried { .. }
        | EventKind::RerunStarted { .. }
        | EventKind::StepsReset { .. }
        | EventKind::WorkflowMigrated { .. }
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::LocksRequested { .. }
        | EventKind::LocksAcquired { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => None,
    }
}
