//! The state after an event. Only this module builds states.

mod compensation;
mod lock;
mod pause;
mod rerun;
mod rollback;

use crate::state::{Phase, STATE_FORMAT, State, StepState, StepStatus};
use crate::{Child, Event, EventKind, Failure, Progress, Running, Side, Timestamp};
use alloc::vec;
use core::time::Duration;

/// Returns the state after an event. The state before the first event is `None`.
///
/// An event that does not follow the state changes nothing: its number is not the next one, or it is the first
/// and not a start. A checker recognizes this because the `seq` of the state stays behind.
#[must_use]
pub fn evolve(state: Option<State>, event: &Event) -> Option<State> {
    match (state, &event.kind) {
        (None, EventKind::WorkflowStarted { .. }) => started(event),
        (None, _) => None,
        (Some(mut state), _) => {
            if event.seq == state.seq.saturating_add(1) {
                state.seq = event.seq;
                apply(&mut state, event);
            }
            Some(state)
        }
    }
}

fn started(event: &Event) -> Option<State> {
    let EventKind::WorkflowStarted {
        id,
        namespace,
        definition,
        version,
        rules,
        steps,
        input,
        labels,
        deadline,
        trace,
        parent,
    } = &event.kind
    else {
        return None;
    };
    Some(State {
        format: STATE_FORMAT,
        id: *id,
        namespace: namespace.clone(),
        definition: definition.clone(),
        version: *version,
        rules: *rules,
        seq: event.seq,
        phase: Phase::Queued,
        paused: false,
        paused_at: None,
        cause: None,
        rollback_pending: false,
        input: input.clone(),
        output: None,
        error: None,
        labels: labels.clone(),
        signals: crate::Signals::default(),
        created_at: event.time,
        ended_at: None,
        deadline: *deadline,
        trace: trace.clone(),
        parent: *parent,
        lock: None,
        rerun: None,
        steps: vec![StepState::default(); usize::try_from(*steps).unwrap_or(0)],
        sealed: None,
    })
}

/// Applies any event but the first: first to its step, then to the workflow.
pub(crate) fn apply(state: &mut State, event: &Event) {
    if let Some(index) = event.kind.step()
        && let Some(step) = state.steps.get_mut(index.at())
    {
        apply_to_step(step, event);
    }
    apply_to_workflow(state, event);
}

fn apply_to_workflow(state: &mut State, event: &Event) {
    match &event.kind {
        EventKind::AttemptStarted { .. }
        | EventKind::AttemptFailed { .. }
        | EventKind::StepProbing { .. }
        | EventKind::StepWaiting { .. }
        | EventKind::ChildStarted { .. }
        | EventKind::StepCompleted { .. } => mark_in_progress(state),
        EventKind::StepQueued { step, keeps_signals: true } => lock::keep_signals(state, *step),
        EventKind::FailureTolerated { .. } => {
            // The failure of a compensation remains, because its effect does. Failures are not compared, because an
            // encrypted one has no content.
            let phase = state.phase;
            if phase.is_forward() && !state.steps.iter().any(|step| step.needs_operator(phase)) {
                state.error = None;
            }
        }
        EventKind::SignalReceived { name, payload, key } => {
            state.signals.receive(name, payload, key.as_ref());
        }
        EventKind::SignalDelivered { name, .. } => state.signals.deliver(name),
        EventKind::StepFailed { failure, .. } | EventKind::StepUnknown { failure, .. } => {
            mark_in_progress(state);
            record_error(state, failure);
        }
        EventKind::CompensationFailed { failure, .. } => record_error(state, failure),
        EventKind::LocksFailed { failure } => {
            state.lock = None;
            record_error(state, failure);
        }
        EventKind::LocksRequested { .. } | EventKind::LocksAcquired { .. } => {
            lock::apply_to_workflow(state, event)
        }
        EventKind::RollbackRequested { cause, .. } => rollback::request(state, *cause, event.time),
        EventKind::RollbackRefused { .. } => rollback::refuse(state),
        EventKind::RollbackStarted { cause, .. } => rollback::begin(state, *cause),
        EventKind::RerunStarted { steps, keeps, .. } => rerun::begin(state, steps, keeps),
        EventKind::StepsReset { deadline } => rerun::reset(state, *deadline),
        EventKind::WorkflowMigrated { version, steps, .. } => {
            state.version = *version;
            state.steps.resize(usize::try_from(*steps).unwrap_or(0), StepState::default());
        }
        EventKind::WorkflowPaused { .. } => {
            state.paused = true;
            state.paused_at = state.rules.pause_stops_clocks().then_some(event.time);
        }
        EventKind::WorkflowResumed { .. } => pause::end(state, event.time),
        EventKind::WorkflowCompleted { output, failure } => {
            state.output = Some(output.clone());
            state.error.clone_from(failure);
            end(state, Phase::Completed, event.time);
        }
        EventKind::WorkflowRolledBack {} => end(state, Phase::RolledBack, event.time),
        EventKind::WorkflowTerminated { .. } => end(state, Phase::Terminated, event.time),
        EventKind::WorkflowStarted { .. }
        | EventKind::StepQueued { keeps_signals: false, .. }
        | EventKind::StepSkipped { .. }
        | EventKind::StepWithdrawn { .. }
        | EventKind::CompensationQueued { .. }
        | EventKind::CompensationUnneeded { .. }
        | EventKind::StepCompensated { .. }
        | EventKind::CompensationSkipped { .. }
        | EventKind::StepRetried { .. } => {}
    }
}

