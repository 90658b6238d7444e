//! What people see of a workflow.

mod event;
mod waiting;

pub(crate) use event::{EventView, event};
pub(crate) use waiting::{Waiting, waiting_on};

use crate::moment::rfc3339;
use goconductor_saga::{
    Action, Failure, Json, Kind, Plan, Progress, Side, State, Step, StepState, StepStatus, Timestamp,
};
use goconductor_store::Summary;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// A workflow as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkflowView {
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) definition: String,
    pub(crate) version: u32,
    /// `QUEUED`, `IN_PROGRESS`, `ROLLING_BACK`, `PAUSED`, `ERROR`, `COMPLETED`, `ROLLED_BACK`, `TERMINATED`
    pub(crate) status: &'static str,
    /// Why it is rolled back: `STEP_FAILED`, `CANCELLED`, `TIMED_OUT`, `OPERATOR`
    pub(crate) cause: Option<&'static str>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) idempotency_key: Option<String>,
    #[schema(value_type = Json)]
    pub(crate) input: Arc<Json>,
    #[schema(value_type = Option<Json>)]
    pub(crate) output: Option<Arc<Json>>,
    /// What went wrong first.
    pub(crate) error: Option<FailureView>,
    /// The number of its last event.
    pub(crate) seq: u64,
    pub(crate) created_at: String,
    pub(crate) ended_at: Option<String>,
    /// When the time of its forward part is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deadline: Option<String>,
    /// In the definition's order.
    pub(crate) steps: Vec<StepView>,
    /// Why it stands still.
    pub(crate) waiting_on: Vec<Waiting>,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FailureView {
    /// The participant's own code, or one of the engine's: `TIMED_OUT`, …
    pub(crate) code: String,
    pub(crate) message: String,
    /// Whatever else the participant said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<Json>,
}

/// A step of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepView {
    pub(crate) name: String,
    pub(crate) title: Option<String>,
    /// `compensatable`, `pivot`, `retriable`
    pub(crate) kind: &'static str,
    /// `service/action`
    pub(crate) action: String,
    /// What undoes it: `service/action`
    pub(crate) compensate: Option<String>,
    pub(crate) status: &'static str,
    /// Attempts to do it that began, as far as is known.
    pub(crate) attempts: u32,
    /// Attempts to undo it that began, as far as is known.
    pub(crate) compensation_attempts: u32,
    pub(crate) queued_at: Option<String>,
    pub(crate) started_at: Option<String>,
    pub(crate) ended_at: Option<String>,
    #[schema(value_type = Option<Json>)]
    pub(crate) output: Option<Arc<Json>>,
    /// Its last failure, of either side.
    pub(crate) error: Option<FailureView>,
    /// Its undo, once that is issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) compensation: Option<CompensationView>,
}

/// The undo of a step.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CompensationView {
    pub(crate) queued_at: Option<String>,
    pub(crate) started_at: Option<String>,
    pub(crate) ended_at: Option<String>,
}

/// What a list shows of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SummaryView {
    pub(crate) id: String,
    pub(crate) definition: String,
    pub(crate) version: u32,
    pub(crate) status: &'static str,
    pub(crate) cause: Option<&'static str>,
    pub(crate) error: Option<Json>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) seq: u64,
    pub(crate) created_at: String,
    pub(crate) ended_at: Option<String>,
}

/// A workflow with its steps.
pub(crate) fn workflow(
    plan: &Plan,
    state: &State,
    idempotency_key: Option<String>,
    waiting_on: Vec<Waiting>,
) -> WorkflowView {
    WorkflowView {
        id: state.id.to_string(),
        namespace: state.namespace.clone(),
        definition: state.definition.clone(),
        version: state.version,
        status: state.status().as_str(),
        cause: state.cause.map(goconductor_saga::RollbackCause::as_str),
        labels: state.labels.clone(),
        idempotency_key,
        input: state.input.clone(),
        output: state.output.clone(),
        error: state.error.as_ref().map(failure),
        seq: state.seq,
        created_at: rfc3339(state.created_at),
        ended_at: state.ended_at.map(rfc3339),
        deadline: state.deadline.map(rfc3339),
        steps: plan
            .definition()
            .steps
            .iter()
            .zip(&state.steps)
            .map(|(of, step)| step_view(of, step))
            .collect(),
        waiting_on,
    }
}

pub(crate) fn summary(summary: Summary) -> SummaryView {
    SummaryView {
        id: summary.id.to_string(),
        definition: summary.definition,
        version: summary.version,
        status: summary.status.as_str(),
        cause: summary.cause.map(goconductor_saga::RollbackCause::as_str),
        error: summary.error,
        labels: summary.labels,
        idempotency_key: summary.idempotency_key,
        seq: summary.seq,
        created_at: rfc3339(summary.created_at),
        ended_at: summary.ended_at.map(rfc3339),
    }
}

fn step_view(of: &Step, step: &StepState) -> StepView {
    let Progress { queued_at, started_at, ended_at, .. } = step.execute;
    StepView {
        name: of.name.clone(),
        title: of.title.clone(),
        kind: kind_name(of.kind),
        action: action_name(&of.action),
        compensate: of.compensate.as_ref().map(|undo| action_name(&undo.action)),
        status: step.status().as_str(),
        attempts: step.execute.begun(),
        compensation_attempts: step.compensate.begun(),
        queued_at: queued_at.map(rfc3339),
        started_at: started_at.map(rfc3339),
        ended_at: ended_at.map(rfc3339),
        output: step.output.clone(),
        error: step.error.as_ref().map(failure),
        compensation: step.undo.map(|_| CompensationView {
            queued_at: step.compensate.queued_at.map(rfc3339),
            started_at: step.compensate.started_at.map(rfc3339),
            ended_at: step.compensate.ended_at.map(rfc3339),
        }),
    }
}

fn failure(failure: &Failure) -> FailureView {
    FailureView {
        code: failure.code.clone(),
        message: failure.message.clone(),
        detail: failure.detail.clone(),
    }
}

pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Compensatable => "compensatable",
        Kind::Pivot => "pivot",
        Kind::Retriable => "retriable",
    }
}

pub(crate) fn action_name(action: &Action) -> String {
    let Action::Run { service, action } = action;
    format!("{service}/{action}")
}

/// The side of a step that has a command out, with what is known of it.
fn open_side(step: &StepState) -> Option<(Side, StepStatus, &Progress)> {
    [Side::Compensate, Side::Execute].into_iter().find_map(|side| {
        let status = step.side_status(side)?;
        status.is_open().then(|| (side, status, step.progress(side)))
    })
}

/// From its first command on.
fn since(progress: &Progress) -> Option<Timestamp> {
    progress.queued_at.or(progress.due_at)
}
