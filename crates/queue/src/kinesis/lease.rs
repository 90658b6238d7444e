//! Who reads which shard, and how far it has been read: kept where all processes find it.
//!
//! A shard's lease is its owner's until it runs out, by the clock of whoever keeps the leases. Each time that
//! it is taken, by anybody, its counter rises; what is written under an older counter is refused, so that one
//! who was paused and replaced checkpoints nothing.

mod memory;

use crate::Error;
use async_trait::async_trait;
use std::fmt;
use std::time::Duration;

pub use memory::MemoryLeases;

/// A shard's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its shard: the name, and the sequence number at which it begins.
    pub shard: String,
    /// The shards that have to be read to their ends before it.
    pub parents: Vec<String>,
    /// Who reads it; none: nobody.
    pub owner: Option<String>,
    /// Raised each time that it is taken.
    pub counter: u64,
    /// How long it is still its owner's.
    pub left: Duration,
    /// How far it has been read.
    pub progress: Progress,
}

impl Lease {
    /// Whether somebody reads it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.owner.is_some() && !self.left.is_zero()
    }

    /// Whether it has been read to its end.
    pub(super) fn is_ended(&self) -> bool {
        self.progress.checkpoint == Checkpoint::End
    }
}

/// How far a shard has been read, and what its reader knows of what follows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Up to where everything was acknowledged.
    pub checkpoint: Checkpoint,
    /// How many messages were acknowledged.
    pub taken: u64,
    /// How many wait, as its owner last said: those that it has read, exactly, and an estimate of the rest.
    pub waiting: u64,
    /// The publish time of the oldest of them.
    pub oldest_waiting_ms: Option<i64>,
}

/// Up to where a shard's messages were acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Checkpoint {
    /// Nothing was.
    #[default]
    Horizon,
    /// This record was, with all before it.
    After(String),
    /// All before this record were, and so many of its own messages.
    Within(String, u32),
    /// All were, and there will be no more.
    End,
}

/// As it is kept: empty, `END`, a sequence number, or one with how many messages of it.
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
pub struct Take {
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
pub struct Mark {
    /// Of which shard.
    pub shard: String,
    /// The counter with which it was taken.
    pub counter: u64,
    /// How far it has been read.
    pub progress: Progress,
    /// For how long it is kept; zero: it is given up.
    pub lives: Duration,
}

/// Keeps the leases of streams.
#[async_trait]
pub trait Leases: fmt::Debug + Send + Sync {
    /// All leases of a stream, by their shards.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn list(&self, stream: &str) -> Result<Vec<Lease>, Error>;

    /// Adds leases of shards that have none, owned by nobody, with nothing read; and removes those of shards that
    /// are no more.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; then some may have been.
    async fn sync(&self, stream: &str, new: &[NewLease], gone: &[String]) -> Result<(), Error>;

    /// Takes leases whose counters are still those that are given, and that nobody holds, unless it is said to
    /// steal; of each whether it was taken. Its counter is raised by one.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; then some may have been.
    async fn take(&self, stream: &str, take: &Take) -> Result<Vec<bool>, Error>;

    /// Writes down how far shards were read, and keeps their leases or gives them up; of each whether it was still
    /// its owner's, by the counter. May be repeated: it comes to the same. One that arrives late, after another
    /// that has more messages taken, changes nothing.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: nobody can say what was written.
    async fn mark(&self, stream: &str, owner: &str, marks: &[Mark]) -> Result<Vec<bool>, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_read_as_they_are_written() {
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
