//! Leases of a single process.

use super::{Lease, Leases, NewLease, ShardLeaseRequest, ShardLeaseUpdate, ShardProgress};
use crate::Error;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Leases of a single process. No other process sees them, and they are lost when it exits.
#[derive(Debug, Default)]
pub struct MemoryLeases {
    rows: Mutex<BTreeMap<(String, String), Row>>,
}

#[derive(Debug, Clone)]
struct Row {
    parents: Vec<String>,
    owner: Option<String>,
    counter: u64,
    expires_at: Instant,
    progress: ShardProgress,
}

fn key(stream: &str, shard: &str) -> (String, String) {
    (stream.to_owned(), shard.to_owned())
}

#[async_trait]
impl Leases for MemoryLeases {
    async fn list(&self, stream: &str) -> Result<Vec<Lease>, Error> {
        let now = Instant::now();
        let lease = |((_, shard), row): (&(String, String), &Row)| Lease {
            shard: shard.clone(),
            parents: row.parents.clone(),
            owner: row.owner.clone(),
            counter: row.counter,
            remaining: row.expires_at.saturating_duration_since(now),
            progress: row.progress.clone(),
        };
        let rows = self.rows.lock();
        Ok(rows.iter().filter(|((of, _), _)| of == stream).map(lease).collect())
    }

    async fn sync(&self, stream: &str, new: &[NewLease], removed: &[String]) -> Result<(), Error> {
        let now = Instant::now();
        let mut rows = self.rows.lock();
        for shard in removed {
            rows.remove(&key(stream, shard));
        }
        for NewLease { shard, parents } in new {
            rows.entry(key(stream, shard)).or_insert_with(|| Row {
                parents: parents.clone(),
                owner: None,
                counter: 0,
                expires_at: now,
                progress: ShardProgress::default(),
            });
        }
        Ok(())
    }

    async fn acquire(&self, stream: &str, request: &ShardLeaseRequest) -> Result<Vec<bool>, Error> {
        let now = Instant::now();
        let mut rows = self.rows.lock();
        let acquire = |(shard, counter): &(String, u64)| {
            let Some(row) = rows.get_mut(&key(stream, shard)) else { return false };
            let is_owned = row.owner.is_some() && row.expires_at > now;
            if row.counter != *counter || (is_owned && !request.steal) {
                return false;
            }
            row.owner = Some(request.owner.clone());
            (row.counter, row.expires_at) = (counter + 1, now + request.ttl);
            true
        };
        Ok(request.shards.iter().map(acquire).collect())
    }

    async fn update(
        &self,
        stream: &str,
        owner: &str,
        updates: &[ShardLeaseUpdate],
    ) -> Result<Vec<bool>, Error> {
        let now = Instant::now();
        let mut rows = self.rows.lock();
        let update = |update: &ShardLeaseUpdate| {
            let Some(row) = rows.get_mut(&key(stream, &update.shard)) else { return false };
            let is_owner = row.counter == update.counter && row.owner.as_deref().is_none_or(|of| of == owner);
            if !is_owner || update.progress.acknowledged < row.progress.acknowledged {
                return false;
            }
            row.owner = Some(owner.to_owned()).filter(|_| !update.ttl.is_zero());
            (row.expires_at, row.progress) = (now + update.ttl, update.progress.clone());
            true
        };
        Ok(updates.iter().map(update).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::Checkpoint;
    use super::*;
    use std::time::Duration;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(100);

    fn acquire(owner: &str, counter: u64, steal: bool, ttl: Duration) -> ShardLeaseRequest {
        ShardLeaseRequest { owner: owner.to_owned(), shards: vec![("a/1".to_owned(), counter)], steal, ttl }
    }

    fn update(counter: u64, at: &str, ttl: Duration) -> ShardLeaseUpdate {
        let acknowledged = at.parse().unwrap();
        let progress =
            ShardProgress { checkpoint: Checkpoint::from(at), acknowledged, ..ShardProgress::default() };
        ShardLeaseUpdate { shard: "a/1".to_owned(), counter, progress, ttl }
    }

    async fn leases() -> MemoryLeases {
        let leases = MemoryLeases::default();
        let new = NewLease { shard: "a/1".to_owned(), parents: vec!["0/1".to_owned()] };
        leases.sync("s", &[new], &[]).await.unwrap();
        leases
    }

    #[tokio::test(start_paused = true)]
    async fn owned_lease_is_acquired_only_after_expiry_or_by_stealing() {
        let leases = leases().await;
        assert_eq!(leases.acquire("s", &acquire("a", 1, true, LONG)).await, Ok(vec![false]));
        assert_eq!(leases.acquire("s", &acquire("a", 0, false, LONG)).await, Ok(vec![true]));
        assert_eq!(leases.acquire("s", &acquire("b", 1, false, LONG)).await, Ok(vec![false]));
        assert_eq!(leases.acquire("s", &acquire("b", 1, true, SHORT)).await, Ok(vec![true]));
        assert_eq!(leases.update("s", "a", &[update(1, "7", LONG)]).await, Ok(vec![false]));
        assert_eq!(leases.update("s", "b", &[update(2, "8", SHORT)]).await, Ok(vec![true]));
        assert_eq!(
            leases.update("s", "b", &[update(2, "7", LONG)]).await,
            Ok(vec![false]),
            "a delayed update"
        );
        tokio::time::advance(SHORT).await;
        assert!(!leases.list("s").await.unwrap()[0].is_owned());
        assert_eq!(leases.acquire("s", &acquire("a", 2, false, LONG)).await, Ok(vec![true]));
        let lease = leases.list("s").await.unwrap().remove(0);
        assert_eq!((lease.counter, lease.progress.checkpoint), (3, Checkpoint::After("8".to_owned())));
    }

    #[tokio::test(start_paused = true)]
    async fn released_lease_can_be_acquired_and_removed_shard_has_none() {
        let leases = leases().await;
        leases.acquire("s", &acquire("a", 0, false, LONG)).await.unwrap();
        for _ in 0..2 {
            assert_eq!(leases.update("s", "a", &[update(1, "7", Duration::ZERO)]).await, Ok(vec![true]));
        }
        assert_eq!(leases.list("s").await.unwrap()[0].owner, None);
        assert_eq!(leases.acquire("s", &acquire("b", 1, false, LONG)).await, Ok(vec![true]));
        assert_eq!(leases.list("other").await, Ok(Vec::new()));
        leases.sync("s", &[], &["a/1".to_owned()]).await.unwrap();
        assert_eq!(leases.list("s").await, Ok(Vec::new()));
        assert_eq!(leases.update("s", "b", &[update(2, "9", LONG)]).await, Ok(vec![false]));
    }
}
