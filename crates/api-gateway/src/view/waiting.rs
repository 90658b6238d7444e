//! Why a workflow stands still.

use super::{action_name, open_side, since};
use crate::moment::rfc3339;
use goconductor_queue::Queue;
use goconductor_saga::{
    Action, Failure, Plan, Progress, Side, State, Status, Step, StepState, StepStatus, Timestamp,
};
use goconductor_transition::topic_of;
use serde::Serialize;
use utoipa::ToSchema;

/// A command that is due for longer than this, and on record as neither started nor settled, waits for a
/// place.
const CAPACITY_AFTER_MICROS: i64 = 500_000;

/// A reason why a workflow stands still.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// `NO_WORKER`, `IN_FLIGHT`, `BACKOFF`, `TIMER`, `CAPACITY`, `OPERATOR`
    pub(crate) kind: &'static str,
    pub(crate) step: Option<String>,
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
    pub(crate) detail: String,
}

/// Everything that a workflow waits for.
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
        let detail = "an operator has paused it; `resume` lets it go on".to_owned();
        waiting.push(Waiting { kind: "OPERATOR", step: None, since: None, until: None, detail });
    }
    for (of, step) in plan.definition().steps.iter().zip(&state.steps) {
        if status == Status::Error && step.needs_operator(state.phase) {
            waiting.push(operator(of, step));
        } else if let Some((side, step_status, progress)) = open_side(step) {
            let (Some(action), true) = (of.action(side), progress.running.is_some() || !state.paused) else {
                continue;
            };
            let Action::Run { service, .. } = action;
            let topic = topic_of(&state.namespace, service, side);
            // Nobody is said to be missing on the word of a queue that does not answer.
            let served = queue.has_consumer(&topic).await.unwrap_or(true);
            let (status, failure) = (step_status, step.error.as_ref());
            waiting.push(command(&Command { of, side, status, progress, action, failure, served }, now));
        }
    }
    waiting
}

/// A command that is out.
struct Command<'a> {
    of: &'a Step,
    side: Side,
    status: StepStatus,
    progress: &'a Progress,
    action: &'a Action,
    failure: Option<&'a Failure>,
    served: bool,
}

fn command(command: &Command<'_>, now: Timestamp) -> Waiting {
    let Command { of, side, status, progress, action, failure, served } = command;
    let attempt = progress.attempt();
    let doing = match side {
        Side::Execute => action_name(action),
        Side::Compensate => format!("the undo by {}", action_name(action)),
    };
    let due = progress.due_at.filter(|due| *due > now);
    let retrying = matches!(status, StepStatus::Retrying | StepStatus::CompensationRetrying);
    let (kind, since, until, detail) = match (&progress.running, due) {
        (Some(running), _) => {
            let detail = format!("attempt {attempt} at {doing} is under way");
            ("IN_FLIGHT", Some(running.started_at), Some(running.deadline), detail)
        }
        (None, Some(due)) if retrying => {
            let after = failure.map(|failure| format!(", after {}: {}", failure.code, failure.message));
            let detail =
                format!("attempt {attempt} at {doing} waits for its time{}", after.unwrap_or_default());
            ("BACKOFF", since(progress), Some(due), detail)
        }
        (None, Some(due)) => {
            let detail =
                format!("{doing} waits until an attempt of unknown outcome can't take effect any more");
            ("TIMER", since(progress), Some(due), detail)
        }
        (None, None) if !served => {
            let Action::Run { service, .. } = action;
            let detail = format!("no worker serves {service}, and it has no address");
            ("NO_WORKER", progress.due_at.or(since(progress)), None, detail)
        }
        (None, None) => {
            let ready = progress.due_at.or(since(progress));
            let long = ready.is_some_and(|ready| now.0.saturating_sub(ready.0) > CAPACITY_AFTER_MICROS);
            if long {
                ("CAPACITY", ready, None, format!("{doing} waits for a place: the service is busy"))
            } else {
                ("IN_FLIGHT", ready, None, format!("attempt {attempt} at {doing} is under way"))
            }
        }
    };
    Waiting {
        kind,
        step: Some(of.name.clone()),
        since: since.map(rfc3339),
        until: until.map(rfc3339),
        detail,
    }
}

fn operator(of: &Step, step: &StepState) -> Waiting {
    let (undone, ended_at) = match step.undo {
        Some(_) => ("could not be undone", step.compensate.ended_at),
        None => ("could not be done", step.execute.ended_at),
    };
    let why = step.error.as_ref().map(|error| format!(": {}: {}", error.code, error.message));
    Waiting {
        kind: "OPERATOR",
        step: Some(of.name.clone()),
        since: ended_at.map(rfc3339),
        until: None,
        detail: format!("it {undone}{}; retry, skip or complete it", why.unwrap_or_default()),
    }
}
