//! Batches: one operation on many workflows, which are selected once.
//!
//! A batch is created in the status `SELECTING`. Its items are added in pages, and only then does it become `RUNNING`. A
//! runner holds a lease of a running batch. It takes items, applies the operation and records the result of each. An item
//! that was taken by a runner that ended is given to the next one, together with the number of the last event that the
//! workflow had before the operation, so that the next runner finds in the history whether the operation took effect.

use crate::layer::layer;
use crate::{Error, ListRequest};
use async_trait::async_trait;
use goconductor_saga::{Timestamp, WorkflowId};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use uuid::Uuid;

/// Batches of operations on workflows.
#[async_trait]
pub trait WorkflowBatchStore: fmt::Debug + Send + Sync {
    /// Stores a new batch. Returns whether it was stored: `false` if a batch has the same id, which is not changed.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn create_batch(&self, batch: &WorkflowBatch) -> Result<bool, Error>;

    /// Adds a page of workflows to a batch that is `SELECTING`, newest first, like
    /// [`list`](crate::WorkflowStore::list). A workflow that the batch already has is not added again.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost. A
    /// repeated call has the same effect.
    async fn select_batch_items(&self, id: BatchId, page: &ListRequest) -> Result<BatchSelection, Error>;

    /// Changes the status of a batch if its current status is one of `change.from`. Returns the batch after the call and
    /// whether this call changed it, or `None` if the namespace has no such batch. A batch that becomes `RUNNING` can be
    /// leased at once.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn change_batch(
        &self,
        namespace: &str,
        id: BatchId,
        change: &BatchChange,
    ) -> Result<Option<(WorkflowBatch, bool)>, Error>;

    /// Returns a batch of a namespace.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn batch(&self, namespace: &str, id: BatchId) -> Result<Option<WorkflowBatch>, Error>;

    /// Returns at most `limit` batches of a namespace, newest first, older than `before`. Batches that are `SELECTING` or
    /// `DISCARDED` are not included.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn batches(
        &self,
        namespace: &str,
        before: Option<BatchId>,
        limit: u32,
    ) -> Result<Vec<WorkflowBatch>, Error>;

    /// Returns at most `limit` items of a batch, ordered by workflow, behind the workflow `after`, of one status or all.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn batch_items(
        &self,
        id: BatchId,
        status: Option<BatchItemStatus>,
        after: Option<WorkflowId>,
        limit: u32,
    ) -> Result<Vec<BatchItem>, Error>;

    /// Acquires the lease of a running batch whose lease has ended, for `ttl`. Returns `None` if no such batch exists.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost. A lease
    /// whose response was lost ends after `ttl`.
    async fn lease_batch(&self, ttl: Duration) -> Result<Option<(WorkflowBatch, BatchLease)>, Error>;

    /// Renews a lease for `ttl`, and takes at most `limit` items: first those that were taken and have no result, then
    /// pending ones. A batch without such items becomes `COMPLETED`. With a `ttl` and a `limit` of zero, ends the lease.
    /// Returns `None` if the lease was lost or the batch is not running.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost. Items
    /// whose response was lost are returned by the next call.
    async fn take_batch_items(
        &self,
        lease: BatchLease,
        ttl: Duration,
        limit: u32,
    ) -> Result<Option<Vec<TakenItem>>, Error>;

    /// Records the results of items that were taken and have none, and adds them to the counts of the batch. Returns
    /// whether the lease is still held: `false` if nothing was recorded.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost. A
    /// repeated call has the same effect.
    async fn finish_batch_items(&self, lease: BatchLease, results: &[BatchItemResult])
    -> Result<bool, Error>;
}

layer!(WorkflowBatchStore, WorkflowBatchLayer {
    fn create_batch(batch: &WorkflowBatch) -> bool;
    fn select_batch_items(id: BatchId, page: &ListRequest) -> BatchSelection;
    fn change_batch(namespace: &str, id: BatchId, change: &BatchChange) -> Option<(WorkflowBatch, bool)>;
    fn batch(namespace: &str, id: BatchId) -> Option<WorkflowBatch>;
    fn batches(namespace: &str, before: Option<BatchId>, limit: u32) -> Vec<WorkflowBatch>;
    fn batch_items(
        id: BatchId,
        status: Option<BatchItemStatus>,
        after: Option<WorkflowId>,
        limit: u32
    ) -> Vec<BatchItem>;
    fn lease_batch(ttl: Duration) -> Option<(WorkflowBatch, BatchLease)>;
    fn take_batch_items(lease: BatchLease, ttl: Duration, limit: u32) -> Option<Vec<TakenItem>>;
    fn finish_batch_items(lease: BatchLease, results: &[BatchItemResult]) -> bool;
});

/// The id of a batch: a UUIDv7, so that ids are ordered by the time of the creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub Uuid);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BatchId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        Uuid::try_parse(text).map(Self)
    }
}

/// Defines an enum whose variants have names that are stored and shown.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// All values.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns the name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Returns the value with a name.
            #[must_use]
            pub fn of_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|each| each.as_str() == name)
            }
        }
    };
}

