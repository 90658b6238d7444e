//! A participant's memory of what it did, in its own database transaction.
//!
//! A saga's step may be asked for more than once with the same idempotency key, and an undo may overtake what
//! it undoes. [`PgInbox`] and [`SqliteInbox`] remember both beside the participant's own data, in the
//! transaction that changes it: a repeat gives the stored output and does nothing; an undo of what never came
//! is remembered, and what comes after it is refused; what rolls back was never there.
//!
//! For participants in other languages the same is there as functions of PostgreSQL, in [`POSTGRES_SQL`], which
//! [`PgInbox`] itself calls.
//!
//! The crate deliberately knows nothing of sagas but the key, and decides nothing about retries.
//!
//! Invariants: of all transactions for one step, one at a time is past the inbox's answer; nothing is done
//! after it was undone; nothing is done or undone twice, until it is forgotten by [`PgInbox::prune`].

mod key;
mod postgres;
mod sqlite;

use serde_json::Value;

pub use key::{Key, Operation};
pub use postgres::{POSTGRES_SQL, PgInbox};
pub use sqlite::SqliteInbox;

/// What an execute is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Execute {
    /// Do the work, then say so.
    First,
    /// It was done: this is what it gave.
    Repeat(Value),
    /// It was undone before it came: it is not to be done any more.
    Refused,
}

/// What a compensate is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Compensate {
    /// Undo what gave this, then say so.
    First(Value),
    /// It was undone: this is what that gave.
    Repeat(Value),
    /// It was never done, and never will be: there is nothing to undo.
    Nothing,
}

/// What became of an execute.
#[derive(Debug, Clone, PartialEq)]
pub enum Executed {
    /// It is done, now or before.
    Done {
        /// What it gave.
        output: Value,
        /// Whether that was before.
        repeated: bool,
    },
    /// It was undone before it came, and is not done any more.
    Refused,
}

/// Why the inbox could not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database could not do it: nothing is done, unless the commit's answer was lost. The same call may
    /// succeed later, and finds out.
    #[error("the inbox's database: {0}")]
    Database(#[from] sqlx::Error),
    /// The text is no idempotency key, or of the other operation: a mistake of the caller.
    #[error("{text:?} is no idempotency key such as <workflow>/<step>/{expected}")]
    Key {
        /// What was given.
        text: String,
        /// Which operation it was to be of.
        expected: &'static str,
    },
    /// What is remembered is no JSON: somebody else wrote it.
    #[error("what the inbox remembers can't be read: {0}")]
    Remembered(#[from] serde_json::Error),
}

/// Why work was not done: the inbox's reason, or the work's own.
#[derive(Debug, thiserror::Error)]
pub enum Failed<E> {
    /// The inbox's.
    #[error(transparent)]
    Inbox(#[from] Error),
    /// The work's: what it had changed was rolled back, and nothing is remembered.
    #[error("{0}")]
    Work(E),
}

fn parsed(text: Option<String>) -> Result<Value, Error> {
    match text {
        Some(text) => Ok(serde_json::from_str(&text)?),
        None => Ok(Value::Null),
    }
}
