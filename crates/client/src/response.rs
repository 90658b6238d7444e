//! The responses of the API. Every field that may be absent has a default, and unknown fields are ignored.

mod access;
mod batch;
pub(crate) mod config;
mod election;
mod migration;
mod queue;
pub(crate) mod schedule;
mod secret;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

pub use access::{AccessKey, AccessKeyPage, CreatedAccessKey};
pub use batch::{Batch, BatchItem, BatchItemPage, BatchPage, BatchPreview};
pub use election::{ElectionList, ElectionProcess, Leader, SteppedDown};
pub use migration::WorkflowMigration;
pub use queue::{QueueBacklog, QueueBacklogs, QueueLane, QueueMove, QueueUser};
pub use secret::{RotatedPayloadKey, Rotation, Secret, SecretPage};

/// A workflow's status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Status {
    /// Accepted: no step has started yet.
    Queued,
    /// Running forward.
    InProgress,
    /// Rolling back.
    RollingBack,
    /// Paused by an operator.
    Paused,
    /// Stopped: only an operator can help.
    Error,
    /// All steps have completed.
    Completed,
    /// The rollback has completed.
    RolledBack,
    /// Ended by an operator without a rollback.
    Terminated,
    /// A status of a later release.
    Other(String),
}

impl Status {
    /// Returns the name of the status in the API.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Queued => "QUEUED",
            Self::InProgress => "IN_PROGRESS",
            Self::RollingBack => "ROLLING_BACK",
            Self::Paused => "PAUSED",
            Self::Error => "ERROR",
            Self::Completed => "COMPLETED",
            Self::RolledBack => "ROLLED_BACK",
            Self::Terminated => "TERMINATED",
            Self::Other(text) => text,
        }
    }

    /// Whether the status is final.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Completed | Self::RolledBack | Self::Terminated => true,
            Self::Queued
            | Self::InProgress
            | Self::RollingBack
            | Self::Paused
            | Self::Error
            | Self::Other(_) => false,
        }
    }
}

impl From<String> for Status {
    fn from(text: String) -> Self {
        match text.as_str() {
            "QUEUED" => Self::Queued,
            "IN_PROGRESS" => Self::InProgress,
            "ROLLING_BACK" => Self::RollingBack,
            "PAUSED" => Self::Paused,
            "ERROR" => Self::Error,
            "COMPLETED" => Self::Completed,
            "ROLLED_BACK" => Self::RolledBack,
            "TERMINATED" => Self::Terminated,
            _ => Self::Other(text),
        }
    }
}

impl From<Status> for String {
    fn from(status: Status) -> Self {
        status.as_str().to_owned()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::Other(String::new())
    }
}

/// A failure.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// The error code of the participant, or of the engine: `TIMED_OUT`, …
    pub code: String,
    /// The message, for people.
    pub message: String,
    /// Further details of a refusal.
    pub detail: Option<Value>,
}

/// A workflow. In a list, its steps, input and output are absent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Workflow {
    /// The id.
    pub id: String,
    /// The definition's name.
    pub definition: String,
    /// The definition's version.
    pub version: u32,
    /// The status.
    pub status: Status,
    /// The cause of the rollback.
    pub cause: Option<String>,
    /// The input.
    pub input: Value,
    /// The output.
    pub output: Option<Value>,
    /// The first failure.
    pub error: Option<Failure>,
    /// The number of the last event.
    pub seq: u64,
    /// The time at which the start was accepted. All times are RFC 3339.
    pub created_at: Option<String>,
    /// The time at which the workflow ended.
    pub ended_at: Option<String>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The idempotency key of the start.
    pub idempotency_key: Option<String>,
    /// The steps, in the order of the definition.
    pub steps: Vec<Step>,
    /// The reasons why the workflow makes no progress.
    pub waiting_on: Vec<WaitingOn>,
    /// The workflow that started this one as its child, with the step that did.
    pub parent: Option<RelatedWorkflow>,
    /// The children, each with the step that started it.
    pub children: Vec<RelatedWorkflow>,
}

/// A parent or a child of a workflow.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RelatedWorkflow {
    /// The id.
    pub id: String,
    /// The step of the parent that started the child.
    pub step: Option<String>,
}

/// A step of a workflow.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Step {
    /// The name in the definition.
    pub name: String,
    /// The title, for people.
    pub title: Option<String>,
    /// The status: `PENDING`, `COMPLETED`, `COMPENSATED`, …
    pub status: String,
    /// The number of started attempts to execute the step.
    pub attempts: u32,
    /// The number of started attempts to compensate the step.
    pub compensation_attempts: u32,
    /// The time at which the first command was issued.
    pub queued_at: Option<String>,
    /// The time at which the first attempt started.
    pub started_at: Option<String>,
    /// The time at which the step was settled.
    pub ended_at: Option<String>,
    /// The output.
    pub output: Option<Value>,
    /// The last failure of an attempt to execute or to compensate the step.
    pub error: Option<Failure>,
}

/// A reason why a workflow makes no progress.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct WaitingOn {
    /// The kind: `NO_WORKER`, `IN_FLIGHT`, `BACKOFF`, …
    pub kind: String,
    /// The step that waits.
    pub step: Option<String>,
    /// The time since when it waits.
    pub since: Option<String>,
    /// The time until when it waits, if it is known.
    pub until: Option<String>,
    /// A description, for people.
    pub detail: Option<String>,
}

/// A page of workflows, newest first.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct WorkflowPage {
    /// The workflows.
    pub workflows: Vec<Workflow>,
    /// The token of the next page. Absent or empty on the last page.
    pub next_page_token: Option<String>,
}

