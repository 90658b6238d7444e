//! The state after an event. Only this module builds states.

use crate::state::{Phase, Progress, Running, STATE_FORMAT, State, StepState, StepStatus};
use crate::{Child, Event, EventKind, Failure, LockScope, LockState, Side, StepIndex, Timestamp};
use alloc::boxed::Box;
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
        EventKind::StepQueued { step, keeps_signals: true } => keep_signals(state, *step),
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
        EventKind::LocksRequested { .. }
        | EventKind::LocksAcquired { .. }
        | EventKind::LocksFailed { .. } => apply_locks_to_workflow(state, event),
        EventKind::RollbackRequested { cause, .. } => {
            state.cause = Some(*cause);
            state.rollback_pending = true;
            end_pause(state, event.time);
        }
        EventKind::RollbackRefused { .. } => {
            state.cause = None;
            state.rollback_pending = false;
        }
        EventKind::RollbackStarted { cause, .. } => {
            state.phase = Phase::RollingBack;
            state.cause = Some(*cause);
            state.rollback_pending = false;
            // A completed workflow that rolls back has neither ended nor an output. Otherwise both are already absent.
            state.ended_at = None;
            state.output = None;
        }
        EventKind::WorkflowPaused { .. } => {
            state.paused = true;
            state.paused_at = state.rules.pause_stops_clocks().then_some(event.time);
        }
        EventKind::WorkflowResumed { .. } => end_pause(state, event.time),
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

/// Keeps the last payload of each signal for the input of a step.
fn keep_signals(state: &mut State, step: StepIndex) {
    if let Some(step) = state.steps.get_mut(step.at()) {
        step.signals = Some(state.signals.last.clone());
    }
}

/// Applies an event about locks to the workflow. Those of a step do not concern it, except for its signals.
fn apply_locks_to_workflow(state: &mut State, event: &Event) {
    if let EventKind::LocksRequested { step: Some(step), keeps_signals: true, .. } = &event.kind {
        keep_signals(state, *step);
    }
    if let EventKind::LocksFailed { failure } = &event.kind {
        state.lock = None;
        record_error(state, failure);
    } else if event.kind.step().is_none() {
        apply_locks(&mut state.lock, event);
    }
}

/// Applies a request or an acquisition to a step. The command of the step is issued with the lock.
fn apply_locks_to_step(step: &mut StepState, event: &Event) {
    apply_locks(&mut step.lock, event);
    step.execution = StepStatus::Queued;
    step.execute.due_at = None;
    if matches!(event.kind, EventKind::LocksAcquired { .. }) {
        // The wait for the lock does not count against the limits of the step.
        step.execute.queued_at = Some(event.time);
        step.execute.counted_from = None;
        issue(&mut step.execute, event.time, event.time);
    }
}

