//! Who waits for a workflow to move on is woken by what this process writes, and by a look at the store
//! for all of them together, as other processes write too.

use goconductor_saga::WorkflowId;
use goconductor_store::Seen;
use goconductor_transition::Conductor;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// What other processes wrote is seen after this at the latest.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(crate) struct Waiters {
    conductor: Arc<Conductor>,
    stop: CancellationToken,
    /// What was seen of each workflow that somebody waits for.
    newest: Mutex<BTreeMap<WorkflowId, watch::Sender<Newest>>>,
}

/// How far a workflow was seen to be.
#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    seq: u64,
    ended: bool,
}

/// Watches one workflow, from before it is read: no change falls in between.
#[derive(Debug)]
pub(crate) struct Watch {
    id: WorkflowId,
    newest: watch::Receiver<Newest>,
    waiters: Arc<Waiters>,
}

impl Waiters {
    pub(crate) fn new(
        conductor: Arc<Conductor>,
        changes: &broadcast::Sender<Seen>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let this = Arc::new(Self { conductor, stop, newest: Mutex::new(BTreeMap::new()) });
        drop(tokio::spawn(Arc::clone(&this).run(changes.subscribe())));
        this
    }

    pub(crate) fn watch(self: &Arc<Self>, id: WorkflowId) -> Watch {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = newest.entry(id).or_insert_with(|| watch::Sender::new(Newest::default())).subscribe();
        Watch { id, newest, waiters: Arc::clone(self) }
    }

    async fn run(self: Arc<Self>, mut changes: broadcast::Receiver<Seen>) {
        let mut ticks = tokio::time::interval(LOOK_AGAIN);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut open = true;
        loop {
            // All are safe to cancel: a change that was not received stays in the channel.
            tokio::select! {
                () = self.stop.cancelled() => return,
                change = changes.recv(), if open => match change {
                    Ok(seen) => self.tell(seen),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.look().await,
                    Err(broadcast::error::RecvError::Closed) => open = false,
                },
                _ = ticks.tick() => self.look().await,
            }
        }
    }

    fn tell(&self, seen: Seen) {
        let ended = seen.status.is_final();
        if ended {
            // Whoever comes now and asks for its end is not to wait for what has been told already.
            self.conductor.forget(seen.id);
        }
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = newest.get(&seen.id) {
            sender.send_if_modified(|newest| {
                let is_newer = seen.seq > newest.seq;
                if is_newer {
                    *newest = Newest { seq: seen.seq, ended };
                }
                is_newer
            });
        }
    }

    /// One read, however many wait.
    async fn look(&self) {
        let ids: Vec<WorkflowId> =
            self.newest.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        match self.conductor.store().seen(&ids).await {
            Ok(seen) => seen.into_iter().for_each(|seen| self.tell(seen)),
            Err(error) => tracing::warn!(%error, "those who wait are not told of changes for now"),
        }
    }
}

impl Watch {
    /// Waits until the workflow is past a `seq`; whether it is: false if the gateway ends. Safe to cancel.
    pub(crate) async fn past(&mut self, seq: u64) -> bool {
        self.until(|newest| newest.seq > seq).await
    }

    /// Waits until the workflow has ended; whether it has: false if the gateway ends. Safe to cancel.
    pub(crate) async fn ended(&mut self) -> bool {
        self.until(|newest| newest.ended).await
    }

    async fn until(&mut self, is_so: impl Fn(&Newest) -> bool) -> bool {
        tokio::select! {
            () = self.waiters.stop.cancelled() => false,
            seen = self.newest.wait_for(is_so) => seen.is_ok(),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut newest = self.waiters.newest.lock().unwrap_or_else(PoisonError::into_inner);
        // This one is the last.
        if newest.get(&self.id).is_some_and(|sender| sender.receiver_count() <= 1) {
            newest.remove(&self.id);
        }
    }
}
