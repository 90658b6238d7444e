//! Workflows.

use crate::layer::layer;
use crate::{EncodedTransition, EncodedWorkflow, Error, Field, Filter, Loaded};
use async_trait::async_trait;
use goconductor_saga::{Event, Json, OwedKey, RollbackCause, Status, Timestamp, TraceContext, WorkflowId};
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
        let stored = self.load_encoded(ids).await?;
        ids.iter().zip(stored).map(|(id, found)| found.map(|found| found.decode(*id)).transpose()).collect()
    }

    /// Loads workflows without decoding them, for callers that pass them on.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn load_encoded(&self, ids: &[WorkflowId]) -> Result<Vec<Option<EncodedWorkflow>>, Error>;

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
    async fn heads(&self, ids: &[WorkflowId]) -> Result<Vec<WorkflowHead>, Error>;

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
    fn load_encoded(ids: &[WorkflowId]) -> Vec<Option<EncodedWorkflow>>;
    fn history(id: WorkflowId, after_seq: u64, limit: u32) -> Vec<Event>;
    fn heads(ids: &[WorkflowId]) -> Vec<WorkflowHead>;
    fn list(request: &ListRequest) -> ListPage;
    fn counts(namespace: &str, by: Field, filter: Option<&Filter>) -> Vec<Count>;
    fn ids(after: Option<WorkflowId>, limit: u32) -> Vec<WorkflowId>;
});

/// One write of a batch.
#[derive(Debug, Clone)]
pub enum Write {
    /// A new workflow.
    Start(NewWorkflow),
    /// A transition of an existing workflow.
    Transition(TransitionWrite),
}

/// The start of a workflow.
#[derive(Debug, Clone)]
pub struct NewWorkflow {
    /// The first transition, from `seq` 0.
    pub write: TransitionWrite,
    /// The idempotency key, which is unique in the namespace.
    pub idempotency_key: Option<String>,
    /// A digest of definition and input. A repeated start must have the same digest.
    pub request_digest: String,
}

impl NewWorkflow {
    /// Returns the parent of a child whose idempotency key does not begin with its id, because the definition or the
    /// operator chose the key. The retention must know it, so the store records it apart.
    pub(crate) fn unnamed_parent(&self) -> Option<WorkflowId> {
        let parent = self.write.record.parent?;
        let key = self.idempotency_key.as_deref()?;
        let rest = key.strip_prefix(parent.to_string().as_str());
        (!rest.is_some_and(|rest| rest.starts_with('/'))).then_some(parent)
    }
}

/// A transition to write.
#[derive(Debug, Clone)]
pub struct TransitionWrite {
    /// The encoded transition.
    pub record: Arc<EncodedTransition>,
    /// The ledger rows whose commands the writer publishes immediately after the commit. They count as delivered
    /// again at `now`, and are due again at `redeliver_at`. The other rows are due at their own time, and are left to the
    /// dispatcher.
    pub publishes: Vec<OwedKey>,
    /// The current time.
    pub now: Timestamp,
    /// Time when published commands are due again.
    pub redeliver_at: Timestamp,
    /// The trace of the commit, if it is recorded. It is not stored.
    pub trace: Option<WriteTrace>,
}

/// The trace of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteTrace {
    /// The parent of the spans of the write in other processes. The process that commits may be killed before it exports
    /// its spans, so they are not children of the commit.
    pub parent: TraceContext,
    /// The span of the commit, as a W3C `traceparent`. The spans of the write are linked to it.
    pub commit: String,
}

/// The outcome of one write of a batch.
#[derive(Debug, Clone)]
pub enum WriteOutcome {
    /// The write was committed.
    Written,
    /// A start with the same idempotency key, definition and input exists. Contains its workflow.
    Replayed(Box<Loaded>),
    /// A start with the same idempotency key, but another definition or input, exists.
    KeyConflict(WorkflowId),
    /// A conflict: the workflow is at another `seq`, or the id of a start exists. Contains the current workflow. Nothing
    /// was written.
    Lost(Box<Loaded>),
    /// The workflow does not exist.
    Missing,
}

/// The `seq` and the status of a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkflowHead {
    /// The workflow.
    pub id: WorkflowId,
    /// The number of its last event.
    pub seq: u64,
    /// The status.
    pub status: Status,
}

/// An entry of a workflow list.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The workflow.
    pub id: WorkflowId,
    /// The definition's name.
    pub definition: String,
    /// The definition's version.
    pub version: u32,
    /// The status.
    pub status: Status,
    /// The cause of the rollback.
    pub cause: Option<RollbackCause>,
    /// The number of its last event.
    pub seq: u64,
    /// Time when the start was accepted.
    pub created_at: Timestamp,
    /// Time when the workflow became final.
    pub ended_at: Option<Timestamp>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The idempotency key of the start.
    pub idempotency_key: Option<String>,
    /// The first error.
    pub error: Option<Json>,
}

/// A request for a page of workflows.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// The namespace.
    pub namespace: String,
    /// The filter. `None` matches all workflows.
    pub filter: Option<Filter>,
    /// Maximum number of workflows, 1 to 1000.
    pub limit: u32,
    /// The last workflow of the previous page. Only older workflows are returned.
    pub before: Option<WorkflowId>,
}

/// A page of workflows, newest first.
#[derive(Debug, Clone)]
pub struct ListPage {
    /// The workflows.
    pub workflows: Vec<Summary>,
    /// Whether older workflows exist.
    pub more: bool,
}

/// The number of workflows with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The field.
    pub by: Field,
    /// The value, as the API writes it.
    pub value: String,
    /// The number of workflows.
    pub count: u64,
}
