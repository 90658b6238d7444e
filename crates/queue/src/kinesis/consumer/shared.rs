//! The state that a consumer and its tasks share.

use super::super::api::KinesisApi;
use super::super::lease::{Leases, ShardLeaseUpdate};
use super::state::{PendingUpdate, State};
use crate::Error;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The state that a consumer and its tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) api: Arc<KinesisApi>,
    pub(super) leases: Arc<dyn Leases>,
    pub(super) stream: String,
    /// The name of the consumer in leases.
    pub(super) owner: String,
    /// The duration of leases.
    pub(super) ttl: Duration,
    state: Mutex<State>,
    /// Notified when messages arrive, and when the consumer fails.
    pub(super) arrived: Notify,
    /// Notified when the number of prefetched messages falls.
    pub(super) drained: Notify,
    /// Notified when the lease keeper has to check the leases.
    pub(super) changed: Notify,
    /// Allows one update at a time, so that an older one never follows a newer one.
    updating: tokio::sync::Mutex<()>,
}

impl Shared {
    pub(super) fn new(
        api: Arc<KinesisApi>,
        leases: Arc<dyn Leases>,
        stream: String,
        owner: String,
        ttl: Duration,
    ) -> Self {
        Self {
            api,
            leases,
            stream,
            owner,
            ttl,
            state: Mutex::default(),
            arrived: Notify::new(),
            drained: Notify::new(),
            changed: Notify::new(),
            updating: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Ends the consumer with an error.
    pub(super) fn fail(&self, error: Error) {
        self.state().failed = Some(error);
        self.arrived.notify_waiters();
    }

    /// Stores the progress of all shards, or only of those with new acknowledgements. A `ttl` of zero releases the
    /// leases.
    pub(super) async fn save_progress(&self, ttl: Duration, all: bool) -> Result<(), Error> {
        let _updating = self.updating.lock().await;
        let pending = self.state().pending_updates(ttl, all);
        if pending.is_empty() {
            return Ok(());
        }
        let updates: Vec<ShardLeaseUpdate> = pending.iter().map(|pending| pending.update.clone()).collect();
        let accepted = self.leases.update(&self.stream, &self.owner, &updates).await?;
        let mut state = self.state();
        let apply = |(pending, accepted): (PendingUpdate, bool)| state.apply_update(pending, accepted);
        // `count` applies every update; `any` would stop at the first removed shard.
        let removed = pending.into_iter().zip(accepted).map(apply).filter(|removed| *removed).count();
        drop(state);
        if removed > 0 {
            self.drained.notify_waiters();
            self.changed.notify_one();
        }
        Ok(())
    }
}
