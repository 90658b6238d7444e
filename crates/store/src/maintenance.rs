//! What keeps a store steady over years.

use crate::layer::layer;
use crate::{Error, Store};
use async_trait::async_trait;
use goconductor_saga::{Timestamp, WorkflowId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Maintenance of the store.
#[async_trait]
pub trait MaintenanceStore: std::fmt::Debug + Send + Sync {
    /// Carries out one part of the periodic maintenance: creates partitions for new rows, and removes workflows whose
    /// retention has ended, with their histories and idempotency keys.
    ///
    /// Each call is short, blocks no other call, and may run concurrently in any number of processes.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the maintenance was not, or only partly, carried out.
    async fn maintain(&self, request: &MaintenanceRequest) -> Result<MaintenanceReport, Error>;

    /// Removes the dead rows that inserts and deletes leave in the ledger, because each poll of the ledger would read
    /// them. Called every few seconds. Most calls have nothing to do, and a store that leaves no dead rows keeps the
    /// default, which does nothing.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the ledger was not vacuumed.
    async fn vacuum_ledger(&self) -> Result<(), Error> {
        Ok(())
    }
}

layer!(MaintenanceStore, MaintenanceLayer {
    fn maintain(request: &MaintenanceRequest) -> MaintenanceReport;
    fn vacuum_ledger() -> ();
});

/// How long ended workflows are kept, where nobody says otherwise.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Between upkeeps when nothing more is to be done.
const IDLE: Duration = Duration::from_secs(60);
/// Between sweeps.
const SWEEP: Duration = Duration::from_secs(2);
/// Between parts of one that has more to do: others come first.
const PACE: Duration = Duration::from_millis(20);

/// What an upkeep goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaintenanceRequest {
    /// The present time.
    pub now: Timestamp,
    /// How long a workflow is kept after its end, at least; none: for ever.
    pub retention: Option<Duration>,
}

/// What an upkeep did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaintenanceReport {
    /// Workflows that are gone now.
    pub removed: u64,
    /// Whether there is more to do at once.
    pub more: bool,
}

impl MaintenanceRequest {
    /// Who ended then or before has been kept for long enough.
    pub(crate) fn ended_by(&self) -> Option<Timestamp> {
        let keep = i64::try_from(self.retention?.as_micros()).unwrap_or(i64::MAX);
        Some(Timestamp(self.now.0.saturating_sub(keep)))
    }
}

/// Keeps a store steady until `stop`: there is room for what is to come, and what ended longer ago than
/// `retention` is removed; zero keeps it for ever. Any number of processes may do so over one database.
pub async fn maintenance_loop(
    store: Arc<dyn Store>,
    retention: Duration,
    stop: impl Future<Output = ()> + Send,
) {
    let keep = (!retention.is_zero()).then_some(retention);
    tokio::pin!(stop);
    let (mut upkeep, mut sweep) = (Instant::now(), Instant::now() + SWEEP);
    loop {
        if Instant::now() >= upkeep {
            let wait = match once(&store, keep).await {
                Ok(done) if done.more => PACE,
                Ok(_) => IDLE,
                Err(error) => {
                    tracing::warn!(%error, "the upkeep of the database is tried again");
                    IDLE
                }
            };
            upkeep = Instant::now() + wait;
        }
        if Instant::now() >= sweep {
            if let Err(error) = store.vacuum_ledger().await {
                tracing::debug!(%error, "the ledger is swept again later");
            }
            sweep = Instant::now() + SWEEP;
        }
        // Safe to cancel: a wait loses nothing.
        tokio::select! {
            () = &mut stop => return,
            () = tokio::time::sleep_until(upkeep.min(sweep)) => {}
        }
    }
}

async fn once(store: &Arc<dyn Store>, keep: Option<Duration>) -> Result<MaintenanceReport, Error> {
    let done = store.maintain(&MaintenanceRequest { now: store.now().await?, retention: keep }).await?;
    if done.removed > 0 {
        metrics::counter!("goconductor_workflows_removed_total").increment(done.removed);
    }
    Ok(done)
}

/// The first of all ids that were made at a time, in milliseconds, or later.
pub(crate) fn first_id(millis: i64) -> WorkflowId {
    let millis = u128::try_from(millis.clamp(0, 0xffff_ffff_ffff)).unwrap_or(0);
    WorkflowId(uuid::Uuid::from_u128(millis << 80))
}

/// Above the ids of all that have ended by then: nobody ends before he has begun.
pub(crate) fn above(ended_by: Timestamp) -> WorkflowId {
    first_id(ended_by.0.div_euclid(1000).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::{above, first_id};
    use goconductor_saga::Timestamp;

    #[test]
    fn ids_sort_by_their_time() {
        assert_eq!(first_id(0x0199_c000_0000).to_string(), "0199c000-0000-0000-0000-000000000000");
        assert_eq!(first_id(-1), first_id(0));
        assert!(first_id(i64::MAX) > first_id(0x0199_c000_0000));
        let id = "0199c000-0001-7fff-bfff-ffffffffffff".parse().expect("an id");
        let at = |micros: i64| Timestamp(0x0199_c000_0000 * 1000 + micros);
        assert!(above(at(999)) < id && id < above(at(1000)));
    }
}
