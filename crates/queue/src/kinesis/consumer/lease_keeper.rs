//! The task that renews a consumer's leases and acquires its share of the shards.

use super::super::api::{Shard, shard_id};
use super::super::lease::{Lease, NewLease, ShardLeaseRequest};
use super::super::request_error::{RequestError, RequestErrorKind};
use super::assignment::{Assignment, next_assignment};
use super::reader::ShardReader;
use super::shared::Shared;
use super::state::OwnedShard;
use crate::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

/// Interval of renewals, and the shorter delay after leases were acquired: more may be available.
const RENEW_INTERVAL: Duration = Duration::from_secs(1);
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Delay before a new consumer steals leases. It acquires free leases at once. If several consumers start together, no
/// lease moves needlessly, and a consumer that closes soon disturbs no other.
const STEAL_DELAY: Duration = Duration::from_secs(1);
/// Interval at which the shards of the stream are listed, if no shard has ended in between.
const SYNC_INTERVAL: Duration = Duration::from_secs(30);
/// Timeout for releasing the leases at the end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Keeps the leases of a consumer.
pub(super) struct LeaseKeeper {
    shared: Arc<Shared>,
    started_at: Instant,
    /// When the shards of the stream were listed.
    synced_at: Option<Instant>,
    readers: JoinSet<()>,
    readers_by_shard: BTreeMap<String, AbortHandle>,
}

