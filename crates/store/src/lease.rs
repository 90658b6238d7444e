//! Leases of the shards of a stream: the owner, the expiry and the checkpoint of each shard. They coordinate the consumers
//! of a queue that does not assign shards to consumers itself.

use crate::Error;
use crate::layer::layer;
use async_trait::async_trait;
use std::time::Duration;

/// Leases of shards, with checkpoints.
#[async_trait]
pub trait ShardLeaseStore: std::fmt::Debug + Send + Sync {
    /// Returns all leases of a stream, by shard.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn leases(&self, stream: &str) -> Result<Vec<ShardLease>, Error>;

    /// Adds leases for the shards in `new` that have none, without an owner and without progress, and removes the
    /// leases of the shards in `gone`.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn sync_leases(&self, stream: &str, new: &[NewShardLease], gone: &[String]) -> Result<(), Error>;

    /// Acquires leases and returns, for each shard, whether it was acquired.
    ///
    /// A lease is acquired if its counter is unchanged and it has expired by the database's clock. With `steal`, it
    /// need not have expired. Its counter is raised by one.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn acquire_leases(&self, stream: &str, request: &LeaseRequest) -> Result<Vec<bool>, Error>;

    /// Stores the progress of shards, and renews or releases their leases. Returns, for each shard, whether `owner`
    /// still held the lease with that counter.
    ///
    /// The call is idempotent. A call that arrives after another one that acknowledged more messages changes nothing.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn update_leases(
        &self,
        stream: &str,
        owner: &str,
        updates: &[LeaseUpdate],
    ) -> Result<Vec<bool>, Error>;
}

layer!(ShardLeaseStore, ShardLeaseLayer {
    fn leases(stream: &str) -> Vec<ShardLease>;
    fn sync_leases(stream: &str, new: &[NewShardLease], gone: &[String]) -> ();
    fn acquire_leases(stream: &str, request: &LeaseRequest) -> Vec<bool>;
    fn update_leases(stream: &str, owner: &str, updates: &[LeaseUpdate]) -> Vec<bool>;
});

/// A shard's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardLease {
    /// The shard.
    pub shard: String,
    /// The shards that must be consumed completely before this one.
    pub parents: Vec<String>,
    /// The consumer that holds the lease.
    pub owner: Option<String>,
    /// Rises by one each time the lease is acquired.
    pub counter: u64,
    /// Time until the lease expires, by the database's clock.
    pub remaining: Duration,
    /// The progress of the consumption.
    pub progress: LeaseProgress,
}

/// The progress of the consumption of a shard, as reported by its owner.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseProgress {
    /// The position of the last acknowledged message, in the format of the consumers. Empty if there is none.
    pub checkpoint: String,
    /// Number of acknowledged messages.
    pub acknowledged: u64,
    /// Number of messages in the backlog.
    pub backlog: u64,
    /// Publish time of the oldest message in the backlog.
    pub oldest_publish_ms: Option<i64>,
}

/// A shard that may not have a lease yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewShardLease {
    /// The shard.
    pub shard: String,
    /// The shards that must be consumed completely before this one.
    pub parents: Vec<String>,
}

/// A request to acquire leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The consumer.
    pub owner: String,
    /// The shards, each with the counter that its lease had when it was read.
    pub shards: Vec<(String, u64)>,
    /// Whether to acquire leases that have not expired.
    pub steal: bool,
    /// Duration of the leases.
    pub ttl: Duration,
}

/// A report of progress by the owner of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseUpdate {
    /// The shard.
    pub shard: String,
    /// The counter of the lease when it was acquired.
    pub counter: u64,
    /// The progress of the consumption.
    pub progress: LeaseProgress,
    /// Duration of the lease from now. Zero releases the lease.
    pub ttl: Duration,
}

/// Converts a duration to the database's microseconds.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX >> 2)
}

/// Converts a number to the signed integer of the database.
pub(crate) fn stored_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
