//! Leases of shards.

use super::{Malformed, required};
use crate::internal as wire;
use goconductor_store::{LeaseProgress, LeaseRequest, LeaseUpdate, NewShardLease, ShardLease};
use std::time::Duration;

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl From<&LeaseProgress> for wire::LeaseProgress {
    fn from(progress: &LeaseProgress) -> Self {
        Self {
            checkpoint: progress.checkpoint.clone(),
            taken: progress.acknowledged,
            waiting: progress.backlog,
            oldest_waiting_ms: progress.oldest_publish_ms,
        }
    }
}

impl From<wire::LeaseProgress> for LeaseProgress {
    fn from(wire: wire::LeaseProgress) -> Self {
        Self {
            checkpoint: wire.checkpoint,
            acknowledged: wire.taken,
            backlog: wire.waiting,
            oldest_publish_ms: wire.oldest_waiting_ms,
        }
    }
}

impl From<&ShardLease> for wire::ShardLease {
    fn from(lease: &ShardLease) -> Self {
        Self {
            shard: lease.shard.clone(),
            parents: lease.parents.clone(),
            owner: lease.owner.clone(),
            counter: lease.counter,
            left_us: micros(lease.remaining),
            progress: Some((&lease.progress).into()),
        }
    }
}

impl TryFrom<wire::ShardLease> for ShardLease {
    type Error = Malformed;

    fn try_from(wire: wire::ShardLease) -> Result<Self, Malformed> {
        Ok(Self {
            shard: wire.shard,
            parents: wire.parents,
            owner: wire.owner,
            counter: wire.counter,
            remaining: Duration::from_micros(wire.left_us),
            progress: required(wire.progress, "progress of a shard lease")?.into(),
        })
    }
}

impl From<&NewShardLease> for wire::NewLease {
    fn from(new: &NewShardLease) -> Self {
        Self { shard: new.shard.clone(), parents: new.parents.clone() }
    }
}

impl From<wire::NewLease> for NewShardLease {
    fn from(wire: wire::NewLease) -> Self {
        Self { shard: wire.shard, parents: wire.parents }
    }
}

impl wire::TakeLeasesRequest {
    /// Builds the request of an owner for leases.
    #[must_use]
    pub fn of(stream: &str, take: &LeaseRequest) -> Self {
        let one =
            |(shard, counter): &(String, u64)| wire::LeaseCounter { shard: shard.clone(), counter: *counter };
        Self {
            stream: stream.to_owned(),
            owner: take.owner.clone(),
            shards: take.shards.iter().map(one).collect(),
            steal: take.steal,
            lives_us: micros(take.ttl),
        }
    }
}

/// The stream, and the request of an owner for its leases.
impl From<wire::TakeLeasesRequest> for (String, LeaseRequest) {
    fn from(wire: wire::TakeLeasesRequest) -> Self {
        let take = LeaseRequest {
            owner: wire.owner,
            shards: wire.shards.into_iter().map(|one| (one.shard, one.counter)).collect(),
            steal: wire.steal,
            ttl: Duration::from_micros(wire.lives_us),
        };
        (wire.stream, take)
    }
}

impl From<&LeaseUpdate> for wire::LeaseMark {
    fn from(mark: &LeaseUpdate) -> Self {
        Self {
            shard: mark.shard.clone(),
            counter: mark.counter,
            progress: Some((&mark.progress).into()),
            lives_us: micros(mark.ttl),
        }
    }
}

impl TryFrom<wire::LeaseMark> for LeaseUpdate {
    type Error = Malformed;

    fn try_from(wire: wire::LeaseMark) -> Result<Self, Malformed> {
        Ok(Self {
            shard: wire.shard,
            counter: wire.counter,
            progress: required(wire.progress, "progress of a shard lease")?.into(),
            ttl: Duration::from_micros(wire.lives_us),
        })
    }
}
