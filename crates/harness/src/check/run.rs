//! A run as plain data: what clients asked for, what the workflows say of themselves, what the participants
//! kept on record. It is written to files and read from them as JSON.

use goconductor_saga::{Failure, Json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// All that is known of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// What clients asked for: one for each order of theirs, however often it was sent.
    pub starts: Vec<Start>,
    /// Every workflow that there is after the run.
    pub workflows: Vec<History>,
    /// What the participants kept on record, all of them, in any order.
    pub effects: Vec<Effect>,
    /// The dispatch ledger, if it was read.
    #[serde(default)]
    pub ledger: Option<Vec<LedgerRow>>,
    /// What `goconductor doctor` said of the store.
    #[serde(default)]
    pub doctor: Option<Doctor>,
    /// Writes and answers of those who had been replaced that were refused, as the processes counted them.
    #[serde(default)]
    pub refused_writes: u64,
}

/// A start that a client asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Its idempotency key.
    pub key: Option<String>,
    /// The definition.
    pub definition: String,
    /// [`digest`](crate::check::digest) of its input.
    pub input: String,
    /// The id that it was answered with; none: nobody ever said that it was accepted.
    pub acknowledged: Option<String>,
    /// When it was first sent.
    pub at: Moment,
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
    /// `GET /workflows/{id}/events`, all of them.
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
    /// What waits for what.
    pub edges: Vec<Edge>,
}

/// A step of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// The step.
    pub name: String,
    /// `compensatable`, `pivot`, `retriable`
    pub kind: String,
    /// What undoes it; none: there is nothing to undo.
    pub compensate: Option<String>,
    /// `all`, `any`, `settled`
    pub join: String,
}

/// One step waits for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// The one that is waited for.
    pub from: String,
    /// The one that waits.
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
    /// Why it is rolled back.
    pub cause: Option<String>,
    /// To find it by.
    pub labels: BTreeMap<String, String>,
    /// The key that it was started under.
    pub idempotency_key: Option<String>,
    /// What it was started with.
    pub input: Json,
    /// Its result.
    pub output: Json,
    /// What went wrong first.
    pub error: Option<Failure>,
    /// The number of its last event.
    pub seq: u64,
    /// When its start was accepted.
    pub created_at: Moment,
    /// When it became final.
    pub ended_at: Option<Moment>,
    /// When the time of its forward part is up.
    #[serde(default)]
    pub deadline: Option<Moment>,
    /// In the definition's order.
    pub steps: Vec<StepView>,
    /// Why it stands still.
    pub waiting_on: Vec<Waiting>,
}

/// A step of a workflow as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// The step.
    pub name: String,
    /// `COMPLETED`, …
    pub status: String,
    /// Attempts to do it.
    pub attempts: u32,
    /// Attempts to undo it.
    pub compensation_attempts: u32,
    /// When it was first issued.
    pub queued_at: Option<Moment>,
    /// When its first attempt started.
    pub started_at: Option<Moment>,
    /// When it was settled.
    pub ended_at: Option<Moment>,
    /// What it answered.
    pub output: Json,
    /// Its last failure.
    pub error: Option<Failure>,
    /// Its undo, once that is issued.
    #[serde(default)]
    pub compensation: Option<CompensationView>,
}

/// The undo of a step as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompensationView {
    /// When it was issued.
    pub queued_at: Option<Moment>,
    /// When its first attempt started.
    pub started_at: Option<Moment>,
    /// When it was settled.
    pub ended_at: Option<Moment>,
}

/// A reason why a workflow stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// `OPERATOR`, …
    pub kind: String,
    /// At which step.
    pub step: Option<String>,
    /// In words.
    pub detail: String,
}

/// A line of a history as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownEvent {
    /// From 1, without a gap.
    pub seq: u64,
    /// When it was decided.
    pub time: Moment,
    /// `STEP_COMPLETED`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// By its name.
    pub step: Option<String>,
    /// From 1.
    pub attempt: Option<u32>,
    /// What else there is to say.
    pub detail: Json,
    /// Who asked for it, where a person did.
    pub actor: Option<String>,
}

/// A line of a participant's own log: one request, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// The service.
    pub participant: String,
    /// Whose log it is: each process of a participant keeps one, and keeps it when it is started again.
    pub process: String,
    /// The line's number in that log, from 1 without a gap.
    pub number: u64,
    /// The wall clock, in microseconds since 1970, when it took effect.
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
    /// What became of it; none: nothing, and it may be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Took>,
    /// The lock that it was done under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    /// When it was answered, in microseconds since 1970, where the participant keeps that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<i64>,
}

/// What became of a request at its participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Took {
    /// It took effect: for the first time.
    Applied,
    /// It had taken effect before.
    Duplicate,
    /// It was refused: nothing happened.
    Refused,
    /// It was to undo what never happened: that is remembered, and nothing else happened.
    Null,
}

/// A lock, and the token that its holder was given.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence {
    /// Its key.
    pub lock: String,
    /// Higher for each holder than for the one before.
    pub token: u64,
}

/// A row of the dispatch ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The workflow.
    pub workflow: String,
    /// As the store writes it: `0/execute`, `timer/workflow`, …
    pub key: String,
}

/// `goconductor doctor -o json`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doctor {
    /// How many workflows were checked.
    pub checked: u64,
    /// Workflows that changed each time they were looked at.
    pub too_busy: Vec<String>,
    /// What does not hold.
    pub findings: Vec<DoctorFinding>,
}

/// Something that does not hold of a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoctorFinding {
    /// `GC3011`, …
    pub code: String,
    /// The workflow.
    pub workflow: String,
    /// In words.
    pub detail: String,
}

/// A point in time: microseconds since 1970, as text RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// A time in RFC 3339.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|time| Self(time.as_microsecond()))
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{} µs", self.0),
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no time in RFC 3339")))
    }
}
