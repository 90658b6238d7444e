//! Who reads which shard of a stream, until when, and how far: for readers that nobody else tells it.

use std::time::Duration;

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
