//! Reasons why a workflow makes no progress.

use super::{action_name, open_side, since};
use crate::time::Time;
use goconductor_queue::Queue;
use goconductor_saga::{
    Action, Failure, Plan, Progress, Side, State, Status, Step, StepState, StepStatus, Timestamp,
};
use goconductor_transition::topic_of;
use serde::Serialize;
use utoipa::ToSchema;

/// Delay after which a due command that was neither started nor settled is reported to wait for capacity.
const CAPACITY_AFTER_MICROS: i64 = 500_000;

/// A reason why a workflow makes no progress.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// `NO_WORKER`, `IN_FLIGHT`, `BACKOFF`, `TIMER`, `CAPACITY`, `OPERATOR`
    #[schema(value_type = String)]
    pub(crate) kind: WaitingKind,
    pub(crate) step: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) since: Option<Time>,
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(crate) until: Option<Time>,
    pub(crate) detail: String,
}

/// The kind of a [`Waiting`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum WaitingKind {
    /// No worker serves the service, and it has no address.
    NoWorker,
    /// An attempt is running.
    InFlight,
    /// The step waits for its next attempt.
    Backoff,
    /// The compensation waits for the deadline of an attempt of unknown outcome.
    Timer,
    /// The service is busy.
    Capacity,
    /// An operator must act.
    Operator,
}

/// Returns everything that a workflow waits for.
pub(crate) async fn waiting_on(
    queue: &dyn Queue,
    plan: &Plan,
    state: &State,
    now: Timestamp,
) -> Vec<Waiting> {
    let mut waiting = Vec::new();
    let status = state.status();
    if status.is_final() {
        return waiting;
    }
    if state.paused {
        let detail = "an operator paused the workflow; resume it to continue".to_owned();
        waiting.push(Waiting { kind: WaitingKind::Operator, step: None, since: None, until: None, detail });
    }
    for (definition, step) in plan.definition().steps.iter().zip(&state.steps) {
        if status == Status::Error && step.needs_operator(state.phase) {
            waiting.push(operator(definition, step));
        } else if let Some((side, step_status, progress)) = open_side(step) {
            let (Some(action), true) = (definition.action(side), progress.running.is_some() || !state.paused)
            else {
                continue;
            };
            let Action::Run { service, .. } = action;
            let topic = topic_of(&state.namespace, service, side);
            // A queue that does not respond is no evidence that a worker is missing.
            let is_served = queue.has_consumer(&topic).await.unwrap_or(true);
            let (status, failure) = (step_status, step.error.as_ref());
            let command =
                OpenCommand { step: definition, side, status, progress, action, failure, is_served };
            waiting.push(waiting_for(&command, now));
        }
    }
    waiting
}

/// An open command of a step.
struct OpenCommand<'a> {
    step: &'a Step,
    side: Side,
    status: StepStatus,
    progress: &'a Progress,
    action: &'a Action,
    failure: Option<&'a Failure>,
    is_served: bool,
}

fn waiting_for(command: &OpenCommand<'_>, now: Timestamp) -> Waiting {
    let OpenCommand { step, side, status, progress, action, failure, is_served } = command;
    let attempt = progress.attempt();
    let operation = match side {
        Side::Execute => action_name(action),
        Side::Compensate => format!("compensation {}", action_name(action)),
    };
    let due = progress.due_at.filter(|due| *due > now);
    let retrying = matches!(status, StepStatus::Retrying | StepStatus::CompensationRetrying);
    let (kind, since, until, detail) = match (&progress.running, due) {
        (Some(running), _) => {
            let detail = format!("attempt {attempt} of {operation} is running");
            (WaitingKind::InFlight, Some(running.started_at), Some(running.deadline), detail)
        }
        (None, Some(due)) if retrying => {
            let cause = failure.map(|failure| format!(" after {}: {}", failure.code, failure.message));
            let detail = format!(
                "attempt {attempt} of {operation} waits for its retry delay{}",
                cause.unwrap_or_default()
            );
            (WaitingKind::Backoff, since(progress), Some(due), detail)
        }
        (None, Some(due)) => {
            let detail = format!("{operation} waits for the deadline of an attempt of unknown outcome");
            (WaitingKind::Timer, since(progress), Some(due), detail)
        }
        (None, None) if !is_served => {
            let Action::Run { service, .. } = action;
            let detail = format!("no worker serves {service}, and the service has no HTTP address");
            (WaitingKind::NoWorker, progress.due_at.or(since(progress)), None, detail)
        }
        (None, None) => {
            let ready = progress.due_at.or(since(progress));
            let is_late = ready.is_some_and(|ready| now.0.saturating_sub(ready.0) > CAPACITY_AFTER_MICROS);
            if is_late {
                (
                    WaitingKind::Capacity,
                    ready,
                    None,
                    format!("{operation} waits for capacity: the service is busy"),
                )
            } else {
                (WaitingKind::InFlight, ready, None, format!("attempt {attempt} of {operation} is running"))
            }
        }
    };
    Waiting { kind, step: Some(step.name.clone()), since: since.map(Time), until: until.map(Time), detail }
}

fn operator(step: &Step, state: &StepState) -> Waiting {
    let (failed, ended_at) = match state.compensation {
        Some(_) => ("the compensation failed", state.compensate.ended_at),
        None => ("the step failed", state.execute.ended_at),
    };
    let cause = state.error.as_ref().map(|error| format!(": {}: {}", error.code, error.message));
    Waiting {
        kind: WaitingKind::Operator,
        step: Some(step.name.clone()),
        since: ended_at.map(Time),
        until: None,
        detail: format!("{failed}{}; retry, skip or complete the step", cause.unwrap_or_default()),
    }
}
