//! What all processes agree on.

use goconductor_saga::{Json, Timestamp};

/// What all processes agree on under a name.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigEntry {
    /// One more at each change, from 1.
    pub revision: u64,
    /// What is agreed on.
    pub value: Json,
    /// Since when, by the database's clock.
    pub since: Timestamp,
}
