//! The end of a pause.

use crate::state::{State, StepState, StepStatus};
use crate::{Progress, Timestamp};

/// Ends a pause, if there is one, and moves the deadlines by its length.
pub(super) fn end(state: &mut State, at: Timestamp) {
    if !core::mem::take(&mut state.paused) {
        return;
    }
    let (seq, paused_at) = (state.seq, state.paused_at.unwrap_or(at));
    let of_steps = state.steps.iter_mut().filter_map(|step| step.lock.as_deref_mut());
    for lock in state.lock.as_deref_mut().into_iter().chain(of_steps).filter(|lock| !lock.is_held()) {
        lock.request_again(seq, paused_at, at);
    }
    let Some(since) = state.paused_at.take() else { return };
    state.deadline = state.deadline.map(|deadline| deadline.after(at.since(since)));
    let open = |step: &&mut StepState| step.compensation.is_some_and(StepStatus::is_open);
    state.steps.iter_mut().filter(open).for_each(|step| resume_compensation(&mut step.compensate, since, at));
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

/// Moves the clocks of a compensation by the length of the pause, if it has limits.
fn resume_compensation(progress: &mut Progress, since: Timestamp, at: Timestamp) {
    let Some(from) = progress.counted_from else { return };
    let moved = |clock: Timestamp| clock.after(at.since(since.max(clock)));
    progress.counted_from = Some(moved(from));
    // The wait for a start counts from when the command is due. A command that was due before the pause ended is still
    // due at its end.
    if progress.running.is_none() {
        progress.due_at = progress.due_at.map(moved);
    }
}
