//! Reasons why a workflow makes no progress.

use super::{action_name, open_side, since};
use crate::time::Time;
use goconductor_queue::Queue;
use goconductor_saga::{
    Action, CALLS_SERVICE, Failure, LockState, Plan, Progress, Side, State, Status, Step, StepState,
    StepStatus, TimerKind, Timestamp,
};
use goconductor_store::Member;
use goconductor_transition::topic_of;
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Delay after which a due command that was neither started nor settled is reported to wait for capacity.
const CAPACITY_AFTER_MICROS: i64 = 500_000;

/// A reason why a workflow makes no progress.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Waiting {
    /// `NO_WORKER`, `IN_FLIGHT`, `BACKOFF`, `SIGNAL`, `TIMER`, `CHILD`, `LOCK`, `CAPACITY`, `OPERATOR`
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
    /// The step waits for a signal.
    Signal,
    /// The step sleeps, or its compensation waits for the deadline of an attempt of unknown outcome.
    Timer,
    /// The step waits for its child workflow.
    Child,
    /// Another owner holds a lock, or waits for it since earlier.
    Lock,
    /// The service is busy.
    Capacity,
    /// An operator must act.
    Operator,
}

/// The holders of locks, by key.
pub(crate) type LockHolders = BTreeMap<String, String>;

/// Returns everything that a workflow waits for. `holders` has the locks that it waits for.
pub(crate) async fn waiting_on(
    queue: &dyn Queue,
    plan: &Plan,
    state: &State,
    holders: &LockHolders,
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
    if let Some(lock) = state.lock_wait(TimerKind::WorkflowLock) {
        waiting.push(for_lock(None, lock, holders));
    }
    for (definition, step) in plan.definition().steps.iter().zip(&state.steps) {
        if step.waits_for_lock() {
            let lock = step.lock.as_deref().filter(|_| !state.paused);
            waiting.extend(lock.map(|lock| for_lock(Some(&definition.name), lock, holders)));
        } else if status == Status::Error && step.needs_operator(state.phase) {
            waiting.push(operator(definition, step));
        } else if let Some(waits) = waiting_for_child(definition, step) {
            waiting.push(waits);
        } else if let Some(waits) = waiting_of_wait(definition, step, state.paused) {
            waiting.push(waits);
        } else if let Some((side, step_status, progress)) = open_side(step) {
            let probe = definition.failure.probe.as_ref().filter(|_| is_probed(side, step));
            let (Some(action), true) =
                (probe.or(definition.action(side)), progress.running.is_some() || !state.paused)
            else {
                continue;
            };
            let Some(service) = action.service() else { continue };
            let topic = topic_of(&state.namespace, service, side);
            // A queue that does not respond is not evidence that a worker is missing.
            let is_served = queue.has_consumer(&topic).await.unwrap_or(true);
            let (status, failure) = (step_status, step.error.as_ref());
            let waits_for_doubt = side == Side::Execute && step.probes == Some(0);
            let command = OpenCommand {
                step: definition,
                side,
                status,
                progress,
                action,
                failure,
                is_served,
                waits_for_doubt,
            };
            waiting.push(waiting_for(&command, now));
        }
    }
    waiting
}

/// Returns whether the open command of a side is a probe.
fn is_probed(side: Side, step: &StepState) -> bool {
    side == Side::Execute && step.probes.is_some()
}

/// Returns what a step with a child waits for.
fn waiting_for_child(definition: &Step, step: &StepState) -> Option<Waiting> {
    let (side, status, progress) = open_side(step)?;
    let child = definition.action(side)?.child()?;
    let detail = match (side, step.child) {
        (Side::Execute, None) if status == StepStatus::Retrying => {
            let error = step.error.as_ref();
            let cause = error.map(|error| format!(" after {}: {}", error.code, error.message));
            format!(
                "the next child {} waits for its retry delay{}",
                child.workflow,
                cause.unwrap_or_default()
            )
        }
        (Side::Execute, None) => format!("child {} is about to start", child.workflow),
        (Side::Execute, Some(id)) => format!("child {} ({id}) has not ended", child.workflow),
        (Side::Compensate, None) => format!("child {} is withdrawn", child.workflow),
        (Side::Compensate, Some(id)) => format!("child {} ({id}) rolls back", child.workflow),
    };
    let until = progress.due_at.filter(|_| status == StepStatus::Retrying);
    Some(Waiting {
        kind: WaitingKind::Child,
        step: Some(definition.name.clone()),
        since: progress.started_at.or(since(progress)).map(Time),
        until: until.map(Time),
        detail,
    })
}

/// Returns what a step without a service waits for.
fn waiting_of_wait(definition: &Step, step: &StepState, paused: bool) -> Option<Waiting> {
    if !step.is_waiting() {
        return None;
    }
    let (kind, detail) = match &definition.action {
        Action::Sleep { .. } => (WaitingKind::Timer, "the step sleeps".to_owned()),
        Action::Signal { name, .. } => (WaitingKind::Signal, format!("the step waits for the signal {name}")),
        Action::Run { .. } | Action::Call(_) | Action::Child(_) => return None,
    };
    Some(Waiting {
        kind,
        step: Some(definition.name.clone()),
        since: since(&step.execute).map(Time),
        // The end of the pause moves the end of the wait.
        until: step.execute.due_at.filter(|_| !paused).map(Time),
        detail,
    })
}

