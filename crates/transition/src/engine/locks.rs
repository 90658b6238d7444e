//! The locks that workflows wait for.
//!
//! The ledger has a row for each wait. The dispatcher calls [`Engine::acquire_locks`] when the row is due: at the request,
//! when a lock was released, and at the latest after a poll. The store acquires the locks before the workflow records
//! them. A process that is killed in between loses nothing, because the row stays due and the repeated request returns the
//! same tokens. A workflow that no longer waits releases what was acquired for it, in the same transaction that settles
//! the row.

use super::Engine;
use crate::{Error, clock};
use goconductor_saga::{Input, LockState, OwedKey, State, TimerKind, Timestamp, WorkflowId};
use goconductor_store::{WantedLock, WorkflowLockOutcome, WorkflowLockRequest};
use std::sync::Arc;
use std::time::Duration;

/// The shortest time until a request is made again that no release has woken up. A release wakes the requests of
/// workflows, so this finds locks that expired and wake-ups that were lost.
const MIN_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The longest. The interval grows with the time that a request has waited, because many requests can wait for one lock.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(10);

impl Engine {
    /// Acquires the locks that a workflow waits for, or takes its place in the queue. Ends the wait if its time is over.
    ///
    /// # Errors
    /// Returns [`Error::Store`] if the store failed, and the errors of [`Engine::submit`]. The ledger keeps the row, so a
    /// later call continues.
    pub async fn acquire_locks(self: &Arc<Self>, id: WorkflowId, timer: TimerKind) -> Result<(), Error> {
        // A cached state may be stale: with the request of an earlier attempt, it would claim a key that the workflow no
        // longer wants. The store checks the row of the ledger only, which both requests have.
        let state = self.load(id).await?.state;
        let Some(wait) = state.lock_wait(timer) else { return Ok(()) };
        let now = clock::now();
        let input = match self.store.acquire_workflow_locks(&request(&state, timer, wait, now)).await? {
            WorkflowLockOutcome::Granted(tokens) => {
                Input::AcquireLocks { timer, request: wait.request, tokens }
            }
            WorkflowLockOutcome::Waiting if wait.until.is_some_and(|until| until <= now) => {
                Input::FireTimer { timer }
            }
            WorkflowLockOutcome::Waiting => {
                self.timer_notifier.notify_due(poll_at(wait, now));
                return Ok(());
            }
            WorkflowLockOutcome::Gone => {
                self.evict(id);
                return Ok(());
            }
        };
        let submitted = self.submit(id, input).await;
        if matches!(submitted, Err(Error::Refused(_))) {
            // The workflow was paused and resumed, and waits by another request.
            self.evict(id);
        }
        submitted.map(drop)
    }
}

fn request(state: &State, timer: TimerKind, wait: &LockState, now: Timestamp) -> WorkflowLockRequest {
    let wanted = wait.locks.iter().map(|lock| WantedLock { key: lock.key.clone(), shared: lock.shared });
    WorkflowLockRequest {
        id: state.id,
        row: OwedKey::Timer(timer),
        namespace: state.namespace.clone(),
        owner: state.lock_owner(timer),
        locks: wanted.collect(),
        poll_at: poll_at(wait, now),
    }
}

fn poll_at(wait: &LockState, now: Timestamp) -> Timestamp {
    let waited = now.since(wait.requested_at);
    // A virtual clock stops at each poll, so that polls must be few.
    let longest = if clock::is_virtual() { clock::HELD } else { MAX_POLL_INTERVAL };
    let next = now.after((waited / 4).clamp(MIN_POLL_INTERVAL, longest));
    // A wait whose time is over is polled as well: the input that ends it may have been lost.
    wait.until.filter(|until| *until > now).map_or(next, |until| until.min(next))
}
