//! A run as plain data: the requests of clients, the state and history of each workflow, and the effect logs of the
//! participants. It is stored as JSON.

use goconductor_saga::{Failure, Json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The record of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The starts that clients requested. A start that was sent several times is listed once.
    pub starts: Vec<Start>,
    /// Every workflow that exists after the run.
    pub workflows: Vec<History>,
    /// The effects in the logs of all participants, in any order.
    pub effects: Vec<Effect>,
    /// The dispatch ledger, if it was read.
    #[serde(default)]
    pub ledger: Option<Vec<LedgerRow>>,
    /// The output of `goconductor doctor`.
    #[serde(default)]
    pub doctor: Option<Doctor>,
    /// The number of refused writes and outcomes of stale holders, as counted by the processes.
    #[serde(default)]
    pub refused_writes: u64,
}

/// A start that a client requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Its idempotency key.
    pub key: Option<String>,
    /// The definition.
    pub definition: String,
    /// [`digest`](crate::check::digest) of its input.
    pub input: String,
    /// The id of the acknowledgement, or `None` if no response acknowledged the start.
    pub acknowledged: Option<String>,
    /// The time of the first request.
    pub at: UtcTime,
}

/// A workflow with its history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The workflow.
    pub id: String,
    /// Its definition.
    pub graph: Arc<Graph>,
    /// `GET /workflows/{id}`
    pub view: View,
    /// `GET /workflows/{id}/events`, all pages.
    pub events: Vec<ShownEvent>,
}

/// `GET /definitions/{name}/versions/{version}/graph`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// The definition.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The steps, in the definition's order.
    pub nodes: Vec<Node>,
    /// The dependencies between steps.
    pub edges: Vec<Edge>,
}

/// A step of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The step.
    pub name: String,
    /// `compensatable`, `pivot`, `retriable`
    pub kind: String,
    /// The action of the compensation, or `None` if there is nothing to undo.
    pub compensate: Option<String>,
    /// `all`, `any`, `settled`
    pub join: String,
}

/// A dependency between two steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The step that must settle first.
    pub from: String,
    /// The dependent step.
    pub to: String,
}

/// A workflow as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The workflow.
    pub id: String,
    /// The definition.
    pub definition: String,
    /// Its version.
    pub version: u32,
    /// `COMPLETED`, …
    pub status: String,
    /// The cause of a rollback.
    pub cause: Option<String>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The idempotency key of the start.
    pub idempotency_key: Option<String>,
    /// The input.
    pub input: Json,
    /// The output.
    pub output: Json,
    /// The first failure.
    pub error: Option<Failure>,
    /// The number of its last event.
    pub seq: u64,
    /// The time at which the start was accepted.
    pub created_at: UtcTime,
    /// The time at which the status became final.
    pub ended_at: Option<UtcTime>,
    /// The deadline of the forward part.
    #[serde(default)]
    pub deadline: Option<UtcTime>,
    /// The steps in the definition's order.
    pub steps: Vec<StepView>,
    /// The reasons why the workflow makes no progress.
    pub waiting_on: Vec<Waiting>,
    /// The workflow that started this one for one of its steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Relative>,
    /// The workflows that the steps started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Relative>,
}

/// The parent or a child of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relative {
    /// The workflow.
    pub id: String,
    /// The step of the parent.
    pub step: Option<String>,
}

impl View {
    /// Whether the workflow runs elements of a step with `for_each`. The name of its definition is
    /// `definition/step[from..to]`.
    #[must_use]
    pub fn runs_elements(&self) -> bool {
        self.definition.contains('[')
    }
}

/// A step of a workflow as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// The step.
    pub name: String,
    /// `COMPLETED`, …
    pub status: String,
    /// The number of execute attempts.
    pub attempts: u32,
    /// The number of compensate attempts.
    pub compensation_attempts: u32,
    /// The time at which the step was first issued.
    pub queued_at: Option<UtcTime>,
    /// The time at which the first attempt started.
    pub started_at: Option<UtcTime>,
    /// The time at which the step settled.
    pub ended_at: Option<UtcTime>,
    /// The output.
    pub output: Json,
    /// The last failure.
    pub error: Option<Failure>,
    /// The compensation, if it was issued.
    #[serde(default)]
    pub compensation: Option<CompensationView>,
}

/// The compensation of a step as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompensationView {
    /// The time at which it was issued.
    pub queued_at: Option<UtcTime>,
    /// The time at which its first attempt started.
    pub started_at: Option<UtcTime>,
    /// The time at which it settled.
    pub ended_at: Option<UtcTime>,
}

/// A reason why a workflow makes no progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// `OPERATOR`, …
    pub kind: String,
    /// The step, if the reason is about one.
    pub step: Option<String>,
    /// The explanation.
    pub detail: String,
}

/// An event of a history as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownEvent {
    /// The number, from 1 without gaps.
    pub seq: u64,
    /// The time of the decision.
    pub time: UtcTime,
    /// `STEP_COMPLETED`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the step.
    pub step: Option<String>,
    /// The attempt, from 1.
    pub attempt: Option<u32>,
    /// The other fields of the event.
    pub detail: Json,
    /// The person who requested it, if any.
    pub actor: Option<String>,
}

/// A line of a participant's effect log: a request and its effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The service.
    pub participant: String,
    /// The process that wrote the log. Each process of a participant has its own log and continues it after a restart.
    pub process: String,
    /// The number of the line in its log, from 1 without gaps.
    pub number: u64,
    /// The wall-clock time of the effect, in microseconds since 1970.
    pub at: i64,
    /// `GoConductor-Workflow-Id`
    pub workflow: String,
    /// `GoConductor-Step`
    pub step: String,
    /// `GoConductor-Operation`: `execute` or `compensate`
    pub operation: String,
    /// `Idempotency-Key`
    pub key: String,
    /// `GoConductor-Attempt`
    pub attempt: u32,
    /// The effect, or `None` if nothing happened and the request may be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<EffectKind>,
    /// The lock under which the request was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// The time of the response, in microseconds since 1970, if the participant records it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<i64>,
}

/// The effect of a request at its participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectKind {
    /// It took effect for the first time.
    Applied,
    /// It had already taken effect.
    Duplicate,
    /// The participant refused it, and nothing happened.
    Refused,
    /// A compensate without a preceding execute. It was recorded, and nothing else happened.
    Null,
}

/// A lock and the fencing token of its holder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence {
    /// The key of the lock.
    pub lock: String,
    /// The token, which is higher for each holder than for the previous one.
    pub token: u64,
}

/// A row of the dispatch ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The workflow.
    pub workflow: String,
    /// The key in the store's format: `0/execute`, `timer/workflow`, …
    pub key: String,
}

/// `goconductor doctor -o json`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doctor {
    /// The number of checked workflows.
    pub checked: u64,
    /// Workflows that changed during every attempt to read them.
    pub too_busy: Vec<String>,
    /// The violations.
    pub findings: Vec<DoctorFinding>,
}

/// A violation that `doctor` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorFinding {
    /// `GC3011`, …
    pub code: String,
    /// The workflow.
    pub workflow: String,
    /// The explanation.
    pub detail: String,
}

/// A time in microseconds since 1970. Its text form is RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UtcTime(pub i64);

impl UtcTime {
    /// Parses a time in RFC 3339.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|time| Self(time.as_microsecond()))
    }
}

impl std::fmt::Display for UtcTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{} µs", self.0),
        }
    }
}

impl Serialize for UtcTime {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UtcTime {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a time in RFC 3339")))
    }
}