fn for_lock(step: Option<&String>, lock: &LockState, holders: &LockHolders) -> Waiting {
    let locks: Vec<String> = lock
        .locks
        .iter()
        .map(|lock| match holders.get(&lock.key) {
            Some(holder) => format!("lock {} is held by {holder}", lock.key),
            None => format!("lock {} is free or about to be acquired", lock.key),
        })
        .collect();
    Waiting {
        kind: WaitingKind::Lock,
        step: step.cloned(),
        since: Some(Time(lock.requested_at)),
        until: lock.until.map(Time),
        detail: locks.join("; "),
    }
}

/// Corrects the waits for capacity of services that no executor serves. A broker does not know who consumes, but executors
/// announce what they serve.
pub(crate) fn find_unserved(waiting: &mut [Waiting], plan: &Plan, state: &State, members: &[Member]) {
    let is_served = |service: &str| {
        let mut served = members.iter().flat_map(|member| member.announcement.info.served());
        served.any(|served| served.namespace == state.namespace && served.service == service)
    };
    let steps = plan.definition().steps.iter().zip(&state.steps);
    for (definition, step) in steps {
        let Some((side, ..)) = open_side(step) else { continue };
        let Some(service) = definition.action(side).and_then(Action::service) else { continue };
        let name = Some(&definition.name);
        let unserved = waiting.iter_mut().find(|waiting| {
            waiting.kind == WaitingKind::Capacity && waiting.step.as_ref() == name && !is_served(service)
        });
        if let Some(waiting) = unserved {
            waiting.kind = WaitingKind::NoWorker;
            waiting.detail = no_worker(service);
        }
    }
}

fn no_worker(service: &str) -> String {
    if service == CALLS_SERVICE {
        return "no executor makes calls: each has executor.services, which leaves them out".to_owned();
    }
    format!("no worker serves {service}, and the service has no HTTP address")
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
    /// Whether the command is the first probe, which waits until no attempt can take effect any more.
    waits_for_doubt: bool,
}

fn waiting_for(command: &OpenCommand<'_>, now: Timestamp) -> Waiting {
    let OpenCommand { step, side, status, progress, action, failure, is_served, waits_for_doubt } = command;
    let attempt = progress.attempt();
    let operation = match side {
        Side::Execute => action_name(action),
        Side::Compensate => format!("compensation {}", action_name(action)),
    };
    let due = progress.due_at.filter(|due| *due > now);
    let retrying =
        matches!(status, StepStatus::Retrying | StepStatus::CompensationRetrying) && !waits_for_doubt;
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
            let service = action.service().unwrap_or_default();
            (WaitingKind::NoWorker, progress.due_at.or(since(progress)), None, no_worker(service))
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

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_definition::{Cel, Format, Limits};
    use goconductor_saga::{StartWorkflow, WorkflowId};
    use goconductor_store::{Announcement, ProcessInfo, ServedService};
    use std::time::Duration;

    fn executor_of(namespace: &str, service: &str) -> Member {
        let served = ServedService {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            ..ServedService::default()
        };
        let info = ProcessInfo { services: Some(vec![served]), ..ProcessInfo::default() };
        let announcement = Announcement {
            instance: "executor-1".to_owned(),
            kind: "saga-executor".to_owned(),
            address: String::new(),
            info,
            ttl: Duration::from_secs(5),
        };
        Member { announcement, since: Timestamp(0), seen_at: Timestamp(0) }
    }

    #[test]
    fn command_of_an_unserved_service_waits_for_a_worker() {
        let yaml = "workflow: w\nsteps: [{name: s, run: parcels/pack, compensate: none}]\n";
        let checked = goconductor_definition::parse(yaml.as_bytes(), Format::Yaml, &Limits::default());
        let plan = Plan::new(checked.unwrap().definition, 1).unwrap();
        let start = StartWorkflow {
            id: WorkflowId(uuid::Uuid::from_u128(1)),
            namespace: "shop".to_owned(),
            input: goconductor_saga::Json::Null,
            labels: std::collections::BTreeMap::new(),
            actor: None,
            trace: None,
        };
        let (_, state) = goconductor_saga::start(&plan, &Cel::new(), &start, Timestamp(0));
        let kind_with = |members: &[Member]| {
            let mut waiting = [Waiting {
                kind: WaitingKind::Capacity,
                step: Some("s".to_owned()),
                since: None,
                until: None,
                detail: "pack waits for capacity: the service is busy".to_owned(),
            }];
            find_unserved(&mut waiting, &plan, &state, members);
            waiting[0].kind
        };
        assert_eq!(kind_with(&[executor_of("shop", "parcels")]), WaitingKind::Capacity);
        for members in [vec![], vec![executor_of("shop", "payments")], vec![executor_of("other", "parcels")]]
        {
            assert_eq!(kind_with(&members), WaitingKind::NoWorker, "{members:?}");
        }
    }
}
