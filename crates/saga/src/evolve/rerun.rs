//! The begin of a re-run, and the reset of its steps.

use crate::state::{Phase, State, StepState, StepStatus};
use crate::{RerunState, RollbackCause, StepIndex, Timestamp};
use alloc::boxed::Box;

/// Begins to undo the steps of a re-run.
pub(super) fn begin(state: &mut State, steps: &[StepIndex], keeps: &[StepIndex]) {
    state.phase = Phase::RollingBack;
    state.cause = Some(RollbackCause::Operator);
    state.rollback_pending = false;
    state.ended_at = None;
    state.output = None;
    state.error = None;
    let rerun = RerunState { steps: steps.to_vec(), keeps: keeps.to_vec() };
    for (index, step) in (0u32..).map(StepIndex).zip(&mut state.steps) {
        // The operator who ended the workflow did not compensate the step, so the compensation is tried again.
        if rerun.undoes(index)
            && step.compensation == Some(StepStatus::CompensationFailed)
            && !step.is_compensated()
        {
            step.compensation = None;
            step.compensate = step.compensate.begun_again();
        }
    }
    state.rerun = Some(Box::new(rerun));
}

/// Makes the steps of a re-run pending again.
pub(super) fn reset(state: &mut State, deadline: Option<Timestamp>) {
    let Some(rerun) = state.rerun.take() else { return };
    state.phase = Phase::InProgress;
    state.cause = None;
    state.error = None;
    state.deadline = deadline;
    for (index, step) in (0u32..).map(StepIndex).zip(&mut state.steps) {
        if rerun.steps.contains(&index) {
            *step = next_generation(step);
        } else {
            // The condition of the compensation can have another value after the re-run.
            step.compensation_unneeded = false;
        }
    }
}

fn next_generation(step: &StepState) -> StepState {
    let execute = step.execute.in_next_generation();
    StepState {
        generation: step.generation.saturating_add(1),
        earlier_attempts: execute.ended,
        execute,
        compensate: step.compensate.in_next_generation(),
        ..StepState::default()
    }
}
