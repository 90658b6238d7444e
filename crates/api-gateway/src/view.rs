//! Views of workflows. They serialize as REST's JSON; `grpc::message` converts them to messages.

mod event;
mod waiting;

pub(crate) use event::{EventView, event};
pub(crate) use waiting::{LockHolders, Waiting, WaitingKind, find_unserved, waiting_on};

use crate::time::Time;
use goconductor_saga::{
    Action, Failure, Json, Kind, Plan, Progress, RollbackCause, Side, State, Status, Step, StepIndex,
    StepState, StepStatus, Timestamp, WorkflowId,
};
use goconductor_store::Summary;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// A workflow and its steps.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowView {
    #[schema(value_type = String)]
    pub(crate) id: WorkflowId,
    pub(crate) namespace: String,
    pub(crate) definition: String,
    pub(crate) version: u32,
    /// `QUEUED`, `IN_PROGRESS`, `ROLLING_BACK`, `PAUSED`, `ERROR`, `COMPLETED`, `ROLLED_BACK`, `TERMINATED`
    #[schema(value_type = String)]
    pub(crate) status: Status,
    /// Cause of the rollback: `STEP_FAILED`, `CANCELLED`, `TIMED_OUT`, `OPERATOR`, `PARENT`
    #[schema(value_type = Option<String>)]
    pub(crate) cause: Option<RollbackCause>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) idempotency_key: Option<String>,
    #[schema(value_type = Json)]
    pub(crate) input: Arc<Json>,
    #[schema(value_type = Option<Json>)]
    pub(crate) output: Option<Arc<Json>>,
    /// The first failure.
    pub(crate) error: Option<FailureView>,
    /// Number of the last event.
    pub(crate) seq: u64,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended_at: Option<Time>,
    /// Time at which the workflow's timeout expires and a rollback begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) deadline: Option<Time>,
    /// Steps, in the order of the definition.
    pub(crate) steps: Vec<WorkflowStepView>,
    /// Reasons why the workflow makes no progress.
    pub(crate) waiting_on: Vec<Waiting>,
    /// The workflow that started this one as its child.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parent: Option<ParentView>,
    /// The children of the steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) children: Vec<ChildView>,
}

/// The parent of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ParentView {
    #[schema(value_type = String)]
    pub(crate) id: WorkflowId,
    /// Step of the parent that started the workflow.
    pub(crate) step: Option<String>,
}

/// The child of a step.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChildView {
    #[schema(value_type = String)]
    pub(crate) id: WorkflowId,
    /// Step that started the child.
    pub(crate) step: String,
}

/// A failure.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FailureView {
    /// Error code of the participant, or of the engine: `TIMED_OUT`, …
    pub(crate) code: String,
    pub(crate) message: String,
    /// Further information from the participant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<Json>,
}

/// A step of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowStepView {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    /// `compensatable`, `pivot`, `retriable`
    pub(crate) kind: &'static str,
    /// Executing action: `service/action`
    pub(crate) action: String,
    /// Compensating action: `service/action`
    pub(crate) compensate: Option<String>,
    #[schema(value_type = String)]
    pub(crate) status: StepStatus,
    /// Number of started attempts to execute the step.
    pub(crate) attempts: u32,
    /// Number of started attempts to compensate the step.
    pub(crate) compensation_attempts: u32,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) queued_at: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) started_at: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended_at: Option<Time>,
    #[schema(value_type = Option<Json>)]
    pub(crate) output: Option<Arc<Json>>,
    /// The last failure of an attempt to execute or to compensate the step.
    pub(crate) error: Option<FailureView>,
    /// The compensation. Absent until it is issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) compensation: Option<CompensationView>,
    /// Number of the execution of the step, from 2. Absent until a re-run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generation: Option<u32>,
}

/// The compensation of a step.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CompensationView {
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) queued_at: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) started_at: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended_at: Option<Time>,
}

/// A workflow in a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SummaryView {
    #[schema(value_type = String)]
    pub(crate) id: WorkflowId,
    pub(crate) definition: String,
    pub(crate) version: u32,
    #[schema(value_type = String)]
    pub(crate) status: Status,
    #[schema(value_type = Option<String>)]
    pub(crate) cause: Option<RollbackCause>,
    pub(crate) error: Option<Json>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) seq: u64,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) created_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) ended_at: Option<Time>,
}

