//! Batches: one operation on all workflows that match a filter.
//!
//! The workflows are selected once, when the batch is created. The batch is accepted only if their number is the one that
//! the caller expects. [`batch_runner`](crate::batch_runner) then applies the operation.

use super::reason::required_reason;
use super::workflows::names_elements;
use super::{Api, CallContext, PageRequest, cut_to_page, invalid_page_token};
use crate::audit_notes;
use crate::error::{
    ApiResult, BATCH_COUNT, BATCH_STATUS, BATCH_TOO_LARGE, INVALID_BATCH, NO_BATCH, PARAMETER, Problem,
};
use crate::filter;
use crate::time::Time;
use crate::view::{self, SummaryView};
use goconductor_saga::WorkflowId;
use goconductor_service_kit::permission::Permission;
use goconductor_store::{
    BatchChange, BatchCounts, BatchId, BatchItem, BatchItemStatus, BatchOperation, BatchStatus, Field,
    Filter, ListRequest, WorkflowBatch,
};
use goconductor_transition::clock;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

/// The most workflows of a batch.
pub(crate) const MAX_WORKFLOWS: u64 = 1_000_000;
/// The most operations per second.
pub(crate) const MAX_RATE: u32 = 10_000;
/// The operations per second if the request does not set them. Other work takes precedence over a batch.
pub(crate) const DEFAULT_RATE: u32 = 200;
/// Number of workflows that are selected at once.
const SELECTION_PAGE: u32 = 1000;
/// Number of workflows that a dry run shows.
const SAMPLE: u32 = 10;

/// A request to create a batch.
#[derive(Debug)]
pub(crate) struct CreateBatch {
    /// The name of the operation.
    pub(crate) operation: String,
    /// Empty for all workflows that have not ended.
    pub(crate) filter: String,
    pub(crate) step: Option<String>,
    pub(crate) reason: Option<String>,
    /// `None` for a dry run.
    pub(crate) expected_count: Option<u64>,
    /// Operations per second.
    pub(crate) rate: Option<u32>,
    pub(crate) dry_run: bool,
}

/// The result of a request to create a batch.
#[derive(Debug)]
pub(crate) enum CreatedBatch {
    /// The batch was created.
    Batch(Box<BatchView>),
    /// Nothing was changed.
    Preview(BatchPreview),
}

/// The workflows that a batch would have.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchPreview {
    /// Always true: nothing was changed.
    pub(crate) dry_run: bool,
    /// Number of matching workflows that have not ended.
    pub(crate) count: u64,
    /// The newest of them, at most 10.
    pub(crate) sample: Vec<SummaryView>,
}

/// A batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchView {
    pub(crate) id: String,
    pub(crate) namespace: String,
    /// `RUNNING`, `PAUSED`, `COMPLETED`, `CANCELLED`
    pub(crate) status: &'static str,
    /// `retry`, `cancel`, `pause`, `resume`, `skip`, `terminate`
    pub(crate) operation: &'static str,
    /// The step that the operation applies to.
    pub(crate) step: Option<String>,
    /// The filter that selected the workflows.
    pub(crate) filter: String,
    pub(crate) reason: String,
    /// Caller that created the batch. The history of each workflow names it.
    pub(crate) actor: Option<String>,
    /// Maximum number of operations per second.
    pub(crate) rate: u32,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended_at: Option<Time>,
    /// Number of workflows.
    pub(crate) total: u64,
    /// Workflows without a result.
    pub(crate) pending: u64,
    /// Workflows to which the operation was applied.
    pub(crate) done: u64,
    /// Workflows whose status did not allow the operation.
    pub(crate) refused: u64,
    /// Workflows for which the operation failed for another reason.
    pub(crate) failed: u64,
}

/// A page of batches.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchPage {
    /// Batches, newest first.
    pub(crate) batches: Vec<BatchView>,
    /// Token of the next page. Empty on the last page.
    pub(crate) next_page_token: String,
}

/// A workflow of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchItemView {
    #[schema(value_type = String)]
    pub(crate) workflow_id: WorkflowId,
    /// `PENDING`, `STARTED`, `DONE`, `REFUSED`, `FAILED`
    pub(crate) status: &'static str,
    /// Error code of a workflow that was refused or failed.
    pub(crate) code: Option<String>,
    /// Why it was refused or failed.
    pub(crate) detail: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended_at: Option<Time>,
}

