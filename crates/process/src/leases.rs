//! The leases of Kinesis shards, stored in the state store that all processes share.

use async_trait::async_trait;
use goconductor_queue::Error;
use goconductor_queue::kinesis::{
    Checkpoint, Lease, Leases, NewLease, ShardLeaseRequest, ShardLeaseUpdate, ShardProgress,
};
use goconductor_store::{LeaseProgress, ShardLease, ShardLeaseStore};
use std::sync::Arc;

/// Leases of shards in a state store.
#[derive(Debug)]
pub(crate) struct StoreLeases(pub(crate) Arc<dyn ShardLeaseStore>);

fn unavailable(error: goconductor_store::Error) -> Error {
    Error::unavailable("request to the store of leases failed").with_source(error)
}

fn encode_progress(progress: &ShardProgress) -> LeaseProgress {
    LeaseProgress {
        checkpoint: progress.checkpoint.to_string(),
        acknowledged: progress.acknowledged,
        backlog: progress.waiting,
        oldest_publish_ms: progress.oldest_waiting_ms,
    }
}

fn decode_lease(stored: ShardLease) -> Lease {
    let LeaseProgress { checkpoint, acknowledged, backlog, oldest_publish_ms } = stored.progress;
    Lease {
        shard: stored.shard,
        parents: stored.parents,
        owner: stored.owner,
        counter: stored.counter,
        remaining: stored.remaining,
        progress: ShardProgress {
            checkpoint: Checkpoint::from(checkpoint.as_str()),
            acknowledged,
            waiting: backlog,
            oldest_waiting_ms: oldest_publish_ms,
        },
    }
}

#[async_trait]
impl Leases for StoreLeases {
    async fn list(&self, stream: &str) -> Result<Vec<Lease>, Error> {
        let leases = self.0.leases(stream).await.map_err(unavailable)?;
        Ok(leases.into_iter().map(decode_lease).collect())
    }

    async fn sync(&self, stream: &str, new: &[NewLease], removed: &[String]) -> Result<(), Error> {
        let new: Vec<_> = new
            .iter()
            .map(|NewLease { shard, parents }| goconductor_store::NewShardLease {
                shard: shard.clone(),
                parents: parents.clone(),
            })
            .collect();
        self.0.sync_leases(stream, &new, removed).await.map_err(unavailable)
    }

    async fn acquire(&self, stream: &str, request: &ShardLeaseRequest) -> Result<Vec<bool>, Error> {
        let ShardLeaseRequest { owner, shards, steal, ttl } = request.clone();
        let request = goconductor_store::LeaseRequest { owner, shards, steal, ttl };
        self.0.acquire_leases(stream, &request).await.map_err(unavailable)
    }

    async fn update(
        &self,
        stream: &str,
        owner: &str,
        updates: &[ShardLeaseUpdate],
    ) -> Result<Vec<bool>, Error> {
        let encode = |update: &ShardLeaseUpdate| goconductor_store::LeaseUpdate {
            shard: update.shard.clone(),
            counter: update.counter,
            progress: encode_progress(&update.progress),
            ttl: update.ttl,
        };
        let updates: Vec<_> = updates.iter().map(encode).collect();
        self.0.update_leases(stream, owner, &updates).await.map_err(unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_store::sqlite::SqliteStore;
    use std::time::Duration;

    #[tokio::test]
    async fn progress_of_a_lease_survives_a_round_trip_through_the_store() {
        let leases = StoreLeases(Arc::new(SqliteStore::ephemeral().expect("room for a folder")));
        let new = NewLease { shard: "a/1".to_owned(), parents: vec!["0/1".to_owned()] };
        leases.sync("s", &[new], &[]).await.expect("a write");
        let ttl = Duration::from_secs(60);
        let request = |owner: &str, counter, steal| ShardLeaseRequest {
            owner: owner.to_owned(),
            shards: vec![("a/1".to_owned(), counter)],
            steal,
            ttl,
        };
        assert_eq!(leases.acquire("s", &request("a", 0, false)).await, Ok(vec![true]));
        let checkpoint = Checkpoint::Within("17".to_owned(), 3);
        let progress = ShardProgress { checkpoint, acknowledged: 5, waiting: 2, oldest_waiting_ms: Some(-1) };
        let update =
            ShardLeaseUpdate { shard: "a/1".to_owned(), counter: 1, progress: progress.clone(), ttl };
        assert_eq!(leases.update("s", "a", std::slice::from_ref(&update)).await, Ok(vec![true]));
        let found = leases.list("s").await.expect("a read").remove(0);
        assert!(found.is_owned() && found.parents == ["0/1"] && found.counter == 1, "{found:?}");
        assert_eq!(found.progress, progress);
        assert_eq!(leases.acquire("s", &request("b", 1, true)).await, Ok(vec![true]));
        assert_eq!(leases.update("s", "a", &[update]).await, Ok(vec![false]));
    }
}
