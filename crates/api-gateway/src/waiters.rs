//! Who waits for a workflow to move on is woken by what this process writes, and by a look at the store
//! for all of them together, as other processes write too.

use goconductor_saga::WorkflowId;
use goconductor_store::{Seen, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// What other processes wrote is seen after this at the latest.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(crate) struct Waiters {
    store: Arc<dyn Store>,
    stop: CancellationToken,
    /// The newest `seq` that was seen of each workflow that somebody waits for.
    newest: Mutex<BTreeMap<WorkflowId, watch::Sender<u64>>>,
}

/// Watches one workflow, from before it is read: no change falls in between.
#[derive(Debug)]
pub(crate) struct Watch {
    id: WorkflowId,
    newest: watch::Receiver<u64>,
    waiters: Arc<Waiters>,
}

impl Waiters {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        changes: &broadcast::Sender<Seen>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let this = Arc::new(Self { store, stop, newest: Mutex::new(BTreeMap::new()) });
        drop(tokio::spawn(Arc::clone(&this).run(changes.subscribe())));
        this
    }

    pub(crate) fn watch(self: &Arc<Self>, id: WorkflowId) -> Watch {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = newest.entry(id).or_insert_with(|| watch::Sender::new(0)).subscribe();
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
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = newest.get(&seen.id) {
            sender.send_if_modified(|newest| {
                let is_newer = seen.seq > *newest;
                *newest = (*newest).max(seen.seq);
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
        match self.store.seen(&ids).await {
            Ok(seen) => seen.into_iter().for_each(|seen| self.tell(seen)),
            Err(error) => tracing::warn!(%error, "those who wait are not told of changes for now"),
        }
    }
}

impl Watch {
    /// Waits until the workflow is past a `seq`; whether it is: false if the gateway ends. Safe to cancel.
    pub(crate) async fn past(&mut self, seq: u64) -> bool {
        tokio::select! {
            () = self.waiters.stop.cancelled() => false,
            passed = self.newest.wait_for(|newest| *newest > seq) => passed.is_ok(),
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