named! {
    /// The operation of a batch.
    BatchOperation {
        /// Retries a step, or each step that needs an operator.
        Retry "retry";
        /// Cancels the workflow: it rolls back.
        Cancel "cancel";
        /// Pauses the workflow.
        Pause "pause";
        /// Resumes the workflow.
        Resume "resume";
        /// Skips a step.
        Skip "skip";
        /// Ends the workflow without a rollback.
        Terminate "terminate";
    }
}

named! {
    /// The status of a batch.
    BatchStatus {
        /// Its workflows are being selected. No operation has been applied.
        Selecting "SELECTING";
        /// The operation is being applied.
        Running "RUNNING";
        /// Paused by an operator.
        Paused "PAUSED";
        /// Each workflow has a result.
        Completed "COMPLETED";
        /// Cancelled by an operator. Workflows without a result keep none.
        Cancelled "CANCELLED";
        /// The selection was not accepted. The maintenance removes the batch.
        Discarded "DISCARDED";
    }
}

named! {
    /// The status of a workflow in a batch.
    BatchItemStatus {
        /// The operation has not been applied yet.
        Pending "PENDING";
        /// The operation is being applied.
        Started "STARTED";
        /// The operation was applied.
        Done "DONE";
        /// The status of the workflow did not allow the operation.
        Refused "REFUSED";
        /// The operation failed for another reason.
        Failed "FAILED";
    }
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowBatch {
    /// Identifies the batch.
    pub id: BatchId,
    /// The namespace of the batch and of all its workflows.
    pub namespace: String,
    /// The status.
    pub status: BatchStatus,
    /// The operation.
    pub operation: BatchOperation,
    /// The step that the operation applies to.
    pub step: Option<String>,
    /// The filter that selected the workflows, as the caller wrote it.
    pub filter: String,
    /// The reason, which the history of each workflow records.
    pub reason: String,
    /// The caller that created the batch.
    pub actor: Option<String>,
    /// Maximum number of operations per second.
    pub rate: u32,
    /// Time of the creation.
    pub created_at: Timestamp,
    /// Time when the batch completed or was cancelled.
    pub ended_at: Option<Timestamp>,
    /// Numbers of workflows.
    pub counts: BatchCounts,
}

/// Numbers of workflows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchCounts {
    /// All workflows. 0 while they are selected.
    pub total: u64,
    /// Workflows to which the operation was applied.
    pub done: u64,
    /// Workflows whose status did not allow it.
    pub refused: u64,
    /// Workflows for which it failed for another reason.
    pub failed: u64,
}

impl BatchCounts {
    /// Returns the number of workflows without a result.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.total.saturating_sub(self.done).saturating_sub(self.refused).saturating_sub(self.failed)
    }
}

/// A page of workflows that was added to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSelection {
    /// Number of workflows of the page.
    pub count: u64,
    /// The oldest workflow of the page. The next page begins behind it.
    pub last: Option<WorkflowId>,
    /// Whether the page was full, so that more workflows may follow.
    pub more: bool,
}

/// A change of the status of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchChange {
    /// The statuses in which the change is possible.
    pub from: Vec<BatchStatus>,
    /// The new status.
    pub to: BatchStatus,
    /// The number of selected workflows, when the selection ends.
    pub total: Option<u64>,
}

/// A workflow of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchItem {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The status in the batch.
    pub status: BatchItemStatus,
    /// The error code of a workflow that was refused or failed.
    pub code: Option<String>,
    /// Why it was refused or failed.
    pub detail: Option<String>,
    /// Time of the result, by the database's clock.
    pub ended_at: Option<Timestamp>,
}

/// The right to apply the operation of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLease {
    /// The batch.
    pub id: BatchId,
    /// A number that rises with each lease of the batch.
    pub token: u64,
}

/// A workflow to which a runner applies the operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenItem {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The number of the workflow's last event when the item was taken first. 0 if the workflow did not exist.
    pub seq: u64,
    /// Whether the item was taken before, so that the operation may have taken effect.
    pub is_repeated: bool,
}

/// The result of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchItemResult {
    /// The workflow.
    pub workflow: WorkflowId,
    /// `DONE`, `REFUSED` or `FAILED`.
    pub status: BatchItemStatus,
    /// The error code, unless the operation was applied.
    pub code: Option<String>,
    /// Why the operation was not applied.
    pub detail: Option<String>,
}

impl BatchStatus {
    /// Returns whether the status is the last one.
    #[must_use]
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Discarded)
    }
}

/// A batch whose selection did not end within this time is removed: the process that selected was killed.
pub(crate) const SELECTION_LIMIT: Duration = Duration::from_secs(3600);
/// Number of items removed in one transaction.
pub(crate) const REMOVED_ITEMS: u32 = 2000;

/// Parses a stored name.
pub(crate) fn stored_name<T>(what: &str, name: &str, parse: fn(&str) -> Option<T>) -> Result<T, Error> {
    parse(name).ok_or_else(|| Error::corrupt(what, format!("unknown name {name:?}")))
}