/// A page of the workflows of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchItemPage {
    /// Workflows, in the order of their ids.
    pub(crate) items: Vec<BatchItemView>,
    /// Token of the next page. Empty on the last page.
    pub(crate) next_page_token: String,
}

/// A change of a batch by an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchControl {
    Pause,
    Resume,
    Cancel,
}

impl BatchControl {
    fn change(self) -> BatchChange {
        let (from, to) = match self {
            Self::Pause => (vec![BatchStatus::Running], BatchStatus::Paused),
            Self::Resume => (vec![BatchStatus::Paused], BatchStatus::Running),
            Self::Cancel => (vec![BatchStatus::Running, BatchStatus::Paused], BatchStatus::Cancelled),
        };
        BatchChange { from, to, total: None }
    }
}

impl Api {
    /// Selects workflows and creates a batch of them, or shows which workflows would be selected.
    pub(crate) async fn create_batch(
        &self,
        context: &CallContext,
        create: CreateBatch,
    ) -> ApiResult<CreatedBatch> {
        let operation = check_operation(&create)?;
        let rate = check_rate(create.rate)?;
        context.require(Permission::WorkflowsOperate, "a batch")?;
        let reason = required_reason(create.reason)?;
        let mut parts: Vec<Filter> = filter::parse(&create.filter, clock::now())?.into_iter().collect();
        // No operation is possible on a workflow that has ended.
        parts.push(Filter::open());
        if !names_elements(&create.filter) {
            parts.push(Filter::without_elements());
        }
        let selected = Filter::All(parts);
        let namespace = context.namespace.to_string();
        let counts = self.store().counts(&namespace, Field::Status, Some(&selected)).await?;
        let count: u64 = counts.iter().map(|count| count.count).sum();
        let expected = match create.expected_count {
            Some(expected) if !create.dry_run => expected,
            Some(_) | None => return self.preview(context, selected, count).await,
        };
        check_count(count, expected)?;
        let batch = WorkflowBatch {
            id: BatchId(uuid::Uuid::now_v7()),
            namespace,
            status: BatchStatus::Selecting,
            operation,
            step: create.step,
            filter: create.filter,
            reason,
            actor: context.actor.clone(),
            rate,
            created_at: clock::now(),
            ended_at: None,
            counts: BatchCounts::default(),
        };
        audit_notes::target("batch", batch.id);
        audit_notes::after(&json!({
            "operation": operation.as_str(),
            "step": batch.step,
            "filter": batch.filter,
            "reason": batch.reason,
            "count": expected,
        }));
        let started = self.select(batch, selected, expected).await?;
        self.batches_changed.notify_one();
        Ok(CreatedBatch::Batch(Box::new(view(started))))
    }

    async fn preview(&self, context: &CallContext, selected: Filter, count: u64) -> ApiResult<CreatedBatch> {
        let namespace = context.namespace.to_string();
        let request = ListRequest { namespace, filter: Some(selected), limit: SAMPLE, before: None };
        let sample = self.store().list(&request).await?.workflows;
        let redaction = self.redaction.for_caller(context);
        let sample = sample.into_iter().map(|summary| redaction.summary(view::summary(summary))).collect();
        Ok(CreatedBatch::Preview(BatchPreview { dry_run: true, count, sample }))
    }

    /// Stores a batch with its workflows, and starts it if their number is the expected one. A process that is killed
    /// before that leaves a batch that never runs, and that the maintenance removes.
    async fn select(
        &self,
        batch: WorkflowBatch,
        selected: Filter,
        expected: u64,
    ) -> ApiResult<WorkflowBatch> {
        self.store().create_batch(&batch).await?;
        let counted = self.add_workflows(&batch, selected).await.and_then(|count| {
            check_count(count, expected)?;
            Ok(count)
        });
        let from = vec![BatchStatus::Selecting];
        let (to, total) = match &counted {
            Ok(total) => (BatchStatus::Running, Some(*total)),
            Err(_) => (BatchStatus::Discarded, None),
        };
        let change = BatchChange { from, to, total };
        let changed = self.store().change_batch(&batch.namespace, batch.id, &change).await;
        counted?;
        let (started, _) = changed?.ok_or_else(|| not_found(&batch.id.to_string()))?;
        Ok(started)
    }