/// Applies an event about locks to those of the definition or of a step.
fn apply_locks(lock: &mut Option<Box<LockState>>, event: &Event) {
    match (&event.kind, lock) {
        (EventKind::LocksRequested { locks, hold, until, .. }, lock) => {
            *lock = Some(Box::new(LockState {
                locks: locks.clone(),
                hold: *hold,
                request: event.seq,
                requested_at: event.time,
                until: *until,
            }));
        }
        (EventKind::LocksAcquired { tokens, .. }, Some(lock)) => {
            lock.set_tokens(tokens);
            lock.until = None;
        }
        (_, _) => {}
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

/// Ends a pause, if there is one, and moves the deadlines by its length.
fn end_pause(state: &mut State, at: Timestamp) {
    state.paused = false;
    let (seq, paused_at) = (state.seq, state.paused_at.unwrap_or(at));
    let of_steps = state.steps.iter_mut().filter_map(|step| step.lock.as_deref_mut());
    for lock in state.lock.as_deref_mut().into_iter().chain(of_steps).filter(|lock| !lock.is_held()) {
        lock.request_again(seq, paused_at, at);
    }
    let Some(since) = state.paused_at.take() else { return };
    state.deadline = state.deadline.map(|deadline| deadline.after(at.since(since)));
    for step in state.steps.iter_mut().filter(|step| step.execution.is_open()) {
        let is_waiting = step.is_waiting();
        let progress = &mut step.execute;
        if is_waiting {
            // Only a wait for a duration has a clock.
            if progress.counted_from.is_some() {
                progress.due_at = progress.due_at.map(|due| due.after(at.since(since)));
            }
            continue;
        }
        // An operator's retry during the pause restarted the limits.
        progress.counted_from = progress.limits_from().map(|from| from.after(at.since(since.max(from))));
    }
}

fn end(state: &mut State, phase: Phase, at: Timestamp) {
    state.phase = phase;
    state.paused = false;
    state.paused_at = None;
    state.rollback_pending = false;
    // A rollback that begins after the completion must not use the tokens of locks that were released.
    state.lock = None;
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
        EventKind::FailureTolerated { .. } => step.tolerated = true,
        EventKind::StepWaiting { .. } | EventKind::StepProbing { .. } | EventKind::ChildStarted { .. } => {
            apply_to_wait(step, event);
        }
        EventKind::StepSkipped { .. }
        | EventKind::StepCompleted { .. }
        | EventKind::StepFailed { .. }
        | EventKind::StepUnknown { .. } => apply_end(step, event),
        EventKind::StepWithdrawn { .. } => {
            step.execution = StepStatus::Pending;
            step.execute = Progress::default();
            release_lock(step);
        }
        EventKind::CompensationQueued { .. }
        | EventKind::CompensationUnneeded { .. }
        | EventKind::StepCompensated { .. }
        | EventKind::CompensationFailed { .. }
        | EventKind::CompensationSkipped { .. } => apply_to_compensation(step, event),
        EventKind::StepRetried { side, .. } => retried(step, *side, at),
        EventKind::LocksRequested { .. } | EventKind::LocksAcquired { .. } => {
            apply_locks_to_step(step, event)
        }
        EventKind::WorkflowStarted { .. }
        | EventKind::SignalReceived { .. }
        | EventKind::SignalDelivered { .. }
        | EventKind::RollbackRequested { .. }
        | EventKind::RollbackRefused { .. }
        | EventKind::RollbackStarted { .. }
        | EventKind::LocksFailed { .. }
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
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::WorkflowCompleted { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => {}
    }
}

/// Ends the wait for the lock of a step that has settled, and releases a lock that was held for the step only.
fn release_lock(step: &mut StepState) {
    if step.lock.as_deref().is_some_and(|lock| lock.hold == LockScope::Step || !lock.is_held()) {
        step.lock = None;
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

/// Applies the events of the compensate side.
fn apply_to_compensation(step: &mut StepState, event: &Event) {
    let at = event.time;
    match &event.kind {
        EventKind::CompensationUnneeded { .. } => step.compensation_unneeded = true,
        EventKind::CompensationQueued { due_at, .. } => {
            step.tolerated = false;
            step.compensation = Some(StepStatus::CompensationQueued);
            issue(&mut step.compensate, at, *due_at);
        }
        EventKind::StepCompensated { attempt, started_at, .. } => {
            step.compensate.ended = (*attempt).max(step.compensate.ended);
            settle(step, Side::Compensate, StepStatus::Compensated, *started_at, at);
        }
        EventKind::CompensationFailed { attempt, started_at, failure, .. } => {
            // A skip of the execute side does not cover its compensation.
            step.skipped_by_operator = false;
            step.tolerated = false;
            step.error = Some(failure.clone());
            step.compensate.ended = (*attempt).max(step.compensate.ended);
            settle(step, Side::Compensate, StepStatus::CompensationFailed, *started_at, at);
        }
        EventKind::CompensationSkipped { .. } => {
            step.skipped_by_operator = true;
            settle(step, Side::Compensate, StepStatus::CompensationFailed, None, at);
        }
        EventKind::WorkflowStarted { .. }
        | EventKind::StepQueued { .. }
        | EventKind::StepWaiting { .. }
        | EventKind::SignalReceived { .. }
        | EventKind::SignalDelivered { .. }
        | EventKind::StepSkipped { .. }
        | EventKind::AttemptStarted { .. }
        | EventKind::AttemptFailed { .. }
        | EventKind::ChildStarted { .. }
        | EventKind::StepCompleted { .. }
        | EventKind::StepFailed { .. }
        | EventKind::StepUnknown { .. }
        | EventKind::StepProbing { .. }
        | EventKind::FailureTolerated { .. }
        | EventKind::StepWithdrawn { .. }
        | EventKind::StepRetried { .. }
        | EventKind::RollbackRequested { .. }
        | EventKind::RollbackRefused { .. }
        | EventKind::RollbackStarted { .. }
        | EventKind::LocksRequested { .. }
        | EventKind::LocksAcquired { .. }
        | EventKind::LocksFailed { .. }
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::WorkflowCompleted { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => {}
    }
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

fn retried(step: &mut StepState, side: Side, at: Timestamp) {
    if side == Side::Execute {
        step.probes = None;
    }
    let progress = step.progress_mut(side);
    progress.reset_attempts = progress.ended;
    progress.running = None;
    progress.ended_at = None;
    // Time limits restart. Otherwise an expired limit would end the step again at once.
    progress.queued_at = Some(at);
    progress.counted_from = None;
    issue(progress, at, at);
    match side {
        Side::Execute => {
            step.execution = StepStatus::Queued;
            step.child = None;
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
            release_lock(step);
        }
        Side::Compensate => step.compensation = Some(status),
    }
}
