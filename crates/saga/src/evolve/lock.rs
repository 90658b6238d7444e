//! The fold of the events about locks.

use crate::state::{State, StepState, StepStatus};
use crate::{Event, EventKind, LockScope, LockState};
use alloc::boxed::Box;

/// Keeps the last payload of each signal for the input of a step.
pub(super) fn keep_signals(state: &mut State, step: crate::StepIndex) {
    if let Some(step) = state.steps.get_mut(step.at()) {
        step.signals = Some(state.signals.last.clone());
    }
}

/// Applies an event about locks to the workflow. Those of a step do not concern it, except for its signals.
pub(super) fn apply_to_workflow(state: &mut State, event: &Event) {
    if let EventKind::LocksRequested { step: Some(step), keeps_signals: true, .. } = &event.kind {
        keep_signals(state, *step);
    }
    if event.kind.step().is_none() {
        apply(&mut state.lock, event);
    }
}

/// Applies a request or an acquisition to a step. The command of the step is issued with the lock.
pub(super) fn apply_to_step(step: &mut StepState, event: &Event) {
    apply(&mut step.lock, event);
    step.execution = StepStatus::Queued;
    step.execute.due_at = None;
    if matches!(event.kind, EventKind::LocksAcquired { .. }) {
        // The wait for the lock does not count against the limits of the step.
        step.execute.queued_at = Some(event.time);
        step.execute.counted_from = None;
        step.execute.due_at = Some(event.time);
    }
}

/// Releases the lock of a step whose execute side has settled, unless the step is in doubt: an attempt may still take
/// effect, and must not overlap with the next holder.
pub(super) fn release_settled(step: &mut StepState) {
    if step.execution != StepStatus::Unknown {
        release(step);
    }
}

/// Ends the wait for the lock of a step, and releases a lock that was held for the step only.
pub(super) fn release(step: &mut StepState) {
    if step.lock.as_deref().is_some_and(|lock| lock.hold == LockScope::Step || !lock.is_held()) {
        step.lock = None;
    }
}

/// Applies an event about locks to those of the definition or of a step.
fn apply(lock: &mut Option<Box<LockState>>, event: &Event) {
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
