//! Periodic maintenance, which keeps the size and the speed of a store constant.

use crate::layer::layer;
use crate::retention::{EndedBy, Retention};
use crate::statistics::Sampler;
use crate::{Error, Store, StoreStatistics, metrics};
use async_trait::async_trait;
use goconductor_saga::{Timestamp, WorkflowId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Maintenance of the store.
#[async_trait]
pub trait MaintenanceStore: std::fmt::Debug + Send + Sync {
    /// Carries out one part of the periodic maintenance: creates partitions for new rows, and removes workflows whose
    /// retention has ended, with their histories and idempotency keys. A child is kept until its parent has been removed.
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

    /// Returns figures about all workflows, for metrics. The call is cheap, however many workflows exist. Returns `None`
    /// if another process has the database, which then measures it.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn statistics(&self, _now: Timestamp) -> Result<Option<StoreStatistics>, Error> {
        Ok(None)
    }
}

layer!(MaintenanceStore, MaintenanceLayer {
    fn maintain(request: &MaintenanceRequest) -> MaintenanceReport;
    fn vacuum_ledger() -> ();
    fn statistics(now: Timestamp) -> Option<StoreStatistics>;
});

/// Default retention of ended workflows.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

/// Time until the next maintenance if nothing is left to do.
const IDLE_INTERVAL: Duration = Duration::from_secs(60);
/// Time between two vacuums of the ledger.
const VACUUM_INTERVAL: Duration = Duration::from_secs(2);
/// Pause between two parts of a maintenance that has more to do. Other calls take precedence.
const BUSY_INTERVAL: Duration = Duration::from_millis(20);

/// Parameters of [`MaintenanceStore::maintain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaintenanceRequest {
    /// The current time.
    pub now: Timestamp,
    /// The times for which workflows are kept after their end.
    pub retention: Retention,
}

/// Result of [`MaintenanceStore::maintain`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaintenanceReport {
    /// Number of workflows removed.
    pub removed: u64,
    /// Whether there is more to do at once.
    pub more: bool,
}

impl MaintenanceRequest {
    /// Returns the times before which workflows must have ended to be removed.
    pub(crate) fn ended_by(&self) -> EndedBy {
        self.retention.ended_by(self.now)
    }
}

/// Maintains a store until `stop` completes: creates partitions, removes workflows whose `retention` has ended, vacuums
/// the ledger, and measures the store. A changed `retention` is used at once. Any number of processes may do so for the same database.
pub async fn maintenance_loop(
    store: Arc<dyn Store>,
    mut retention: watch::Receiver<Retention>,
    stop: impl Future<Output = ()> + Send,
) {
    tokio::pin!(stop);
    let (mut next_maintenance, mut next_vacuum) = (Instant::now(), Instant::now() + VACUUM_INTERVAL);
    let (mut sampler, mut next_sample) = (Sampler::default(), Some(Instant::now()));
    loop {
        if Instant::now() >= next_maintenance {
            let kept = *retention.borrow_and_update();
            let pause = match maintain(&store, kept).await {
                Ok(report) if report.more => BUSY_INTERVAL,
                Ok(_) => IDLE_INTERVAL,
                Err(error) => {
                    tracing::warn!(%error, "store maintenance failed");
                    IDLE_INTERVAL
                }
            };
            next_maintenance = Instant::now() + pause;
        }
        if Instant::now() >= next_vacuum {
            if let Err(error) = store.vacuum_ledger().await {
                tracing::debug!(%error, "ledger vacuum failed");
            }
            next_vacuum = Instant::now() + VACUUM_INTERVAL;
        }
        if next_sample.is_some_and(|due| Instant::now() >= due) {
            next_sample = sampler.sample(&*store).await.map(|pause| Instant::now() + pause);
        }
        let next = next_maintenance.min(next_vacuum);
        // Safe to cancel: all branches only wait.
        tokio::select! {
            () = &mut stop => return,
            Ok(()) = retention.changed() => next_maintenance = Instant::now(),
            () = tokio::time::sleep_until(next_sample.map_or(next, |due| due.min(next))) => {}
        }
    }
}

async fn maintain(store: &Arc<dyn Store>, retention: Retention) -> Result<MaintenanceReport, Error> {
    let report = store.maintain(&MaintenanceRequest { now: store.now().await?, retention }).await?;
    if report.removed > 0 {
        metrics::WORKFLOWS_REMOVED.increment(report.removed);
    }
    Ok(report)
}

/// Returns the lowest id that can be created at a time, in milliseconds, or later.
pub(crate) fn first_id(millis: i64) -> WorkflowId {
    let millis = u128::try_from(millis.clamp(0, 0xffff_ffff_ffff)).unwrap_or(0);
    WorkflowId(uuid::Uuid::from_u128(millis << 80))
}

/// Returns the time of the start that a workflow's id contains, in whole milliseconds.
pub(crate) fn started_at(id: WorkflowId) -> Timestamp {
    let millis = i64::try_from(id.0.as_u128() >> 80).unwrap_or(i64::MAX);
    Timestamp(millis.saturating_mul(1000))
}

/// Returns an id above those of all workflows that ended by a time. A workflow starts before it ends, and ids rise with
/// the time of the start.
pub(crate) fn above(ended_by: Timestamp) -> WorkflowId {
    first_id(ended_by.0.div_euclid(1000).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::{above, first_id, started_at};
    use goconductor_saga::Timestamp;

    #[test]
    fn ids_are_ordered_by_their_creation_time() {
        assert_eq!(first_id(0x0199_c000_0000).to_string(), "0199c000-0000-0000-0000-000000000000");
        assert_eq!(first_id(-1), first_id(0));
        assert!(first_id(i64::MAX) > first_id(0x0199_c000_0000));
        let id = "0199c000-0001-7fff-bfff-ffffffffffff".parse().expect("an id");
        let at = |micros: i64| Timestamp(0x0199_c000_0000 * 1000 + micros);
        assert!(above(at(999)) < id && id < above(at(1000)));
        assert_eq!(started_at(id), at(1000));
    }
}
