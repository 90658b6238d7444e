//! The status of a migration, and the errors of a request.

use crate::client::QueueClient;
use crate::migration::QueueMigration;
use goconductor_saga::Timestamp;
use goconductor_store::Error;

/// MigrationStatus of the queue and its migration.
#[derive(Debug, Clone)]
pub struct MigrationStatus {
    /// The revision, which every change increments. It is 0 before the first change.
    pub revision: u64,
    /// The queue in use and its migration.
    pub migration: QueueMigration,
    /// The time of the revision by the database's clock. `None` if the configuration determines the queue.
    pub since: Option<Timestamp>,
    /// During a migration, the processes that have not applied the revision.
    pub behind: Vec<QueueClient>,
    /// During a migration, the number of messages in the old queue. `None` if it could not be determined.
    pub waiting: Option<u64>,
}

/// Error of a request to migrate to another queue.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The queue does not exist.
    #[error("queue {0} does not exist: choose one of {1}")]
    Unknown(String, String),
    /// The queue is in use.
    #[error("queue {0} is already in use")]
    InUse(String),
    /// Another migration is in progress.
    #[error(
        "a migration from {from} to {to} is in progress: wait until it ends, or request {from} to revert it"
    )]
    InProgress {
        /// The old queue.
        from: String,
        /// The new queue.
        to: String,
    },
    /// The queue is not configured for some processes.
    #[error("queue {to} is not configured for {}: add its section to their configuration and restart them", instances.join(", "))]
    NotConfigured {
        /// The requested queue.
        to: String,
        /// The identities of the processes.
        instances: Vec<String>,
    },
    /// The queue is unavailable.
    #[error("queue {to} is unavailable: {reason}")]
    Unavailable {
        /// The requested queue.
        to: String,
        /// The cause.
        reason: String,
    },
    /// A concurrent request changed the queue.
    #[error("a concurrent request changed the queue: check the status and try again")]
    Conflict,
    /// The state store returned an error.
    #[error(transparent)]
    Store(#[from] Error),
}
