//! Leases of shards: which consumer reads a shard, and how far. They are stored where all processes can reach them.
//!
//! A lease belongs to its owner until it expires, by the clock of the store. Each acquisition increments the counter of
//! the lease. An update with an older counter is refused, so a consumer that was paused and replaced checkpoints
//! nothing.

mod memory;

use crate::Error;
use async_trait::async_trait;
use std::fmt;
use std::time::Duration;

pub use memory::MemoryLeases;

/// The lease of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The shard: its name and its first sequence number.
    pub shard: String,
    /// The shards that have to be read to their ends before this one.
    pub parents: Vec<String>,
    /// The consumer that reads the shard, if any.
    pub owner: Option<String>,
    /// The number of acquisitions.
    pub counter: u64,
    /// The time until the lease expires.
    pub remaining: Duration,
    /// The progress of the reader.
    pub progress: ShardProgress,
}

impl Lease {
    /// Returns whether the lease has an owner and has not expired.
    #[must_use]
    pub fn is_owned(&self) -> bool {
        self.owner.is_some() && !self.remaining.is_zero()
    }

    /// Returns whether the shard was read and acknowledged to its end.
    pub(super) fn is_finished(&self) -> bool {
        self.progress.checkpoint == Checkpoint::End
    }
}

/// The progress of the reader of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ShardProgress {
    /// The position up to which all messages were acknowledged.
    pub checkpoint: Checkpoint,
    /// The number of acknowledged messages.
    pub acknowledged: u64,
    /// The number of waiting messages: an exact count of those that were read, and an estimate of the rest.
    pub waiting: u64,
    /// The publish time of the oldest waiting message, in milliseconds since 1970.
    pub oldest_waiting_ms: Option<i64>,
}

/// The position up to which all messages of a shard were acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Checkpoint {
    /// Before the first message.
    #[default]
    Horizon,
    /// After the record with this sequence number.
    After(String),
    /// Within the record with this sequence number, after this number of its messages.
    Within(String, u32),
    /// The end of a closed shard.
    End,
}

/// The stored form: an empty text, `END`, a sequence number, or a sequence number with a number of messages.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Horizon => Ok(()),
            Self::After(sequence) => f.write_str(sequence),
            Self::Within(sequence, messages) => write!(f, "{sequence}+{messages}"),
            Self::End => f.write_str("END"),
        }
    }
}

impl From<&str> for Checkpoint {
    fn from(text: &str) -> Self {
        match text {
            "" => Self::Horizon,
            "END" => Self::End,
            _ => match text.split_once('+').and_then(|(at, more)| Some((at, more.parse().ok()?))) {
                Some((sequence, messages)) => Self::Within(sequence.to_owned(), messages),
                None => Self::After(text.to_owned()),
            },
        }
    }
}

/// A shard that needs a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLease {
    /// The shard.
    pub shard: String,
    /// The shards that have to be read to their ends before this one.
    pub parents: Vec<String>,
}

/// A request to acquire leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardLeaseRequest {
    /// The new owner.
    pub owner: String,
    /// The shards, each with the last known counter of its lease.
    pub shards: Vec<(String, u64)>,
    /// Whether to acquire leases that have not expired as well.
    pub steal: bool,
    /// The duration of the leases.
    pub ttl: Duration,
}

/// An update of a lease by its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardLeaseUpdate {
    /// The shard.
    pub shard: String,
    /// The counter after the acquisition.
    pub counter: u64,
    /// The progress of the reader.
    pub progress: ShardProgress,
    /// The new duration of the lease. Zero releases it.
    pub ttl: Duration,
}

/// A store of leases.
#[async_trait]
pub trait Leases: fmt::Debug + Send + Sync {
    /// Returns all leases of a stream, ordered by shard.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the store cannot be reached.
    async fn list(&self, stream: &str) -> Result<Vec<Lease>, Error>;

    /// Creates leases without an owner for the shards in `new` that have none, and deletes those of the shards in
    /// `removed`.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the store cannot be reached. Some leases may have been created or deleted.
    async fn sync(&self, stream: &str, new: &[NewLease], removed: &[String]) -> Result<(), Error>;

    /// Acquires leases whose counters have not changed and that have no owner, or any owner if `steal` is set.
    /// Increments their counters. Returns for each lease whether it was acquired.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the store cannot be reached. Some leases may have been acquired.
    async fn acquire(&self, stream: &str, request: &ShardLeaseRequest) -> Result<Vec<bool>, Error>;

    /// Stores the progress of leases, and renews or releases them. Returns for each lease whether `owner` still owned
    /// it, by its counter. The call is idempotent. A delayed update with fewer acknowledged messages than stored
    /// changes nothing.
    ///
    /// # Errors
    /// Returns [`Error::Unavailable`] if the outcome is unknown.
    async fn update(
        &self,
        stream: &str,
        owner: &str,
        updates: &[ShardLeaseUpdate],
    ) -> Result<Vec<bool>, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_survives_a_round_trip() {
        let sequence = "49680569064951821052233950378950253025836520756276625410".to_owned();
        for checkpoint in [
            Checkpoint::Horizon,
            Checkpoint::After(sequence.clone()),
            Checkpoint::Within(sequence, 7),
            Checkpoint::End,
        ] {
            assert_eq!(Checkpoint::from(checkpoint.to_string().as_str()), checkpoint);
        }
    }
}
