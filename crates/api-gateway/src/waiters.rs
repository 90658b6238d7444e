//! Who waits for a workflow to move on is woken by what this process writes, and by a look at the store
//! for all of them together, as other processes write too.

use goconductor_saga::WorkflowId;
use goconductor_store::Seen;
use goconductor_transition::{Conductor, clock};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// Between looks at the store.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// What other processes wrote, and nobody told, is seen after this at the latest: most have ended by then, and
/// are never looked for.
const QUIET: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Waiters {
    conductor: Arc<Conductor>,
    stop: CancellationToken,
    /// Each workflow that somebody waits for.
    watched: Mutex<BTreeMap<WorkflowId, Watched>>,
}

/// A workflow that somebody waits for.
#[derive(Debug)]
struct Watched {
    /// What was seen of it.
    newest: watch::Sender<Newest>,
    /// When it was last looked for, or first waited for.
    looked: Instant,
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
        let this = Arc::new(Self { conductor, stop, watched: Mutex::new(BTreeMap::new()) });
        drop(tokio::spawn(Arc::clone(&this).run(changes.subscribe())));
        this
    }

    pub(crate) fn watch(self: &Arc<Self>, id: WorkflowId) -> Watch {
        let mut watched = self.watched();
        let new = || Watched { newest: watch::Sender::default(), looked: clock::monotonic() };
        let newest = watched.entry(id).or_insert_with(new).newest.subscribe();
        Watch { id, newest, waiters: Arc::clone(self) }
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<WorkflowId, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
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
                    Err(broadcast::error::RecvError::Lagged(_)) => self.look(Duration::ZERO).await,
                    Err(broadcast::error::RecvError::Closed) => open = false,
                },
                _ = ticks.tick() => self.look(QUIET).await,
            }
        }
    }

    fn tell(&self, seen: Seen) {
        let ended = seen.status.is_final();
        if ended {
            // Whoever comes now and asks for its end is not to wait for what has been told already.
            self.conductor.forget(seen.id);
        }
        if let Some(watched) = self.watched().get(&seen.id) {
            watched.newest.send_if_modified(|newest| {
                let is_newer = seen.seq > newest.seq;
                if is_newer {
                    *newest = Newest { seq: seen.seq, ended };
                }
                is_newer
            });
        }
    }

    /// One read of all that were not looked for within this time, however many they are.
    async fn look(&self, quiet: Duration) {
        let now = clock::monotonic();
        let mut ids = Vec::new();
        for (id, watched) in &mut *self.watched() {
            if now.saturating_duration_since(watched.looked) >= quiet {
                watched.looked = now;
                ids.push(*id);
            }
        }
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
        let mut watched = self.waiters.watched();
        // This one is the last.
        if watched.get(&self.id).is_some_and(|watched| watched.newest.receiver_count() <= 1) {
            watched.remove(&self.id);
        }
    }
}