fn mark_in_progress(state: &mut State) {
    if state.phase == Phase::Queued {
        state.phase = Phase::InProgress;
    }
}

fn record_error(state: &mut State, failure: &Failure) {
    // The first failure is the cause. Later failures are its consequences.
    if state.error.is_none() {
        state.error = Some(failure.clone());
    }
}

fn end(state: &mut State, phase: Phase, at: Timestamp) {
    state.phase = phase;
    state.paused = false;
    state.paused_at = None;
    state.rollback_pending = false;
    // A rollback that begins after the completion must not use the tokens of locks that were released.
    state.lock = None;
    state.rerun = None;
    state.steps.iter_mut().for_each(|step| step.lock = None);
    state.ended_at = Some(at);
}

fn apply_to_step(step: &mut StepState, event: &Event) {
    let at = event.time;
    match &event.kind {
        EventKind::StepQueued { .. } => {
            step.execution = StepStatus::Queued;
            issue(&mut step.execute, at, at);
        }
        EventKind::AttemptStarted { side, started_at, deadline, executor, trace, .. } => {
            let progress = step.progress_mut(*side);
            progress.started_at.get_or_insert(*started_at);
            progress.running = Some(Running {
                started_at: *started_at,
                deadline: *deadline,
                executor: executor.clone(),
                trace: trace.clone(),
            });
            match side {
                Side::Execute => step.execution = StepStatus::InProgress,
                Side::Compensate => step.compensation = Some(StepStatus::Compensating),
            }
        }
        EventKind::AttemptFailed { .. } => apply_failed_attempt(step, event),
        EventKind::FailureTolerated { .. } => {
            step.tolerated = true;
            // The workflow continues and may request lesser keys, so a lock that it kept could deadlock.
            lock::release(step);
        }
        EventKind::StepWaiting { .. } | EventKind::StepProbing { .. } | EventKind::ChildStarted { .. } => {
            apply_to_wait(step, event);
        }
        EventKind::StepSkipped { .. }
        | EventKind::StepCompleted { .. }
        | EventKind::StepFailed { .. }
        | EventKind::StepUnknown { .. } => apply_end(step, event),
        EventKind::StepWithdrawn { .. } => {
            step.execution = StepStatus::Pending;
            step.execute = step.execute.begun_again();
            lock::release(step);
        }
        EventKind::CompensationQueued { .. }
        | EventKind::CompensationUnneeded { .. }
        | EventKind::StepCompensated { .. }
        | EventKind::CompensationFailed { .. }
        | EventKind::CompensationSkipped { .. } => compensation::apply(step, event),
        EventKind::StepRetried { side, limited, .. } => retried(step, *side, at, *limited),
        EventKind::LocksRequested { .. } | EventKind::LocksAcquired { .. } => {
            lock::apply_to_step(step, event)
        }
        EventKind::WorkflowStarted { .. }
        | EventKind::SignalReceived { .. }
        | EventKind::SignalDelivered { .. }
        | EventKind::RollbackRequested { .. }
        | EventKind::RollbackRefused { .. }
        | EventKind::RollbackStarted { .. }
        | EventKind::LocksFailed { .. }
        | EventKind::RerunStarted { .. }
        | EventKind::StepsReset { .. }
        | EventKind::WorkflowMigrated { .. }
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::WorkflowCompleted { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => {}
    }
}

/// Applies the beginning of a wait: for a time, for a signal or for the answer to a probe.
fn apply_to_wait(step: &mut StepState, event: &Event) {
    let at = event.time;
    match &event.kind {
        EventKind::StepWaiting { until, is_time, .. } => {
            let progress = &mut step.execute;
            progress.queued_at.get_or_insert(at);
            progress.started_at.get_or_insert(at);
            progress.counted_from = (until.is_some() && !is_time).then_some(at);
            progress.due_at = *until;
            step.execution = StepStatus::InProgress;
        }
        EventKind::StepProbing { attempt, started_at, failure, doubt_until, due_at, .. } => {
            retry(step, Side::Execute, *attempt, *started_at, *due_at);
            extend_doubt(step, Some(*doubt_until));
            step.error = Some(failure.clone());
            step.probes = Some(0);
        }
        EventKind::ChildStarted { child, .. } => {
            step.execution = StepStatus::InProgress;
            step.child = Some(*child);
            step.execute.started_at.get_or_insert(at);
            step.execute.due_at = Some(at.after(Child::check_interval(Duration::ZERO)));
        }
        EventKind::WorkflowStarted { .. }
        | EventKind::StepQueued { .. }
        | EventKind::SignalReceived { .. }
        | EventKind::SignalDelivered { .. }
        | EventKind::StepSkipped { .. }
        | EventKind::AttemptStarted { .. }
        | EventKind::AttemptFailed { .. }
        | EventKind::StepCompleted { .. }
        | EventKind::StepFailed { .. }
        | EventKind::StepUnknown { .. }
        | EventKind::FailureTolerated { .. }
        | EventKind::StepWithdrawn { .. }
        | EventKind::CompensationQueued { .. }
        | EventKind::CompensationUnneeded { .. }
        | EventKind::StepCompensated { .. }
        | EventKind::CompensationFailed { .. }
        | EventKind::CompensationSkipped { .. }
        | EventKind::StepRetried { .. }
        | EventKind::RollbackRequested { .. }
        | EventKind::RollbackRefused { .. }
        | EventKind::RollbackStarted { .. }
        | EventKind::LocksRequested { .. }
        | EventKind::LocksAcquired { .. }
        | EventKind::LocksFailed { .. }
        | EventKind::RerunStarted { .. }
        | EventKind::StepsReset { .. }
        | EventKind::WorkflowMigrated { .. }
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::WorkflowCompleted { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => {}
    }
}

/// Applies the end of the execute side.
fn apply_end(step: &mut StepState, event: &Event) {
    let at = event.time;
    match &event.kind {
        EventKind::StepSkipped { why, doubt_until, .. } => {
            step.skipped_by_operator = why == "OPERATOR";
            extend_doubt(step, *doubt_until);
            settle(step, Side::Execute, StepStatus::Skipped, None, at);
        }
        EventKind::StepCompleted { attempt, started_at, output, doubt_until, .. } => {
            step.output = Some(output.clone());
            step.error = None;
            step.execute.ended = (*attempt).max(step.execute.ended);
            extend_doubt(step, *doubt_until);
            settle(step, Side::Execute, StepStatus::Completed, *started_at, at);
        }
        EventKind::StepFailed { attempt, started_at, failure, .. } => {
            step.error = Some(failure.clone());
            // The outcome is now certain, because an operator may have supplied that of a pivot in doubt.
            step.doubt_until = None;
            step.execute.ended = (*attempt).max(step.execute.ended);
            settle(step, Side::Execute, StepStatus::Failed, *started_at, at);
        }
        EventKind::StepUnknown { attempt, started_at, failure, doubt_until, .. } => {
            step.error = Some(failure.clone());
            step.execute.ended = (*attempt).max(step.execute.ended);
            extend_doubt(step, Some(*doubt_until));
            settle(step, Side::Execute, StepStatus::Unknown, *started_at, at);
        }
        EventKind::WorkflowStarted { .. }
        | EventKind::StepQueued { .. }
        | EventKind::ChildStarted { .. }
        | EventKind::StepWaiting { .. }
        | EventKind::SignalReceived { .. }
        | EventKind::SignalDelivered { .. }
        | EventKind::AttemptStarted { .. }
        | EventKind::AttemptFailed { .. }
        | EventKind::StepProbing { .. }
        | EventKind::FailureTolerated { .. }
        | EventKind::StepWithdrawn { .. }
        | EventKind::CompensationQueued { .. }
        | EventKind::CompensationUnneeded { .. }
        | EventKind::StepCompensated { .. }
        | EventKind::CompensationFailed { .. }
        | EventKind::CompensationSkipped { .. }
        | EventKind::StepRetried { .. }
        | EventKind::RollbackRequested { .. }
        | EventKind::RollbackRefused { .. }
        | EventKind::RollbackStarted { .. }
        | EventKind::LocksRequested { .. }
        | EventKind::LocksAcquired { .. }
        | EventKind::LocksFailed { .. }
        | EventKind::RerunStarted { .. }
        | EventKind::StepsReset { .. }
        | EventKind::WorkflowMigrated { .. }
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::WorkflowCompleted { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => {}
    }
}

fn apply_failed_attempt(step: &mut StepState, event: &Event) {
    let EventKind::AttemptFailed {
        side, attempt, started_at, failure, doubt_until, retry_at, not_sent, ..
    } = &event.kind
    else {
        return;
    };
    retry(step, *side, *attempt, *started_at, *retry_at);
    step.progress_mut(*side).reset_attempts += u32::from(*not_sent);
    if let (Side::Execute, Some(probes)) = (side, &mut step.probes) {
        *probes += u32::from(!*not_sent);
    }
    extend_doubt(step, *doubt_until);
    step.error = Some(failure.clone());
}

fn issue(progress: &mut Progress, at: Timestamp, due_at: Timestamp) {
    progress.queued_at.get_or_insert(at);
    progress.due_at = Some(due_at);
}

fn retry(step: &mut StepState, side: Side, attempt: u32, started_at: Option<Timestamp>, retry_at: Timestamp) {
    let progress = step.progress_mut(side);
    progress.ended = attempt;
    progress.running = None;
    progress.due_at = Some(retry_at);
    if progress.started_at.is_none() {
        progress.started_at = started_at;
    }
    match side {
        Side::Execute => {
            step.execution = StepStatus::Retrying;
            step.child = None;
        }
        Side::Compensate => step.compensation = Some(StepStatus::CompensationRetrying),
    }
}

fn retried(step: &mut StepState, side: Side, at: Timestamp, limited: bool) {
    let due_at = step.earliest_command(side, at);
    let progress = step.progress_mut(side);
    progress.reset_attempts = progress.ended;
    progress.running = None;
    progress.ended_at = None;
    // Time limits restart. Otherwise an expired limit would end the step again at once.
    progress.queued_at = Some(at);
    progress.counted_from = limited.then_some(due_at);
    issue(progress, at, due_at);
    match side {
        Side::Execute => {
            step.execution = StepStatus::Queued;
            step.child = None;
            step.probes = None;
        }
        Side::Compensate => step.compensation = Some(StepStatus::CompensationQueued),
    }
}

fn extend_doubt(step: &mut StepState, until: Option<Timestamp>) {
    step.doubt_until = step.doubt_until.max(until);
}

fn settle(
    step: &mut StepState,
    side: Side,
    status: StepStatus,
    started_at: Option<Timestamp>,
    at: Timestamp,
) {
    let progress = step.progress_mut(side);
    progress.running = None;
    progress.due_at = None;
    progress.ended_at = Some(at);
    if progress.started_at.is_none() {
        progress.started_at = started_at;
    }
    match side {
        Side::Execute => {
            step.execution = status;
            step.probes = None;
            lock::release_settled(step);
        }
        Side::Compensate => {
            step.compensation = Some(status);
            if status == StepStatus::Compensated || step.skipped_by_operator {
                lock::release(step);
            }
        }
    }
}
