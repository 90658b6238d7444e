//! Queues and their backlogs.

use serde::Deserialize;

/// The backlog of one side of a service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct QueueLane {
    /// The number of commands that no consumer has received. `None` if the queue does not respond.
    pub waiting: Option<u64>,
    /// The publication time of the oldest of these commands.
    pub oldest_waiting_at: Option<String>,
}

/// The backlog of a service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct QueueBacklog {
    /// The namespace of the service.
    pub namespace: String,
    /// The name of the service.
    pub service: String,
    /// Whether an executor consumes the service's commands.
    pub served: bool,
    /// The commands to execute a step.
    pub execute: QueueLane,
    /// The commands to compensate a step.
    pub compensate: QueueLane,
}

/// The backlogs of all services.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct QueueBacklogs {
    /// The queue in use.
    pub queue: String,
    /// The services, ordered by namespace and name.
    pub services: Vec<QueueBacklog>,
}

/// A process that uses the queue.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct QueueUser {
    /// The random identity of the process, new at each start.
    pub instance: String,
    /// The service: `api-gateway`, `saga-executor`.
    pub kind: String,
}

/// The queue in use, and the switch to another one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct QueueMove {
    /// The queue in use. During a switch, the queue that is being left.
    pub queue: String,
    /// The target of the switch. `None` if no switch is in progress.
    pub to: Option<String>,
    /// The phase: `CONSUMING_BOTH`, `PRODUCING`, `DRAINING`. `None` if no switch is in progress.
    pub phase: Option<String>,
    /// The time of the last change.
    pub since: Option<String>,
    /// The revision. Each change increments it.
    pub revision: u64,
    /// The caller who requested the switch.
    pub actor: Option<String>,
    /// The processes that have not applied the revision yet.
    pub behind: Vec<QueueUser>,
    /// The number of commands in the queue that is being left. `None` if no switch is in progress or the queue does not
    /// respond.
    pub waiting: Option<u64>,
}