    /// Adds all selected workflows, newest first. A workflow that starts in the meantime is newer than the first one.
    async fn add_workflows(&self, batch: &WorkflowBatch, selected: Filter) -> ApiResult<u64> {
        let mut page = ListRequest {
            namespace: batch.namespace.clone(),
            filter: Some(selected),
            limit: SELECTION_PAGE,
            before: None,
        };
        let mut count = 0;
        loop {
            let selection = self.store().select_batch_items(batch.id, &page).await?;
            count += selection.count;
            if !selection.more || selection.last.is_none() || count > MAX_WORKFLOWS {
                return Ok(count);
            }
            page.before = selection.last;
        }
    }

    /// Returns a batch.
    pub(crate) async fn batch(&self, context: &CallContext, id: &str) -> ApiResult<BatchView> {
        self.load_batch(context, id).await.map(view)
    }

    /// Lists the batches of the namespace, newest first.
    pub(crate) async fn list_batches(
        &self,
        context: &CallContext,
        page: &PageRequest,
    ) -> ApiResult<BatchPage> {
        let size = self.page_size(page.size)?;
        let before = page.token().map(str::parse::<BatchId>).transpose();
        let before = before.map_err(|_| invalid_page_token())?;
        let namespace = context.namespace.as_str();
        let mut batches = self.store().batches(namespace, before, size.saturating_add(1)).await?;
        let is_more = cut_to_page(&mut batches, size);
        let last = batches.last().filter(|_| is_more).map(|batch| batch.id.to_string());
        Ok(BatchPage {
            batches: batches.into_iter().map(view).collect(),
            next_page_token: last.unwrap_or_default(),
        })
    }

    /// Lists the workflows of a batch, of one status or all.
    pub(crate) async fn list_batch_items(
        &self,
        context: &CallContext,
        id: &str,
        status: Option<&str>,
        page: &PageRequest,
    ) -> ApiResult<BatchItemPage> {
        let size = self.page_size(page.size)?;
        let after = page.token().map(str::parse::<WorkflowId>).transpose();
        let after = after.map_err(|_| invalid_page_token())?;
        let status = status.map(parse_item_status).transpose()?;
        let batch = self.load_batch(context, id).await?;
        let mut items = self.store().batch_items(batch.id, status, after, size.saturating_add(1)).await?;
        let is_more = cut_to_page(&mut items, size);
        let last = items.last().filter(|_| is_more).map(|item| item.workflow.to_string());
        Ok(BatchItemPage {
            items: items.into_iter().map(item_view).collect(),
            next_page_token: last.unwrap_or_default(),
        })
    }

    /// Pauses, resumes or cancels a batch. A repeated request succeeds.
    pub(crate) async fn control_batch(
        &self,
        context: &CallContext,
        id: &str,
        control: BatchControl,
        reason: Option<String>,
    ) -> ApiResult<BatchView> {
        audit_notes::target("batch", id);
        match control {
            // It applies the operation to further workflows.
            BatchControl::Resume => {
                context.require(Permission::WorkflowsOperate, "the resumption of a batch")?;
            }
            BatchControl::Pause | BatchControl::Cancel => {}
        }
        let reason = super::reason::optional_reason(reason)?;
        audit_notes::after(&json!({ "reason": reason }));
        let parsed: BatchId = id.parse().map_err(|_| not_found(id))?;
        let change = control.change();
        let changed = self.store().change_batch(context.namespace.as_str(), parsed, &change).await?;
        let (batch, was_changed) =
            changed.filter(|(batch, _)| is_shown(batch)).ok_or_else(|| not_found(id))?;
        if was_changed || batch.status == change.to {
            self.batches_changed.notify_one();
            return Ok(view(batch));
        }
        let detail = format!(
            "batch {id} is {}, but the request requires {}",
            batch.status.as_str(),
            change.from.iter().map(|status| status.as_str()).collect::<Vec<_>>().join(" or ")
        );
        Err(Problem::new(BATCH_STATUS, detail))
    }

