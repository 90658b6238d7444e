//! Workflows as they are written and read.

use crate::layer::layer;
use crate::{Error, Field, Filter, Record, Stored};
use async_trait::async_trait;
use goconductor_saga::{Event, Json, OwedKey, RollbackCause, State, Status, Timestamp, WorkflowId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Workflows and their histories.
#[async_trait]
pub trait WorkflowStore: std::fmt::Debug + Send + Sync {
    /// Writes a batch of starts and transitions in one database transaction.
    ///
    /// Each write is validated on its own. A transition that conflicts, or a start whose id exists, gets its own
    /// outcome and does not affect the other writes. The outcomes are in the order of the batch. They are returned
    /// only after the batch is durable.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn write(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, Error>;

    /// Loads workflows, in the order of `ids`. The entry of an id without a workflow is `None`.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached and `Error::Corrupt` if a stored state cannot be
    /// decoded.
    async fn load(&self, ids: &[WorkflowId]) -> Result<Vec<Option<Loaded>>, Error> {
        let stored = self.stored(ids).await?;
        ids.iter().zip(stored).map(|(id, found)| found.map(|found| found.loaded(*id)).transpose()).collect()
    }

    /// Loads workflows without decoding them, for callers that pass them on.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn stored(&self, ids: &[WorkflowId]) -> Result<Vec<Option<Stored>>, Error>;

    /// Returns up to `limit` events of a workflow's history that follow `after_seq`, in order.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached and `Error::Corrupt` if an event cannot be
    /// decoded.
    async fn history(&self, id: WorkflowId, after_seq: u64, limit: u32) -> Result<Vec<Event>, Error>;

    /// Returns `seq` and status of the workflows of `ids` that exist, in one query.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn seen(&self, ids: &[WorkflowId]) -> Result<Vec<Seen>, Error>;

    /// Returns a page of workflows, newest first.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn list(&self, request: &ListRequest) -> Result<ListPage, Error>;

    /// Counts the workflows of a namespace that match the filter, for each value of the field `by`.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn counts(&self, namespace: &str, by: Field, filter: Option<&Filter>) -> Result<Vec<Count>, Error>;

    /// Returns up to `limit` workflow ids of all namespaces that follow `after`, in order. Used by full scans such as
    /// `goconductor doctor`.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn ids(&self, after: Option<WorkflowId>, limit: u32) -> Result<Vec<WorkflowId>, Error>;
}

layer!(WorkflowStore, WorkflowLayer {
    fn write(batch: Vec<Write>) -> Vec<WriteOutcome>;
    fn stored(ids: &[WorkflowId]) -> Vec<Option<Stored>>;
    fn history(id: WorkflowId, after_seq: u64, limit: u32) -> Vec<Event>;
    fn seen(ids: &[WorkflowId]) -> Vec<Seen>;
    fn list(request: &ListRequest) -> ListPage;
    fn counts(namespace: &str, by: Field, filter: Option<&Filter>) -> Vec<Count>;
    fn ids(after: Option<WorkflowId>, limit: u32) -> Vec<WorkflowId>;
});

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
