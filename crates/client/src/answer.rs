//! The answers of the API as types. Every field that may be absent has a default, and fields that
//! this release does not know are let be.

mod queue;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

pub use queue::{QueueBacklog, QueueBacklogs, QueueLane, QueueMove, QueueUser};

/// A workflow's status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Status {
    /// Accepted; no step has begun.
    Queued,
    /// Forward.
    InProgress,
    /// Undoing.
    RollingBack,
    /// An operator holds it.
    Paused,
    /// Only an operator can help.
    Error,
    /// All done.
    Completed,
    /// All undone.
    RolledBack,
    /// Ended by an operator who wanted no roll-back.
    Terminated,
    /// A status of a later release.
    Other(String),
}

impl Status {
    /// As the API writes it.
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

    /// Whether nothing can follow.
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

/// What went wrong.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// The participant's own code, or one of the engine's: `TIMED_OUT`, …
    pub code: String,
    /// For people.
    pub message: String,
}

/// A workflow. In a page of a list, what costs a further read (steps, input, output) is absent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Workflow {
    /// Its id.
    pub id: String,
    /// The definition's name.
    pub definition: String,
    /// The definition's version.
    pub version: u32,
    /// How far it is.
    pub status: Status,
    /// Why it is rolled back.
    pub cause: Option<String>,
    /// What it was started with.
    pub input: Value,
    /// Its result.
    pub output: Option<Value>,
    /// What went wrong first.
    pub error: Option<Failure>,
    /// The number of its last event.
    pub seq: u64,
    /// When its start was accepted; RFC 3339, like every time here.
    pub created_at: Option<String>,
    /// When it became final.
    pub ended_at: Option<String>,
    /// To find it by.
    pub labels: BTreeMap<String, String>,
    /// The key that it was started with.
    pub idempotency_key: Option<String>,
    /// In the definition's order.
    pub steps: Vec<Step>,
    /// Why it stands still, if it does.
    pub waiting_on: Vec<WaitingOn>,
}

/// A step of a workflow.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Its name in the definition.
    pub name: String,
    /// For people.
    pub title: Option<String>,
    /// `PENDING`, `COMPLETED`, `COMPENSATED`, …
    pub status: String,
    /// Attempts to do it that began.
    pub attempts: u32,
    /// Attempts to undo it that began.
    pub compensation_attempts: u32,
    /// When its command was first issued.
    pub queued_at: Option<String>,
    /// When its first attempt started.
    pub started_at: Option<String>,
    /// When it was settled.
    pub ended_at: Option<String>,
    /// What it answered.
    pub output: Option<Value>,
    /// Its last failure, of either side.
    pub error: Option<Failure>,
}

/// A reason why a workflow stands still.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct WaitingOn {
    /// `NO_WORKER`, `IN_FLIGHT`, `BACKOFF`, …
    pub kind: String,
    /// The step that waits.
    pub step: Option<String>,
    /// Since when.
    pub since: Option<String>,
    /// Until when, where that is known.
    pub until: Option<String>,
    /// In words.
    pub detail: Option<String>,
}

/// A page of workflows, newest first.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct WorkflowPage {
    /// The workflows.
    pub workflows: Vec<Workflow>,
    /// Asks for the next page; absent or empty on the last.
    pub next_page_token: Option<String>,
}

/// How many workflows there are of each value.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// One for each value.
    pub counts: Vec<Count>,
}

/// How many workflows have a value.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Count {
    /// The value, as the API writes it.
    pub value: String,
    /// How many.
    pub count: u64,
}

/// One line of a workflow's history.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Event {
    /// From 1, without a gap.
    pub seq: u64,
    /// When it was decided.
    pub time: String,
    /// `STEP_COMPLETED`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The step that it is about.
    pub step: Option<String>,
    /// The attempt that it is about.
    pub attempt: Option<u32>,
    /// What else there is to say; its fields depend on the type.
    pub detail: Value,
    /// Who asked for it, where a person did.
    pub actor: Option<String>,
}