    async fn load_batch(&self, context: &CallContext, id: &str) -> ApiResult<WorkflowBatch> {
        let parsed: BatchId = id.parse().map_err(|_| not_found(id))?;
        let batch = self.store().batch(context.namespace.as_str(), parsed).await?;
        batch.filter(is_shown).ok_or_else(|| not_found(id))
    }
}

/// Whether the selection of a batch was accepted.
fn is_shown(batch: &WorkflowBatch) -> bool {
    !matches!(batch.status, BatchStatus::Selecting | BatchStatus::Discarded)
}

fn check_operation(create: &CreateBatch) -> ApiResult<BatchOperation> {
    let operation = BatchOperation::of_name(&create.operation).ok_or_else(|| {
        let known: Vec<&str> = BatchOperation::ALL.iter().map(|each| each.as_str()).collect();
        let detail = format!("unknown operation {:?}: use one of {}", create.operation, known.join(", "));
        Problem::new(INVALID_BATCH, detail.clone()).at("/operation", detail)
    })?;
    let detail = match (operation, &create.step) {
        (BatchOperation::Skip, None) => "the operation skip needs the name of the step in `step`",
        (
            BatchOperation::Cancel
            | BatchOperation::Pause
            | BatchOperation::Resume
            | BatchOperation::Terminate,
            Some(_),
        ) => "only the operations retry and skip have a `step`: remove it",
        (BatchOperation::Retry, _)
        | (BatchOperation::Skip, Some(_))
        | (
            BatchOperation::Cancel
            | BatchOperation::Pause
            | BatchOperation::Resume
            | BatchOperation::Terminate,
            None,
        ) => return Ok(operation),
    };
    Err(Problem::new(INVALID_BATCH, detail).at("/step", detail))
}

fn check_rate(rate: Option<u32>) -> ApiResult<u32> {
    match rate {
        None => Ok(DEFAULT_RATE),
        Some(rate) if (1..=MAX_RATE).contains(&rate) => Ok(rate),
        Some(rate) => {
            let detail = format!("invalid rate {rate}: it must be 1 to {MAX_RATE} operations per second");
            Err(Problem::new(INVALID_BATCH, detail.clone()).at("/rate", detail))
        }
    }
}

fn check_count(count: u64, expected: u64) -> ApiResult<()> {
    if count > MAX_WORKFLOWS {
        let detail = format!(
            "at least {count} workflows match the filter, which is over the limit of {MAX_WORKFLOWS}: narrow the filter"
        );
        return Err(Problem::new(BATCH_TOO_LARGE, detail));
    }
    if count != expected {
        let detail = format!(
            "{count} workflows match the filter, but expected_count is {expected}: repeat the dry run, and check its sample"
        );
        return Err(Problem::new(BATCH_COUNT, detail.clone()).at("/expected_count", detail));
    }
    Ok(())
}

fn parse_item_status(name: &str) -> ApiResult<BatchItemStatus> {
    BatchItemStatus::of_name(&name.to_ascii_uppercase()).ok_or_else(|| {
        let known: Vec<&str> = BatchItemStatus::ALL.iter().map(|each| each.as_str()).collect();
        Problem::new(PARAMETER, format!("invalid status {name:?}: use one of {}", known.join(", ")))
    })
}

fn not_found(id: &str) -> Problem {
    Problem::new(NO_BATCH, format!("batch {id} not found"))
}

fn view(batch: WorkflowBatch) -> BatchView {
    let counts = batch.counts;
    BatchView {
        id: batch.id.to_string(),
        namespace: batch.namespace,
        status: batch.status.as_str(),
        operation: batch.operation.as_str(),
        step: batch.step,
        filter: batch.filter,
        reason: batch.reason,
        actor: batch.actor,
        rate: batch.rate,
        created_at: batch.created_at.into(),
        ended_at: batch.ended_at.map(Into::into),
        total: counts.total,
        pending: counts.pending(),
        done: counts.done,
        refused: counts.refused,
        failed: counts.failed,
    }
}

fn item_view(item: BatchItem) -> BatchItemView {
    BatchItemView {
        workflow_id: item.workflow,
        status: item.status.as_str(),
        code: item.code,
        detail: item.detail,
        ended_at: item.ended_at.map(Into::into),
    }
}
