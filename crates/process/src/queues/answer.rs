//! What whoever asks about queues is told.

use super::{Standing, User};
use goconductor_saga::Timestamp;
use goconductor_store::Error;

/// How all processes stand with their queue.
#[derive(Debug, Clone)]
pub struct Status {
    /// One more at each change; 0 until the first.
    pub revision: u64,
    /// What is agreed on.
    pub standing: Standing,
    /// Since when, by the database's clock; none: it is what the configuration says.
    pub since: Option<Timestamp>,
    /// In a move: who does not act by it yet.
    pub behind: Vec<User>,
    /// In a move: how much waits in the queue that is being left; none: that could not be found out.
    pub waiting: Option<u64>,
}

/// Why no move to another queue begins.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// There is no such queue.
    #[error("there is no queue {0}: there are {1}")]
    Unknown(String, String),
    /// It is the queue that is used.
    #[error("{0} is the queue that is in use")]
    InUse(String),
    /// Another move is under way.
    #[error("a move from {from} to {to} is under way: wait for its end, or ask for {from} to turn it back")]
    Moving {
        /// The queue that is being left.
        from: String,
        /// The one that is moved to.
        to: String,
    },
    /// Processes whose configuration does not say how to reach it.
    #[error("{to} can't be reached by {}: add its section to their configuration, and start them again", who.join(", "))]
    Lacking {
        /// The queue.
        to: String,
        /// Their kinds and identities.
        who: Vec<String>,
    },
    /// It does not answer.
    #[error("{to} can't be used now: {reason}")]
    Unreachable {
        /// The queue.
        to: String,
        /// What it said.
        reason: String,
    },
    /// What is agreed on was changed by another just now.
    #[error("another call has changed the queue just now: look, and ask again")]
    Raced,
    /// The state store did not do it.
    #[error(transparent)]
    Store(#[from] Error),
}
