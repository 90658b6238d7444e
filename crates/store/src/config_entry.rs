//! Configuration entries: values that all processes of a cluster agree on.

use goconductor_saga::{Json, Timestamp};

/// A named, versioned value.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigEntry {
    /// Starts at 1 and rises by one with each change.
    pub revision: u64,
    /// The value.
    pub value: Json,
    /// Time of the last change, by the database's clock.
    pub since: Timestamp,
}
