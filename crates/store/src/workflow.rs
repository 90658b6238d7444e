//! Workflows as they are written and read.

use goconductor_saga::{Json, OwedKey, RollbackCause, State, Status, Timestamp, WorkflowId};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Field, Filter, Record};

/// One member of a group.
#[derive(Debug, Clone)]
pub enum Write {
    /// A new workflow.
    Start(NewWorkflow),
    /// A change of one that is there.
    Transition(TransitionWrite),
}

/// A new workflow, with the idempotency key of its start.
#[derive(Debug, Clone)]
pub struct NewWorkflow {
    /// Its first transition, from `seq` 0.
    pub write: TransitionWrite,
    /// Unique in its namespace.
    pub idempotency_key: Option<String>,
    /// What a repeat has to be equal in: a digest of definition and input.
    pub request_digest: String,
}

/// A transition, with which of its commands the writer publishes itself once it is written.
#[derive(Debug, Clone)]
pub struct TransitionWrite {
    /// What to write.
    pub record: Arc<Record>,
    /// Rows of its ledger changes whose commands the writer publishes right after the
    /// commit: they count as delivered once more, at `now`, and are due again at `redeliver_at`. All other
    /// rows are due as they say, not delivered, and left to the duty runner.
    pub publishes: Vec<OwedKey>,
    /// The present time.
    pub now: Timestamp,
    /// When published commands are due again.
    pub redeliver_at: Timestamp,
}

/// What became of one member of a group.
#[derive(Debug, Clone)]
pub enum WriteOutcome {
    /// It is written.
    Written,
    /// A start with the same idempotency key is there: this is its workflow.
    Replayed(Box<Loaded>),
    /// A start with the same idempotency key is there, of another definition or input.
    KeyConflict(WorkflowId),
    /// The workflow has moved on, or the id of a start is taken: this is how it stands. Nothing of the
    /// transition was written.
    Lost(Box<Loaded>),
    /// No such workflow.
    Missing,
}

/// A workflow as it stands.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Its state.
    pub state: State,
    /// The key that it was started with.
    pub idempotency_key: Option<String>,
}

/// `seq` and status of a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The workflow.
    pub id: WorkflowId,
    /// The number of its last event.
    pub seq: u64,
    /// Its status.
    pub status: Status,
}

/// What a list shows of a workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The workflow.
    pub id: WorkflowId,
    /// The definition's name.
    pub definition: String,
    /// The definition's version.
    pub version: u32,
    /// Its status.
    pub status: Status,
    /// Why it is rolled back.
    pub cause: Option<RollbackCause>,
    /// The number of its last event.
    pub seq: u64,
    /// When its start was accepted.
    pub created_at: Timestamp,
    /// When it became final.
    pub ended_at: Option<Timestamp>,
    /// To find it by.
    pub labels: BTreeMap<String, String>,
    /// The key that it was started with.
    pub idempotency_key: Option<String>,
    /// What went wrong first.
    pub error: Option<Json>,
}

/// Which workflows to list.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// Where they live.
    pub namespace: String,
    /// Which; none: all.
    pub filter: Option<Filter>,
    /// At most so many, 1 to 1000.
    pub limit: u32,
    /// Older than this one: the last of the page before.
    pub before: Option<WorkflowId>,
}

/// A page of a list, newest first.
#[derive(Debug, Clone)]
pub struct ListPage {
    /// The workflows.
    pub workflows: Vec<Summary>,
    /// Whether there are older ones.
    pub more: bool,
}

/// How many workflows have a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// Of this field.
    pub by: Field,
    /// The value, as the API writes it.
    pub value: String,
    /// How many.
    pub count: u64,
}
