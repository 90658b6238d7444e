//! Deduplication of requests to a participant, in the participant's own database transaction.
//!
//! The engine can send a request more than once with the same idempotency key, and a compensate can arrive before its
//! execute. `PgInbox` and `SqliteInbox` record every request in the transaction that changes the participant's data:
//!
//! - A repeated request returns the stored output and changes nothing.
//! - A compensate whose execute never arrived is recorded, and the execute is refused if it arrives later.
//! - A transaction that is rolled back leaves no record.
//!
//! Participants in other languages can use the same functions of PostgreSQL, which `POSTGRES_SQL` defines and `PgInbox`
//! calls.
//!
//! This crate knows nothing about sagas except the idempotency key, and it decides nothing about retries.
//!
//! Invariants: transactions for one step run one after another; no execute takes effect after its compensate; no
//! operation takes effect twice, until `PgInbox::prune` removes its record.

mod key;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use serde_json::Value;

pub use key::{Key, Operation};
#[cfg(feature = "postgres")]
pub use postgres::{POSTGRES_SQL, PgInbox};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteInbox;

/// The decision on an execute.
#[derive(Debug, Clone, PartialEq)]
pub enum Execute {
    /// The first request. Do the work, then record its output.
    First,
    /// A repeated request, with the stored output.
    Repeat(Value),
    /// A request that arrived after its compensate. Do nothing and refuse it.
    Refused,
}

/// The decision on a compensate.
#[derive(Debug, Clone, PartialEq)]
pub enum Compensate {
    /// The first request, with the output of the execute. Undo the work, then record the output.
    First(Value),
    /// A repeated request, with the stored output.
    Repeat(Value),
    /// The execute never arrived and will be refused. There is nothing to undo.
    Nothing,
}

/// The result of an execute.
#[derive(Debug, Clone, PartialEq)]
pub enum Executed {
    /// The work is done.
    Done {
        /// The output.
        output: Value,
        /// Whether an earlier request did the work.
        repeated: bool,
    },
    /// The compensate arrived first, so the work was not done.
    Refused,
}

/// An error of the inbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database failed. Nothing changed, unless the response to the commit was lost. Repeat the call: it returns the
    /// stored output if the commit took effect.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    #[error("the database of the inbox failed")]
    Database(#[from] sqlx::Error),
    /// The text is not an idempotency key of this operation.
    #[error("invalid idempotency key {text:?}: expected <workflow>/<step>/{expected}")]
    Key {
        /// The text.
        text: String,
        /// The expected operation.
        expected: &'static str,
    },
    /// A stored output is not JSON, because another program changed the table.
    #[error("the inbox contains an output that is not valid JSON")]
    StoredOutput(#[from] serde_json::Error),
}

/// An error of the inbox or of the work.
#[derive(Debug, thiserror::Error)]
pub enum Failed<E> {
    /// The inbox failed.
    #[error(transparent)]
    Inbox(#[from] Error),
    /// The work failed. Its changes were rolled back, and nothing was recorded.
    #[error("{0}")]
    Work(E),
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
fn parsed(text: Option<String>) -> Result<Value, Error> {
    match text {
        Some(text) => Ok(serde_json::from_str(&text)?),
        None => Ok(Value::Null),
    }
}
