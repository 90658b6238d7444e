//! The leases of Kinesis shards, stored in the state store that all processes share.

use async_trait::async_trait;
use goconductor_queue::Error;
use goconductor_queue::kinesis::{Checkpoint, Lease, Leases, Mark, NewLease, Progress, Take};
use goconductor_store::{LeaseProgress, LeaseRequest, LeaseUpdate, ShardLease, ShardLeaseStore};
use std::sync::Arc;

/// Leases of shards in a state store.
#[derive(Debug)]
pub(crate) struct StoreLeases(pub(crate) Arc<dyn ShardLeaseStore>);

fn unavailable(error: goconductor_store::Error) -> Error {
    Error::Unavailable { reason: format!("leases: {error}") }
}

fn stored(progress: &Progress) -> LeaseProgress {
    LeaseProgress {
        checkpoint: progress.checkpoint.to_string(),
        acknowledged: progress.taken,
        backlog: progress.waiting,
        oldest_publish_ms: progress.oldest_waiting_ms,
    }
}

fn lease(stored: ShardLease) -> Lease {
    let LeaseProgress { checkpoint, acknowledged, backlog, oldest_publish_ms } = stored.progress;
    let checkpoint = Checkpoint::from(checkpoint.as_str());
    Lease {
        shard: stored.shard,
        parents: stored.parents,
        owner: stored.owner,
        counter: stored.counter,
        left: stored.remaining,
        progress: Progress {
            checkpoint,
            taken: acknowledged,
            waiting: backlog,
            oldest_waiting_ms: oldest_publish_ms,
        },
    }
}

#[async_trait]
impl Leases for StoreLeases {
    async fn list(&self, stream: &str) -> Result<Vec<Lease>, Error> {
        let leases = self.0.leases(stream).await.map_err(unavailable)?;
        Ok(leases.into_iter().map(lease).collect())
    }

    async fn sync(&self, stream: &str, new: &[NewLease], gone: &[String]) -> Result<(), Error> {
        let new: Vec<_> = new
            .iter()
            .map(|NewLease { shard, parents }| goconductor_store::NewLease {
                shard: shard.clone(),
                parents: parents.clone(),
            })
            .collect();
        self.0.sync_leases(stream, &new, gone).await.map_err(unavailable)
    }

    async fn take(&self, stream: &str, take: &Take) -> Result<Vec<bool>, Error> {
        let Take { owner, shards, steal, lives } = take.clone();
        let take = LeaseRequest { owner, shards, steal, ttl: lives };
        self.0.acquire_leases(stream, &take).await.map_err(unavailable)
    }

    async fn mark(&self, stream: &str, owner: &str, marks: &[Mark]) -> Result<Vec<bool>, Error> {
        let mark = |mark: &Mark| LeaseUpdate {
            shard: mark.shard.clone(),
            counter: mark.counter,
            progress: stored(&mark.progress),
            ttl: mark.lives,
        };
        let marks: Vec<_> = marks.iter().map(mark).collect();
        self.0.update_leases(stream, owner, &marks).await.map_err(unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_store::sqlite::SqliteStore;
    use std::time::Duration;

    #[tokio::test]
    async fn progress_of_a_lease_is_visible_to_the_next_owner() {
        let leases =
            StoreLeases(Arc::new(SqliteStore::ephemeral().expect("a temporary directory can be created")));
        let new = NewLease { shard: "a/1".to_owned(), parents: vec!["0/1".to_owned()] };
        leases.sync("s", &[new], &[]).await.expect("the store is open");
        let lives = Duration::from_secs(60);
        let take = |owner: &str, counter, steal| Take {
            owner: owner.to_owned(),
            shards: vec![("a/1".to_owned(), counter)],
            steal,
            lives,
        };
        assert_eq!(leases.take("s", &take("me", 0, false)).await, Ok(vec![true]));
        let checkpoint = Checkpoint::Within("17".to_owned(), 3);
        let progress = Progress { checkpoint, taken: 5, waiting: 2, oldest_waiting_ms: Some(-1) };
        let mark = Mark { shard: "a/1".to_owned(), counter: 1, progress: progress.clone(), lives };
        assert_eq!(leases.mark("s", "me", std::slice::from_ref(&mark)).await, Ok(vec![true]));
        let found = leases.list("s").await.expect("the store is open").remove(0);
        assert!(found.is_held() && found.parents == ["0/1"] && found.counter == 1, "{found:?}");
        assert_eq!(found.progress, progress);
        assert_eq!(leases.take("s", &take("you", 1, true)).await, Ok(vec![true]));
        assert_eq!(leases.mark("s", "me", &[mark]).await, Ok(vec![false]));
    }
}
