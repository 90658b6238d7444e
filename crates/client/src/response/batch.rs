//! Responses about batches.

use super::Workflow;
use serde::Deserialize;

/// A batch: an operation on many workflows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Batch {
    /// The id.
    pub id: String,
    /// The status: `RUNNING`, `PAUSED`, `COMPLETED` or `CANCELLED`.
    pub status: String,
    /// The operation.
    pub operation: String,
    /// The step that the operation applies to.
    pub step: Option<String>,
    /// The filter that selected the workflows.
    pub filter: String,
    /// The reason.
    pub reason: String,
    /// The caller that created the batch.
    pub actor: Option<String>,
    /// The maximum number of operations per second.
    pub rate: u32,
    /// The time of the creation.
    pub created_at: String,
    /// The time of the end.
    pub ended_at: Option<String>,
    /// The number of workflows.
    pub total: u64,
    /// Workflows without a result.
    pub pending: u64,
    /// Workflows to which the operation was applied.
    pub done: u64,
    /// Workflows whose status did not allow the operation.
    pub refused: u64,
    /// Workflows for which the operation failed for another reason.
    pub failed: u64,
}

impl Batch {
    /// Whether the batch has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.status.as_str(), "COMPLETED" | "CANCELLED")
    }
}

/// The workflows that a batch would have.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct BatchPreview {
    /// The number of workflows.
    pub count: u64,
    /// The newest of them.
    pub sample: Vec<Workflow>,
}

/// A page of batches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BatchPage {
    /// The batches, newest first.
    pub batches: Vec<Batch>,
    /// The token of the next page. Empty on the last page.
    pub next_page_token: String,
}

/// A workflow of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BatchItem {
    /// The id of the workflow.
    pub workflow_id: String,
    /// The status: `PENDING`, `STARTED`, `DONE`, `REFUSED` or `FAILED`.
    pub status: String,
    /// The error code of a workflow that was refused or failed.
    pub code: Option<String>,
    /// Why it was refused or failed.
    pub detail: Option<String>,
    /// The time of the result.
    pub ended_at: Option<String>,
}

/// A page of the workflows of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BatchItemPage {
    /// The workflows, in the order of their ids.
    pub items: Vec<BatchItem>,
    /// The token of the next page. Empty on the last page.
    pub next_page_token: String,
}