/// Builds the view of a workflow.
pub(crate) fn workflow(
    plan: &Plan,
    state: &State,
    idempotency_key: Option<String>,
    waiting_on: Vec<Waiting>,
) -> WorkflowView {
    // The key of a child names the step of its parent.
    let parent_step = || idempotency_key.as_ref()?.split('/').nth(1).map(str::to_owned);
    let parent = state.parent.map(|parent| ParentView { id: parent.id, step: parent_step() });
    let steps = || plan.definition().steps.iter().zip(&state.steps);
    let child =
        |(step, state): (&Step, &StepState)| Some(ChildView { id: state.child?, step: step.name.clone() });
    WorkflowView {
        parent,
        children: steps().filter_map(child).collect(),
        id: state.id,
        namespace: state.namespace.clone(),
        definition: state.definition.clone(),
        version: state.version,
        status: state.status(),
        cause: state.cause,
        labels: state.labels.clone(),
        idempotency_key,
        input: state.input.clone(),
        output: state.output.clone(),
        error: state.error.as_ref().map(failure),
        seq: state.seq,
        created_at: state.created_at.into(),
        ended_at: state.ended_at.map(Time),
        deadline: state.deadline.map(Time),
        steps: plan
            .definition()
            .steps
            .iter()
            .zip(&state.steps)
            .map(|(step, state)| step_view(step, state))
            .collect(),
        waiting_on,
    }
}

/// Builds the view of a workflow in a list.
pub(crate) fn summary(summary: Summary) -> SummaryView {
    SummaryView {
        id: summary.id,
        definition: summary.definition,
        version: summary.version,
        status: summary.status,
        cause: summary.cause,
        error: summary.error,
        labels: summary.labels,
        idempotency_key: summary.idempotency_key,
        seq: summary.seq,
        created_at: summary.created_at.into(),
        ended_at: summary.ended_at.map(Time),
    }
}

/// Builds the view of a step. Returns `None` if the workflow has no such step.
pub(crate) fn step(plan: &Plan, state: &State, index: StepIndex) -> Option<WorkflowStepView> {
    Some(step_view(plan.step(index)?, state.step(index)?))
}

fn step_view(step: &Step, state: &StepState) -> WorkflowStepView {
    let Progress { queued_at, started_at, ended_at, .. } = state.execute;
    WorkflowStepView {
        name: step.name.clone(),
        title: step.title.clone(),
        kind: kind_name(step.kind),
        action: action_name(step.performed_action(Side::Execute).unwrap_or(&step.action)),
        compensate: step.performed_action(Side::Compensate).map(action_name),
        status: state.status(),
        attempts: state.attempts_begun(Side::Execute),
        compensation_attempts: state.attempts_begun(Side::Compensate),
        queued_at: queued_at.map(Time),
        started_at: started_at.map(Time),
        ended_at: ended_at.map(Time),
        output: state.output.clone(),
        error: state.error.as_ref().map(failure),
        compensation: state.compensation.map(|_| CompensationView {
            queued_at: state.compensate.queued_at.map(Time),
            started_at: state.compensate.started_at.map(Time),
            ended_at: state.compensate.ended_at.map(Time),
        }),
        generation: (state.generation > 0).then(|| state.generation.saturating_add(1)),
    }
}

fn failure(failure: &Failure) -> FailureView {
    FailureView {
        code: failure.code.clone(),
        message: failure.message.clone(),
        detail: failure.detail.clone(),
    }
}

/// Returns the name of a step's kind.
pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Compensatable => "compensatable",
        Kind::Pivot => "pivot",
        Kind::Retriable => "retriable",
    }
}

/// Returns `service/action`, the method and the URL of a call, or what a step without a service waits for.
pub(crate) fn action_name(action: &Action) -> String {
    action.to_string()
}

/// Returns the side of a step that has an open command, with its status and progress.
fn open_side(step: &StepState) -> Option<(Side, StepStatus, &Progress)> {
    [Side::Compensate, Side::Execute].into_iter().find_map(|side| {
        let status = step.side_status(side)?;
        status.is_open().then(|| (side, status, step.progress(side)))
    })
}

/// Returns the time since when a side waits: its first command, or its due time.
fn since(progress: &Progress) -> Option<Timestamp> {
    progress.queued_at.or(progress.due_at)
}
