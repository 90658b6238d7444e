//! The migration as this process knows it.

use crate::migration::QueueMigration;
use goconductor_saga::Timestamp;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// A value with its revision.
#[derive(Debug, Clone)]
pub(crate) struct Versioned<T> {
    pub(crate) revision: u64,
    pub(crate) value: T,
    /// The time of the revision by the database's clock.
    pub(crate) since: Option<Timestamp>,
    /// The time at which this process first read the revision.
    pub(crate) first_seen: Instant,
}

/// The view of this process: the newest revision that it read, and its own progress.
#[derive(Debug, Default)]
pub(crate) struct LocalView {
    pub(crate) newest: Option<Versioned<QueueMigration>>,
    /// The revision that this process has applied.
    pub(crate) applied: u64,
    /// The revision for which the new queue is prepared for publishing.
    pub(crate) prepared: u64,
    /// Whether the old queue is considered lost.
    pub(crate) has_lost_old: bool,
    /// The time of the last sample of the old queue's backlog.
    pub(crate) sampled_at: Option<Instant>,
    /// The start of the period in which the old queue was empty in every sample.
    pub(crate) empty_since: Option<Instant>,
    /// Services, with the time at which each was last served by a member.
    pub(crate) served: BTreeMap<(String, String), Instant>,
    /// The reason why this process cannot apply the newest revision.
    pub(crate) failure: Option<String>,
    /// Whether this process cannot open the old queue.
    pub(crate) lacks_old: bool,
}
