//! The membership of a process in the cluster.

use crate::metrics;
use goconductor_store::{Announcement, ClusterStore, ProcessInfo, RELEASE};
use goconductor_transition::clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Interval between renewals of the membership.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);
/// Time after which a membership expires unless it is renewed. It allows for two lost renewals.
const TTL: Duration = Duration::from_secs(7);
/// Longest round trip of a measurement of the clock. The error of a measurement is at most half of it.
const MAX_ROUND_TRIP: Duration = Duration::from_millis(200);
/// Timeout of the withdrawal. The membership expires on its own if the withdrawal fails.
const WITHDRAWAL_TIMEOUT: Duration = Duration::from_secs(1);

/// The membership of this process. A task renews it until it is withdrawn.
#[derive(Debug)]
pub struct MembershipLease {
    store: Arc<dyn ClusterStore>,
    announcement: Announcement,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl MembershipLease {
    /// Makes the process a member, and renews the membership at a fixed interval. Each renewal publishes the result of
    /// `info` and the release. `address` is that under which other processes reach this one.
    pub fn start(
        kind: &str,
        instance: &str,
        address: impl ToString,
        store: Arc<dyn ClusterStore>,
        info: impl Fn() -> ProcessInfo + Send + 'static,
    ) -> Self {
        Self::start_with_notify(kind, instance, address, store, info, Arc::default())
    }

    /// Like [`start`](Self::start), but also renews the membership when `info_changed` is notified.
    pub fn start_with_notify(
        kind: &str,
        instance: &str,
        address: impl ToString,
        store: Arc<dyn ClusterStore>,
        info: impl Fn() -> ProcessInfo + Send + 'static,
        info_changed: Arc<Notify>,
    ) -> Self {
        let announcement = Announcement {
            instance: instance.to_owned(),
            kind: kind.to_owned(),
            address: address.to_string(),
            info: ProcessInfo::default(),
            ttl: TTL,
        };
        let stop = CancellationToken::new();
        let renewing = {
            let (store, first, stop) = (Arc::clone(&store), announcement.clone(), stop.clone());
            async move {
                while !stop.is_cancelled() {
                    let info = ProcessInfo { release: Some(RELEASE.to_owned()), ..info() };
                    renew_membership(&*store, &Announcement { info, ..first.clone() }).await;
                    // All arms are cancel-safe: the next renewal publishes a missed change.
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = info_changed.notified() => {}
                        () = tokio::time::sleep(RENEWAL_INTERVAL) => {}
                    }
                }
            }
        };
        Self { store, announcement, stop, task: goconductor_supervisor::spawn("membership", renewing) }
    }

    /// Ends the membership.
    pub async fn withdraw(self) {
        self.stop.cancel();
        // A renewal may wait for a store that does not respond.
        drop(tokio::time::timeout(WITHDRAWAL_TIMEOUT, self.task).await);
        let withdrawal = Announcement { ttl: Duration::ZERO, ..self.announcement };
        drop(tokio::time::timeout(WITHDRAWAL_TIMEOUT, self.store.announce(&withdrawal)).await);
    }
}

async fn renew_membership(store: &dyn ClusterStore, announcement: &Announcement) {
    match store.announce(announcement).await {
        Ok(()) => measure_clock(store).await,
        Err(error) => tracing::debug!(%error, "renewal of the membership failed"),
    }
}

/// Compares the clock of this process with that of the database.
async fn measure_clock(store: &dyn ClusterStore) {
    let (began, asked_at) = (clock::monotonic(), clock::wall());
    let Ok(theirs) = store.now().await else { return };
    let round_trip = clock::monotonic().duration_since(began);
    if round_trip <= MAX_ROUND_TRIP {
        let ours = asked_at.after(round_trip / 2);
        let offset = theirs.since(ours).as_secs_f64() - ours.since(theirs).as_secs_f64();
        metrics::CLOCK_OFFSET.set(offset);
    }
}
