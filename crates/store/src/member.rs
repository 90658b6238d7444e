//! The processes of a system, as each says of itself.

use goconductor_saga::{Json, Timestamp};
use std::time::Duration;

/// What a process says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Announcement {
    /// A random identity at each boot.
    pub instance: String,
    /// `api-gateway`, `state-store`, `saga-executor`, `leader-elector`.
    pub kind: String,
    /// Where it listens; empty if nowhere.
    pub address: String,
    /// What else there is to say: an executor names its lanes and its workers.
    pub about: Json,
    /// It is taken for gone unless it says so again within this time; zero: it goes now.
    pub lives: Duration,
}

/// A process that is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// What it says of itself.
    pub announcement: Announcement,
    /// When it was first heard of, by the database's clock.
    pub since: Timestamp,
    /// When it was last heard of.
    pub seen_at: Timestamp,
}