/// Numbers of workflows.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// One number for each value.
    pub counts: Vec<Count>,
}

/// The number of workflows that share a value.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Count {
    /// The value.
    pub value: String,
    /// The number.
    pub count: u64,
}

/// An event in the history of a workflow.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Event {
    /// The number of the event: from 1, without gaps.
    pub seq: u64,
    /// The time of the event.
    pub time: String,
    /// The type: `STEP_COMPLETED`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The step.
    pub step: Option<String>,
    /// The attempt.
    pub attempt: Option<u32>,
    /// Further fields. They depend on the type.
    pub detail: Value,
    /// The person who caused the event, if a person did.
    pub actor: Option<String>,
}

impl Event {
    /// Whether the event is the last of its history.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self.kind.as_str(), "WORKFLOW_COMPLETED" | "WORKFLOW_ROLLED_BACK" | "WORKFLOW_TERMINATED")
    }
}

/// A page of a history.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EventPage {
    /// The events, in order.
    pub events: Vec<Event>,
}

/// An applied definition.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AppliedDefinition {
    /// The definition's name.
    pub name: String,
    /// The newest version.
    pub version: u32,
    /// The digest of the content.
    pub digest: String,
    /// Parts that were accepted and are probably mistakes.
    pub warnings: Vec<crate::ProblemDetail>,
    /// Whether the request created the version.
    #[serde(skip)]
    pub created: bool,
}

/// A version of a definition.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DefinitionRecord {
    /// The name.
    pub name: String,
    /// The number of the version, from 1.
    pub version: u32,
    /// The digest of the content.
    pub digest: String,
    /// The title, for people.
    pub title: Option<String>,
    /// The description, for people.
    pub description: Option<String>,
    /// The applied text. Absent in lists.
    pub source: Option<String>,
    /// The format of the text: `yaml` or `json`.
    pub source_format: Option<String>,
    /// The time at which the version was applied.
    pub created_at: Option<String>,
    /// The caller who applied the version.
    pub actor: Option<String>,
}

/// Definitions, or the versions of one definition.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DefinitionList {
    /// The definitions.
    #[serde(alias = "versions")]
    pub definitions: Vec<DefinitionRecord>,
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServiceRecord {
    /// The name.
    pub name: String,
    /// The HTTP address, if the service has one.
    pub http: Option<Value>,
    /// Further fields.
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}

/// The services.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServiceList {
    /// The services, ordered by name.
    pub services: Vec<ServiceRecord>,
}

/// A service whose settings were deleted, and what still uses it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct DeletedService {
    /// The name.
    pub name: String,
    /// The definitions whose newest version runs actions of the service.
    pub definitions: Vec<String>,
    /// The number of due commands.
    pub backlog: u64,
    /// The number of connected workers.
    pub workers: u64,
}

/// A message that no process could handle.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DeadLetter {
    /// The id.
    pub id: String,
    /// The topic of the message.
    pub topic: String,
    /// The key of the message in its topic.
    pub key: String,
    /// The reason why no process could handle the message.
    pub reason: String,
    /// The time at which the message became a dead letter.
    pub at: String,
    /// The size of the payload, in bytes.
    pub bytes: u64,
    /// The payload as text. Bytes that are not UTF-8 are replaced.
    pub payload: String,
}

/// A page of dead letters.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DeadLetterPage {
    /// The dead letters, newest first.
    pub dead_letters: Vec<DeadLetter>,
    /// The token of the next page. Empty on the last page.
    pub next_page_token: String,
}

/// A running process.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Process {
    /// The random identity of the process, new at each start.
    pub instance: String,
    /// The service: `api-gateway`, `state-store`, `saga-executor`, `leader-elector`.
    pub kind: String,
    /// The address on which the process listens.
    pub address: String,
    /// The time at which the process joined the cluster.
    pub since: Option<String>,
    /// The time of the last heartbeat.
    pub seen_at: Option<String>,
    /// Further information, such as the services that an executor serves.
    pub about: Value,
}

/// The running processes.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ProcessList {
    /// The processes, ordered by kind.
    pub processes: Vec<Process>,
}

/// The health of a server.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The status in one word.
    pub status: String,
}

/// The readiness of a server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ServerReadiness {
    /// The status in one word.
    pub status: String,
    /// Whether the server accepts work.
    pub ready: bool,
    /// The results of its checks.
    #[serde(default)]
    pub checks: Vec<ReadinessCheck>,
}

/// Result of a readiness check of a server.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ReadinessCheck {
    /// The name of the check.
    pub name: String,
    /// Whether the check passed.
    pub ok: bool,
    /// The error, if the check failed.
    #[serde(default)]
    pub detail: Option<String>,
}

/// The version of a server.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Version {
    /// The version, such as `0.1.0`.
    pub version: String,
}

/// A held lock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Lock {
    /// The key.
    pub key: String,
    /// The name of the owner.
    pub owner: String,
    /// The fencing token. It is higher than the token of each earlier hold of the same key. A resource that the lock
    /// protects must reject lower tokens than the highest it has seen.
    pub fencing_token: u64,
    /// The time at which the lock was acquired.
    pub acquired_at: String,
    /// The time at which the lease expires unless it is renewed.
    pub expires_at: String,
}

/// A page of held locks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LockPage {
    /// The locks, ordered by key.
    pub locks: Vec<Lock>,
    /// The token of the next page. Empty on the last page.
    pub next_page_token: String,
}

/// The outcome of a release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Released {
    /// Whether the lock was held. `false` if no owner held it.
    pub released: bool,
}
