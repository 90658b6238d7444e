//! What can go wrong with a queue, by what the caller can do about it.

use crate::Topic;

/// Why a queue did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// None of the messages was published: leave them to the dispatch ledger.
    #[error("topic {topic} is full: it holds no more than {capacity}")]
    Full {
        /// Which.
        topic: Topic,
        /// What it holds at most.
        capacity: Capacity,
    },
    /// None of the messages was published, and this one never will be.
    #[error("a message of {bytes} bytes is too large for topic {topic}, which holds {limit} bytes")]
    TooLarge {
        /// Which.
        topic: Topic,
        /// The message's size: key and payload.
        bytes: usize,
        /// What an empty topic holds.
        limit: usize,
    },
    /// The queue was closed, and stays so.
    #[error("the queue is closed")]
    Closed,
    /// The broker's address or settings can't work.
    #[error("the queue can't be used: {reason}")]
    Configuration {
        /// What is wrong and what to do.
        reason: String,
    },
    /// The broker did not answer; the same call may succeed later.
    #[error("the queue can't be reached: {reason}")]
    Unavailable {
        /// What the driver said.
        reason: String,
    },
}

/// What a topic holds at most: the bound that was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// That many messages.
    Messages(usize),
    /// That many bytes of keys and payloads.
    Bytes(usize),
}

impl std::fmt::Display for Capacity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Messages(limit) => write!(f, "{limit} messages"),
            Self::Bytes(limit) => write!(f, "{limit} bytes"),
        }
    }
}

/// An error without its particulars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No room at present.
    Full,
    /// No room ever.
    TooLarge,
    /// No queue any more.
    Closed,
    /// It can't work.
    Configuration,
    /// No answer.
    Unavailable,
}

impl Error {
    /// Which kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Full { .. } => ErrorKind::Full,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Closed => ErrorKind::Closed,
            Self::Configuration { .. } => ErrorKind::Configuration,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self.kind() {
            ErrorKind::Full | ErrorKind::Unavailable => true,
            ErrorKind::TooLarge | ErrorKind::Closed | ErrorKind::Configuration => false,
        }
    }
}
