//! Applies the operations of batches.
//!
//! Each gateway runs one task. It leases running batches in the store, so one gateway at a time works on a batch, and the
//! next one continues if that gateway is killed. Few operations are in flight at once, and each batch has a rate, so that
//! requests and the attempts of steps take precedence.
//!
//! Invariant: each operation takes effect at most once. A gateway that was killed between an operation and its record
//! leaves the item as taken. The reason in the history of a workflow names the batch, so the next gateway finds whether
//! the operation took effect.

use crate::api::Api;
use crate::error::{CONFLICT, NO_STEP, NO_WORKFLOW, Problem};
use futures::stream::{self, FuturesUnordered, StreamExt};
use goconductor_saga::{Event, Input, Plan, State, StepIndex, WorkflowId};
use goconductor_store::{
    BatchItemResult, BatchItemStatus, BatchLease, BatchOperation, TakenItem, WorkflowBatch,
};
use goconductor_transition::Error;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Length of a lease. It is renewed before each chunk.
const LEASE: Duration = Duration::from_secs(15);
/// Time after which the items of a chunk are no longer begun, because the lease may end soon.
const BEGIN_LIMIT: Duration = Duration::from_secs(8);
/// Interval between two questions for batches that can be leased.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Pause after an error of the store.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The most batches of one gateway at once. A batch with a low rate must not delay the others.
const MAX_BATCHES: usize = 16;
/// The most operations in flight, over all batches.
const MAX_IN_FLIGHT: usize = 8;
/// The most items that are taken at once. They must end well within a lease.
const CHUNK: u32 = 32;
/// The most attempts to record the results of a chunk. The items are then taken again.
const MAX_RECORDS: u32 = 5;
/// Number of events that are read at once.
const HISTORY_PAGE: u32 = 500;

/// Why an operation was not applied.
enum NotApplied {
    /// The result is final.
    Final(BatchItemStatus, Problem),
    /// The store did not respond, or another change was first. The item is taken again.
    Later,
}

impl From<Error> for NotApplied {
    fn from(error: Error) -> Self {
        if error.is_retryable() {
            return Self::Later;
        }
        let status = match &error {
            Error::Refused(_) | Error::NoSuchWorkflow => BatchItemStatus::Refused,
            Error::NoSuchDefinition
            | Error::KeyConflict(_)
            | Error::Store(_)
            | Error::Contention(_)
            | Error::InvalidDefinition { .. }
            | Error::Internal(_) => BatchItemStatus::Failed,
        };
        Self::Final(status, error.into())
    }
}