impl Event {
    /// Whether nothing follows it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self.kind.as_str(), "WORKFLOW_COMPLETED" | "WORKFLOW_ROLLED_BACK" | "WORKFLOW_TERMINATED")
    }
}

/// A part of a history, in order.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct EventPage {
    /// The events.
    pub events: Vec<Event>,
}

/// What applying a definition did.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct AppliedDefinition {
    /// The definition's name.
    pub name: String,
    /// Its newest version.
    pub version: u32,
    /// Digest of its content.
    pub digest: String,
    /// Whether this is a new version.
    #[serde(skip)]
    pub created: bool,
}

/// A definition as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DefinitionRecord {
    /// Its name.
    pub name: String,
    /// From 1.
    pub version: u32,
    /// Digest of its content.
    pub digest: String,
    /// For people.
    pub title: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// The text as it was applied.
    pub source: Option<String>,
    /// `yaml` or `json`.
    pub source_format: Option<String>,
    /// When it was applied.
    pub created_at: Option<String>,
    /// Who applied it.
    pub actor: Option<String>,
}

/// Definitions, or versions of one.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DefinitionList {
    /// The definitions.
    #[serde(alias = "versions")]
    pub definitions: Vec<DefinitionRecord>,
}

/// How a service is reached, and how it fares.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServiceRecord {
    /// Its name.
    pub name: String,
    /// Where it is called, when it has no worker.
    pub http: Option<Value>,
    /// What else the server says of it.
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}

/// The services.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServiceList {
    /// By name.
    pub services: Vec<ServiceRecord>,
}

/// A message that nobody could act on.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DeadLetter {
    /// Its id.
    pub id: String,
    /// Where it came from.
    pub topic: String,
    /// Its key there.
    pub key: String,
    /// Why nobody could act on it.
    pub reason: String,
    /// When it was put here.
    pub at: String,
    /// How large it is.
    pub bytes: u64,
    /// What it holds, as text as far as it is.
    pub payload: String,
}

/// A part of the messages that nobody could act on.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct DeadLetterPage {
    /// Newest first.
    pub dead_letters: Vec<DeadLetter>,
    /// Asks for the next page; empty on the last.
    pub next_page_token: String,
}

/// A process that is there.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Process {
    /// A random identity at each boot.
    pub instance: String,
    /// `api-gateway`, `state-store`, `saga-executor`, `leader-elector`
    pub kind: String,
    /// Where it listens.
    pub address: String,
    /// When it was first heard of.
    pub since: Option<String>,
    /// When it was last heard of.
    pub seen_at: Option<String>,
    /// What else it says of itself.
    pub about: Value,
}

/// The processes that are there.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ProcessList {
    /// By kind.
    pub processes: Vec<Process>,
}

/// A server's health.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Health {
    /// In a word.
    pub status: String,
}

/// A server's release.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Version {
    /// `0.1.0`
    pub version: String,
}

/// A lock that is held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Lock {
    /// What is locked.
    pub key: String,
    /// Who holds it, as it calls itself.
    pub owner: String,
    /// Higher than that of every hold of the same key before it: to be checked where something is done on behalf
    /// of the lock.
    pub fencing_token: u64,
    /// Since when.
    pub acquired_at: String,
    /// When it is free unless it is renewed.
    pub expires_at: String,
}

/// A part of the locks that are held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LockPage {
    /// By key.
    pub locks: Vec<Lock>,
    /// Asks for the next page; empty on the last.
    pub next_page_token: String,
}

/// What became of a lock that was to be given back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Released {
    /// False: nobody held it.
    pub released: bool,
}

/// Who leads an election.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Leader {
    /// What is led.
    pub name: String,
    /// Who leads it, as it calls itself.
    pub candidate: String,
    /// Higher than that of every term before it.
    pub fencing_token: u64,
    /// When the term began.
    pub since: String,
}

/// Who leads what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ElectionList {
    /// By name.
    pub elections: Vec<Leader>,
}

/// What became of a leader that was to step down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SteppedDown {
    /// False: nobody led.
    pub ended: bool,
}
