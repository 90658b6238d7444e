//! Who reads which shard of a stream, until when, and how far: for readers that nobody else tells it.

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
    async fn sync_leases(&self, stream: &str, new: &[NewLease], gone: &[String]) -> Result<(), Error>;

    /// Acquires leases and returns, for each shard, whether it was acquired.
    ///
    /// A lease is acquired if its counter is unchanged and it has expired by the database's clock. With `steal`, it
    /// need not have expired. Its counter is raised by one.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn take_leases(&self, stream: &str, take: &LeaseTake) -> Result<Vec<bool>, Error>;

    /// Stores the progress of shards, and renews or releases their leases. Returns, for each shard, whether `owner`
    /// still held the lease with that counter.
    ///
    /// The call is idempotent. A call that arrives after another one that acknowledged more messages changes nothing.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn mark_leases(&self, stream: &str, owner: &str, marks: &[LeaseMark]) -> Result<Vec<bool>, Error>;
}

layer!(ShardLeaseStore, ShardLeaseLayer {
    fn leases(stream: &str) -> Vec<ShardLease>;
    fn sync_leases(stream: &str, new: &[NewLease], gone: &[String]) -> ();
    fn take_leases(stream: &str, take: &LeaseTake) -> Vec<bool>;
    fn mark_leases(stream: &str, owner: &str, marks: &[LeaseMark]) -> Vec<bool>;
});

/// A shard's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardLease {
    /// Its shard.
    pub shard: String,
    /// The shards that have to be read to their ends before it.
    pub parents: Vec<String>,
    /// Who reads it; none: nobody.
    pub owner: Option<String>,
    /// Raised each time that it is taken.
    pub counter: u64,
    /// How long it is still its owner's, by the database's clock.
    pub left: Duration,
    /// How far it has been read.
    pub progress: LeaseProgress,
}

/// How far a shard has been read, as its owner says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseProgress {
    /// Up to where it was acknowledged, in its readers' form; empty: nothing was.
    pub checkpoint: String,
    /// How many messages were acknowledged.
    pub taken: u64,
    /// How many wait.
    pub waiting: u64,
    /// The publish time of the oldest of them.
    pub oldest_waiting_ms: Option<i64>,
}

/// A shard of which there may be no lease yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLease {
    /// Its shard.
    pub shard: String,
    /// The shards that have to be read to their ends before it.
    pub parents: Vec<String>,
}

/// Leases that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseTake {
    /// Who.
    pub owner: String,
    /// Which, with the counters that they had when they were looked at.
    pub shards: Vec<(String, u64)>,
    /// Also from an owner who has not run out.
    pub steal: bool,
    /// For how long, unless it is said again.
    pub lives: Duration,
}

/// What the owner of a lease says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseMark {
    /// Of which shard.
    pub shard: String,
    /// The counter with which it was taken.
    pub counter: u64,
    /// How far it has been read.
    pub progress: LeaseProgress,
    /// For how long it is kept; zero: it is given up.
    pub lives: Duration,
}

/// A span as a database has it, in microseconds.
pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX >> 2)
}

/// A number as a database has it.
pub(crate) fn stored_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
