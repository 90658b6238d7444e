//! Inputs of operators: retry, skip, complete. During a rollback they apply to the compensation.

use super::{Decision, Refusal};
use crate::{EventKind, Failure, Json, RollbackCause, Side, StepIndex, StepState, StepStatus, Timestamp};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

impl Decision<'_> {
    pub(super) fn retry_step(&mut self, step: StepIndex, reason: Option<String>) -> Result<(), Refusal> {
        let (side, state) = self.open_to_operator(step, "retried")?;
        if side == Side::Execute && state.is_in_doubt() && self.undoes_a_child(step) {
            let detail = "the child of the step may have an effect, and a rollback would undo only the child of the \
                          retry: skip or complete the step, or cancel the workflow";
            return Err(Refusal::Conflict(detail.to_owned()));
        }
        let limited = side == Side::Compensate && self.compensation_is_limited(step);
        self.emit(EventKind::StepRetried { step, side, reason, limited });
        if side == Side::Execute {
            self.request_lock_again(step);
        }
        Ok(())
    }

    pub(super) fn skip_step(&mut self, step: StepIndex, reason: &str) -> Result<(), Refusal> {
        let (side, state) = self.open_to_operator(step, "skipped")?;
        if side == Side::Compensate {
            self.emit(EventKind::CompensationSkipped { step, reason: reason.to_owned() });
            return Ok(());
        }
        if self.is_pivot(step) {
            // The workflow cannot continue without the pivot, so a skip states that it did not happen.
            let attempt = state.execute.ended;
            let failure = state.error.unwrap_or_else(|| Failure::of("OPERATOR", reason));
            let reason = Some(reason.to_owned());
            self.emit(EventKind::StepFailed { step, attempt, started_at: None, failure, reason });
            self.begin_rollback(RollbackCause::Operator, Some(step), None);
            return Ok(());
        }
        let doubt_until = self.doubt_of_next_attempt(step, &state);
        self.emit(EventKind::StepSkipped {
            step,
            why: "OPERATOR".to_owned(),
            reason: Some(reason.to_owned()),
            doubt_until,
        });
        Ok(())
    }

    pub(super) fn complete_step(
        &mut self,
        step: StepIndex,
        output: &Json,
        reason: &str,
    ) -> Result<(), Refusal> {
        let (side, state) = self.open_to_operator(step, "completed")?;
        let reason = Some(reason.to_owned());
        let attempt = state.progress(side).ended;
        match side {
            Side::Compensate => {
                self.emit(EventKind::StepCompensated { step, attempt, started_at: None, reason });
            }
            Side::Execute => {
                let doubt_until = self.doubt_of_next_attempt(step, &state);
                let output = Arc::new(output.clone());
                self.emit(EventKind::StepCompleted {
                    step,
                    attempt,
                    started_at: None,
                    output,
                    reason,
                    doubt_until,
                });
                self.pivot_completed(step);
            }
        }
        Ok(())
    }

    /// Returns the side of a step that an operator can change: one that failed, or waits for its next attempt.
    fn open_to_operator(&self, step: StepIndex, verb: &str) -> Result<(Side, StepState), Refusal> {
        let state = self.state.step(step).ok_or(Refusal::UnknownStep)?.clone();
        let (side, status) = if self.state.phase.is_forward() {
            (Side::Execute, Some(state.execution))
        } else {
            (Side::Compensate, state.compensation)
        };
        let open = match status {
            // The steps that depend on a tolerated failure may have run.
            Some(StepStatus::Failed | StepStatus::Unknown) => !state.tolerated,
            Some(StepStatus::Retrying) => true,
            Some(StepStatus::CompensationRetrying) => true,
            Some(StepStatus::CompensationFailed) => !state.skipped_by_operator && !state.tolerated,
            Some(_) | None => false,
        };
        // A wait has no attempt in flight that could contradict the operator.
        if open || (side == Side::Execute && verb != "retried" && self.is_waiting(step)) {
            return Ok((side, state));
        }
        let what = match side {
            Side::Execute => "step",
            Side::Compensate => "compensation",
        };
        let status = status.unwrap_or(state.execution).as_str();
        Err(Refusal::Conflict(format!(
            "a {what} can be {verb} only after it failed or while it waits for its next attempt, but it is {status}"
        )))
    }

    /// Returns whether the compensation of the step rolls a child back: that of the last attempt.
    fn undoes_a_child(&self, step: StepIndex) -> bool {
        let undo = self.plan.step(step).and_then(|step| step.compensate.as_ref());
        undo.is_some_and(|undo| undo.action.child().is_some())
    }

    /// Returns the doubt of a step that waits for its next attempt. The attempt may have begun without a recorded
    /// start.
    fn doubt_of_next_attempt(&self, step: StepIndex, state: &StepState) -> Option<Timestamp> {
        let timeout = self.plan.step(step)?.attempt_timeout(Side::Execute);
        (state.execution == StepStatus::Retrying).then(|| self.now.after(timeout))
    }
}