impl LeaseKeeper {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let (readers, readers_by_shard) = (JoinSet::new(), BTreeMap::new());
        Self { shared, started_at: Instant::now(), synced_at: None, readers, readers_by_shard }
    }

    /// Runs until the consumer is dropped, then releases its leases.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<()>) {
        loop {
            // Cancel safe: a lease that was acquired and not recorded expires, or is seen in the next pass.
            let delay = tokio::select! {
                _ = stopped.changed() => break,
                delay = self.pass() => delay.unwrap_or_else(|error| {
                    let (stream, error) = (&self.shared.stream, error.report());
                    tracing::debug!(stream, error, "renewal of Kinesis leases failed and is retried");
                    RENEW_INTERVAL
                }),
            };
            // Cancel safe: the next pass sees all changes.
            tokio::select! {
                _ = stopped.changed() => break,
                () = self.shared.changed.notified() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
        self.readers.abort_all();
        let release = self.shared.save_progress(Duration::ZERO, true);
        if !matches!(tokio::time::timeout(RELEASE_TIMEOUT, release).await, Ok(Ok(()))) {
            tracing::debug!(stream = self.shared.stream, "Kinesis leases were not released and expire");
        }
    }

    /// Renews the owned leases and acquires others. Returns the delay before the next pass.
    async fn pass(&mut self) -> Result<Duration, Error> {
        self.shared.save_progress(self.shared.ttl, true).await?;
        let mut leases = self.shared.leases.list(&self.shared.stream).await?;
        self.remove_lost(&leases);
        let is_due = self.synced_at.is_none_or(|synced_at| synced_at.elapsed() >= SYNC_INTERVAL);
        if is_due && self.sync(&leases).await? {
            leases = self.shared.leases.list(&self.shared.stream).await?;
        }
        let owned = self.shared.state().shards.keys().cloned().collect::<BTreeSet<_>>();
        let owned = owned.iter().map(String::as_str).collect();
        match next_assignment(&leases, &self.shared.owner, &owned) {
            Assignment::Acquire(free) => self.acquire(&free, false).await,
            Assignment::Steal(lease) if self.started_at.elapsed() >= STEAL_DELAY => {
                self.acquire(&[lease], true).await?;
                Ok(RETRY_DELAY)
            }
            Assignment::Steal(_) | Assignment::Balanced => Ok(RENEW_INTERVAL),
        }
    }

    /// Removes the shards whose leases were lost, and stops the readers of all shards that are not owned any more.
    fn remove_lost(&mut self, leases: &[Lease]) {
        let counters: BTreeMap<&str, u64> =
            leases.iter().map(|lease| (&*lease.shard, lease.counter)).collect();
        let mut state = self.shared.state();
        let is_lost = |(name, shard): (&String, &OwnedShard)| {
            (counters.get(&**name) != Some(&shard.counter())).then(|| name.clone())
        };
        let lost: Vec<String> = state.shards.iter().filter_map(is_lost).collect();
        for shard in &lost {
            tracing::info!(stream = self.shared.stream, shard, "another consumer acquired a Kinesis lease");
            state.lose(shard);
        }
        let owned: BTreeSet<String> = state.shards.keys().cloned().collect();
        drop(state);
        let before = self.readers_by_shard.len();
        // The prefetched messages of lost shards are gone.
        self.shared.drained.notify_waiters();
        self.readers_by_shard.retain(|shard, reader| {
            let is_owned = owned.contains(shard);
            if !is_owned {
                reader.abort();
            }
            is_owned
        });
        while self.readers.try_join_next().is_some() {}
        if self.readers_by_shard.len() + lost.len() < before {
            // A shard was finished, so the stream has new shards.
            self.synced_at = None;
        }
    }

    /// Creates a lease for each new shard of the stream, and deletes the leases of removed shards. Returns whether any
    /// lease was created or deleted.
    async fn sync(&mut self, leases: &[Lease]) -> Result<bool, Error> {
        let stream = &self.shared.stream;
        let shards = match self.shared.api.shards(stream).await {
            Ok(shards) if shards.is_empty() => {
                return Err(RequestError::new(RequestErrorKind::InUse, "stream has no shards yet").into());
            }
            Ok(shards) => shards,
            Err(error) => {
                if matches!(error.kind, RequestErrorKind::Missing | RequestErrorKind::Denied) {
                    self.shared.fail(error.clone().into());
                }
                return Err(error.into());
            }
        };
        let known: BTreeSet<&str> = leases.iter().map(|lease| &*lease.shard).collect();
        let listed: BTreeSet<&str> = shards.iter().map(|shard| &*shard.key).collect();
        let new = shards.iter().filter(|shard| !known.contains(&*shard.key));
        let new: Vec<NewLease> = new
            .map(|Shard { key, parents }| NewLease { shard: key.clone(), parents: parents.clone() })
            .collect();
        let ids: BTreeSet<&str> = shards.iter().map(|shard| shard_id(&shard.key)).collect();
        // The list may be stale and lack a shard that already has a reader. That shard exists, unless the list has
        // another shard with its name.
        let may_exist = |lease: &Lease| lease.is_owned() && !ids.contains(shard_id(&lease.shard));
        let is_removed = |lease: &&Lease| !listed.contains(&*lease.shard) && !may_exist(lease);
        let removed: Vec<String> =
            leases.iter().filter(is_removed).map(|lease| lease.shard.clone()).collect();
        let has_changes = !new.is_empty() || !removed.is_empty();
        if has_changes {
            self.shared.leases.sync(stream, &new, &removed).await?;
        }
        // A finished shard has child shards. While the list lacks them, it is stale and is requested again.
        let has_children = |parent: &Lease| shards.iter().any(|shard| shard.parents.contains(&parent.shard));
        let mut finished =
            leases.iter().filter(|lease| lease.is_finished() && listed.contains(&*lease.shard));
        self.synced_at = finished.all(has_children).then(Instant::now);
        Ok(has_changes)
    }

    /// Acquires leases and starts their readers. Returns the delay before the next pass.
    async fn acquire(&mut self, leases: &[&Lease], steal: bool) -> Result<Duration, Error> {
        // A lease of this owner that it does not know of: the response to its acquisition was lost.
        let is_own = leases.iter().any(|lease| lease.owner.as_ref() == Some(&self.shared.owner));
        let request = ShardLeaseRequest {
            owner: self.shared.owner.clone(),
            shards: leases.iter().map(|lease| (lease.shard.clone(), lease.counter)).collect(),
            steal: steal || is_own,
            ttl: self.shared.ttl,
        };
        let acquired = self.shared.leases.acquire(&self.shared.stream, &request).await?;
        let acquired: Vec<&&Lease> =
            leases.iter().zip(acquired).filter(|(_, acquired)| *acquired).map(|(lease, _)| lease).collect();
        for lease in &acquired {
            let (stream, shard) = (&self.shared.stream, &lease.shard);
            tracing::info!(stream, shard, steal, "consumer acquired a Kinesis lease");
            self.shared.state().shards.insert(lease.shard.clone(), OwnedShard::new(lease));
            let reader = ShardReader::new(Arc::clone(&self.shared), lease.shard.clone(), lease.counter + 1);
            let reader =
                self.readers.spawn(goconductor_supervisor::supervise("kinesis-reader", reader.run()));
            if let Some(previous) = self.readers_by_shard.insert(lease.shard.clone(), reader) {
                previous.abort();
            }
        }
        Ok(if acquired.is_empty() { RENEW_INTERVAL } else { RETRY_DELAY })
    }
}