/// Works on batches until the gateway shuts down.
pub(crate) async fn run(api: Api) {
    let permits = Semaphore::new(MAX_IN_FLIGHT);
    let mut batches = FuturesUnordered::new();
    loop {
        let mut is_leased = false;
        if batches.len() < MAX_BATCHES && !api.stop.is_cancelled() {
            match api.store().lease_batch(LEASE).await {
                Ok(Some((batch, lease))) => {
                    batches.push(work(&api, batch, lease, &permits));
                    is_leased = true;
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "batches were not leased"),
            }
        }
        if api.stop.is_cancelled() && batches.is_empty() {
            return;
        }
        let pause = if is_leased { Duration::ZERO } else { POLL_INTERVAL };
        // Safe to cancel: the batches keep their state, and the others only wait.
        tokio::select! {
            Some(()) = batches.next() => {}
            () = api.batches_changed.notified() => {}
            () = api.stop.cancelled(), if !api.stop.is_cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Works on a batch until it is not running, or the lease is lost, or the gateway shuts down.
async fn work(api: &Api, batch: WorkflowBatch, lease: BatchLease, permits: &Semaphore) {
    tracing::info!(batch = %batch.id, operation = batch.operation.as_str(), "batch was leased");
    loop {
        let start = Instant::now();
        if api.stop.is_cancelled() {
            // Another gateway need not wait for the end of the lease.
            drop(api.store().take_batch_items(lease, Duration::ZERO, 0).await);
            return;
        }
        let items = match api.store().take_batch_items(lease, LEASE, CHUNK.min(batch.rate)).await {
            Ok(Some(items)) if !items.is_empty() => items,
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(batch = %batch.id, %error, "batch runner failed to claim workflows; retrying");
                pause(api, RETRY_INTERVAL).await;
                continue;
            }
        };
        let taken = items.len();
        let results: Vec<Option<BatchItemResult>> = stream::iter(items)
            .map(|item| apply_with_permit(api, &batch, item, permits, start))
            .buffer_unordered(MAX_IN_FLIGHT)
            .collect()
            .await;
        let results: Vec<BatchItemResult> = results.into_iter().flatten().collect();
        if !record(api, lease, &results).await {
            return;
        }
        if results.len() < taken {
            pause(api, RETRY_INTERVAL).await;
        }
        let due = Duration::from_secs_f64(
            f64::from(u32::try_from(taken).unwrap_or(CHUNK)) / f64::from(batch.rate.max(1)),
        );
        pause(api, due.saturating_sub(start.elapsed())).await;
    }
}

/// Waits, unless the gateway shuts down.
async fn pause(api: &Api, time: Duration) {
    // Both branches are safe to cancel: they only wait.
    tokio::select! {
        () = api.stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

/// Records the results of a chunk. Returns whether the lease is still held. Items without a recorded result are taken
/// again, and the history then shows the operation.
async fn record(api: &Api, lease: BatchLease, results: &[BatchItemResult]) -> bool {
    for _ in 0..MAX_RECORDS {
        match api.store().finish_batch_items(lease, results).await {
            Ok(is_held) => return is_held,
            Err(error) => {
                tracing::warn!(batch = %lease.id, %error, "batch runner failed to record results; retrying");
                pause(api, RETRY_INTERVAL).await;
            }
        }
    }
    true
}

async fn apply_with_permit(
    api: &Api,
    batch: &WorkflowBatch,
    item: TakenItem,
    permits: &Semaphore,
    taken_at: Instant,
) -> Option<BatchItemResult> {
    // The semaphore is never closed.
    let _permit = permits.acquire().await.ok()?;
    // A process that was suspended must not apply operations of a lease that another gateway has.
    if taken_at.elapsed() > BEGIN_LIMIT {
        return None;
    }
    let workflow = item.workflow;
    match apply(api, batch, item).await {
        Ok(()) => Some(BatchItemResult { workflow, status: BatchItemStatus::Done, code: None, detail: None }),
        Err(NotApplied::Final(status, problem)) => Some(BatchItemResult {
            workflow,
            status,
            code: Some(problem.code().to_owned()),
            detail: Some(problem.to_string()),
        }),
        Err(NotApplied::Later) => None,
    }
}

/// Applies the operation of a batch to a workflow, unless an earlier attempt has done so.
async fn apply(api: &Api, batch: &WorkflowBatch, item: TakenItem) -> Result<(), NotApplied> {
    let id = item.workflow;
    let state = api.engine.load(id).await?.state;
    if state.namespace != batch.namespace {
        let problem = Problem::new(NO_WORKFLOW, format!("workflow {id} not found"));
        return Err(NotApplied::Final(BatchItemStatus::Refused, problem));
    }
    let mark = mark(batch);
    let earlier = if item.is_repeated { effects(api, batch, item, &mark).await? } else { Effects::default() };
    let reason = format!("{} {mark}", batch.reason);
    let actor = batch.actor.clone().or_else(|| Some("api".to_owned()));
    let some_reason = Some(reason.clone());
    let input = match batch.operation {
        BatchOperation::Retry | BatchOperation::Skip => {
            return operate_steps(api, batch, id, &state, &earlier, &reason).await;
        }
        BatchOperation::Cancel => Input::Cancel { actor, reason: some_reason },
        BatchOperation::Pause => Input::Pause { actor, reason: some_reason },
        BatchOperation::Resume => Input::Resume { actor, reason: some_reason },
        BatchOperation::Terminate => Input::Terminate { actor, reason },
    };
    if earlier.any {
        return Ok(());
    }
    api.engine.submit_apart(id, input).await?;
    Ok(())
}

/// Retries or skips the steps of a workflow. It succeeds if it changes at least one.
async fn operate_steps(
    api: &Api,
    batch: &WorkflowBatch,
    id: WorkflowId,
    state: &State,
    earlier: &Effects,
    reason: &str,
) -> Result<(), NotApplied> {
    let plan = api.engine.plan_of(state).await?;
    let steps = steps_of(batch, &plan, state)?;
    let mut is_changed = earlier.any;
    let mut refused = None;
    for step in steps.into_iter().filter(|step| !earlier.steps.contains(step)) {
        let actor = batch.actor.clone().or_else(|| Some("api".to_owned()));
        let input = match batch.operation {
            BatchOperation::Skip => Input::SkipStep { step, actor, reason: reason.to_owned() },
            BatchOperation::Retry
            | BatchOperation::Cancel
            | BatchOperation::Pause
            | BatchOperation::Resume
            | BatchOperation::Terminate => Input::RetryStep { step, actor, reason: Some(reason.to_owned()) },
        };
        match api.engine.submit_apart(id, input).await.map_err(NotApplied::from) {
            Ok(_) => is_changed = true,
            Err(NotApplied::Later) => return Err(NotApplied::Later),
            Err(error @ NotApplied::Final(..)) => refused = Some(error),
        }
    }
    match refused {
        _ if is_changed => Ok(()),
        Some(error) => Err(error),
        None => {
            let problem = Problem::new(CONFLICT, "no step of the workflow needs an operator");
            Err(NotApplied::Final(BatchItemStatus::Refused, problem))
        }
    }
}

/// Returns the step that the batch names, or the steps that need an operator.
fn steps_of(batch: &WorkflowBatch, plan: &Plan, state: &State) -> Result<Vec<StepIndex>, NotApplied> {
    if let Some(name) = &batch.step {
        let step = plan.step_named(name).ok_or_else(|| {
            let problem = Problem::new(NO_STEP, format!("step {name} not found in the workflow"));
            NotApplied::Final(BatchItemStatus::Refused, problem)
        })?;
        return Ok(vec![step]);
    }
    let waiting = state.steps.iter().enumerate().filter(|(_, step)| step.needs_operator(state.phase));
    Ok(waiting.filter_map(|(place, _)| u32::try_from(place).ok().map(StepIndex)).collect())
}

/// The text that marks the operations of a batch in the histories.
fn mark(batch: &WorkflowBatch) -> String {
    format!("(batch {})", batch.id)
}

/// The effects of an earlier attempt to apply an operation.
#[derive(Debug, Default)]
struct Effects {
    any: bool,
    steps: BTreeSet<StepIndex>,
}

/// Finds the events of the batch in the history of a workflow since the item was taken first.
async fn effects(
    api: &Api,
    batch: &WorkflowBatch,
    item: TakenItem,
    mark: &str,
) -> Result<Effects, NotApplied> {
    let (mut found, mut after) = (Effects::default(), item.seq);
    loop {
        let events = api.engine.history(&batch.namespace, item.workflow, after, HISTORY_PAGE).await?;
        let Some(last) = events.last() else { return Ok(found) };
        after = last.seq;
        for event in events.iter().filter(|event| has_mark(event, mark)) {
            found.any = true;
            found.steps.extend(event.kind.step());
        }
    }
}

/// Whether the reason of an event ends with a mark.
fn has_mark(event: &Event, mark: &str) -> bool {
    let stored = serde_json::to_value(&event.kind).unwrap_or_default();
    stored.get("reason").and_then(serde_json::Value::as_str).is_some_and(|reason| reason.ends_with(mark))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed expectation fails the test")]
mod tests {
    use super::*;
    use goconductor_saga::{EventKind, RollbackCause, Timestamp};

    fn event(kind: EventKind) -> Event {
        Event { seq: 1, time: Timestamp(0), actor: None, sealed: None, kind }
    }

    #[test]
    fn operation_of_a_batch_is_found_by_its_reason() {
        let mark = "(batch 0199c000-0000-7000-8000-000000000001)";
        let reason = Some(format!("duplicates {mark}"));
        let cancelled = EventKind::RollbackStarted { cause: RollbackCause::Cancelled, step: None, reason };
        assert!(has_mark(&event(cancelled), mark));
        let other = EventKind::WorkflowPaused { reason: Some("duplicates".to_owned()) };
        assert!(!has_mark(&event(other), mark));
        assert!(!has_mark(&event(EventKind::WorkflowResumed { reason: None }), mark));
    }
}
