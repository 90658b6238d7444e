//! What is said of queues.

use serde::Deserialize;

/// What waits in one lane of a service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct QueueLane {
    /// Commands that nobody has taken; none: the queue does not answer.
    pub waiting: Option<u64>,
    /// When the oldest of them was published.
    pub oldest_waiting_at: Option<String>,
}

/// What waits for a service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct QueueBacklog {
    /// Where it lives.
    pub namespace: String,
    /// Its name.
    pub service: String,
    /// Whether somebody takes its commands.
    pub served: bool,
    /// Commands to execute.
    pub execute: QueueLane,
    /// Commands to compensate.
    pub compensate: QueueLane,
}

/// What waits for all services.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct QueueBacklogs {
    /// The queue in use.
    pub queue: String,
    /// By namespace and name.
    pub services: Vec<QueueBacklog>,
}

/// A process that uses queues.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct QueueUser {
    /// A random identity at each boot.
    pub instance: String,
    /// `api-gateway`, `saga-executor`
    pub kind: String,
}

/// Which queue is in use, and how far a move to another one is.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct QueueMove {
    /// The queue in use; during a move the one that is being left.
    pub queue: String,
    /// The queue that all move to; none: they stay where they are.
    pub to: Option<String>,
    /// `CONSUMING_BOTH`, `PRODUCING`, `DRAINING`; none: there is no move.
    pub phase: Option<String>,
    /// Since when it is so.
    pub since: Option<String>,
    /// One more at each change.
    pub revision: u64,
    /// Who asked for the move.
    pub actor: Option<String>,
    /// Processes that do not act by it yet.
    pub behind: Vec<QueueUser>,
    /// Commands in the queue that is being left; none: there is no move, or it does not answer.
    pub waiting: Option<u64>,
}
