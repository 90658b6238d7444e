//! Wakes the requests that wait for a workflow to progress.
//!
//! Changes that this process receives wake them at once. For changes that other processes wrote without a push, one
//! query polls all watched workflows together.

use goconductor_saga::WorkflowId;
use goconductor_store::WorkflowHead;
use goconductor_transition::{Engine, clock};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// The interval between polls of the store.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The age from which a watched workflow is polled. Most workflows end sooner and are never polled.
const POLL_AFTER: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Waiters {
    engine: Arc<Engine>,
    stop: CancellationToken,
    watched: Mutex<BTreeMap<WorkflowId, Watched>>,
}

/// A workflow with waiting requests.
#[derive(Debug)]
struct Watched {
    newest: watch::Sender<Newest>,
    /// The time of the last poll, or of the first wait.
    polled_at: Instant,
}

/// The newest known position of a workflow.
#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    seq: u64,
    has_ended: bool,
}

/// A subscription to the progress of one workflow. Subscribe before the workflow is read, so that no change in
/// between is missed.
#[derive(Debug)]
pub(crate) struct Watch {
    id: WorkflowId,
    newest: watch::Receiver<Newest>,
    waiters: Arc<Waiters>,
}

impl Waiters {
    pub(crate) fn new(
        engine: Arc<Engine>,
        changes: &broadcast::Sender<WorkflowHead>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let this = Arc::new(Self { engine, stop, watched: Mutex::new(BTreeMap::new()) });
        drop(goconductor_supervisor::spawn("waiters", Arc::clone(&this).run(changes.subscribe())));
        this
    }

    /// Subscribes to a workflow.
    pub(crate) fn watch(self: &Arc<Self>, id: WorkflowId) -> Watch {
        let mut watched = self.watched.lock();
        let new = || Watched { newest: watch::Sender::default(), polled_at: clock::monotonic() };
        let newest = watched.entry(id).or_insert_with(new).newest.subscribe();
        Watch { id, newest, waiters: Arc::clone(self) }
    }

    async fn run(self: Arc<Self>, mut changes: broadcast::Receiver<WorkflowHead>) {
        let mut polls = tokio::time::interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_open = true;
        loop {
            // All branches are safe to cancel: a change that was not received stays in the channel.
            tokio::select! {
                () = self.stop.cancelled() => return,
                change = changes.recv(), if is_open => match change {
                    Ok(seen) => self.notify(seen),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.poll(Duration::ZERO).await,
                    Err(broadcast::error::RecvError::Closed) => is_open = false,
                },
                _ = polls.tick() => self.poll(POLL_AFTER).await,
            }
        }
    }

    fn notify(&self, seen: WorkflowHead) {
        let has_ended = seen.status.is_final();
        if has_ended {
            // A later request for the end must read it instead of waiting for a notification that has passed.
            self.engine.evict(seen.id);
        }
        if let Some(watched) = self.watched.lock().get(&seen.id) {
            watched.newest.send_if_modified(|newest| {
                let is_newer = seen.seq > newest.seq;
                if is_newer {
                    *newest = Newest { seq: seen.seq, has_ended };
                }
                is_newer
            });
        }
    }

    /// Polls all workflows that were not polled within `age`, in one query.
    async fn poll(&self, age: Duration) {
        let now = clock::monotonic();
        let mut ids = Vec::new();
        for (id, watched) in &mut *self.watched.lock() {
            if now.saturating_duration_since(watched.polled_at) >= age {
                watched.polled_at = now;
                ids.push(*id);
            }
        }
        if ids.is_empty() {
            return;
        }
        match self.engine.store().heads(&ids).await {
            Ok(seen) => seen.into_iter().for_each(|seen| self.notify(seen)),
            Err(error) => tracing::warn!(%error, workflows = ids.len(), "poll of watched workflows failed"),
        }
    }
}

impl Watch {
    /// Waits until the workflow is past `seq`. Returns `false` if the gateway shuts down first. Safe to cancel.
    pub(crate) async fn past(&mut self, seq: u64) -> bool {
        self.until(|newest| newest.seq > seq).await
    }

    /// Waits until the workflow has ended. Returns `false` if the gateway shuts down first. Safe to cancel.
    pub(crate) async fn ended(&mut self) -> bool {
        self.until(|newest| newest.has_ended).await
    }

    async fn until(&mut self, condition: impl Fn(&Newest) -> bool) -> bool {
        tokio::select! {
            () = self.waiters.stop.cancelled() => false,
            seen = self.newest.wait_for(condition) => seen.is_ok(),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.waiters.watched.lock();
        let is_last = watched.get(&self.id).is_some_and(|watched| watched.newest.receiver_count() <= 1);
        if is_last {
            watched.remove(&self.id);
        }
    }
}
