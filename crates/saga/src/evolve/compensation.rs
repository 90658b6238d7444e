//! The fold of the events about compensations.

use super::{issue, settle};
use crate::state::{StepState, StepStatus};
use crate::{Event, EventKind, Side};

/// Applies an event of the compensate side to its step.
pub(super) fn apply(step: &mut StepState, event: &Event) {
    let at = event.time;
    match &event.kind {
        EventKind::CompensationUnneeded { .. } => step.compensation_unneeded = true,
        EventKind::CompensationQueued { due_at, limited, .. } => {
            step.tolerated = false;
            step.compensation = Some(StepStatus::CompensationQueued);
            issue(&mut step.compensate, at, *due_at);
            step.compensate.counted_from = limited.then_some(*due_at);
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
