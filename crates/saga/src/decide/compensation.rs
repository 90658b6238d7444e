//! The end of the attempts of a compensation.

use super::attempt::FailedOutcome;
use super::{Decision, Refusal};
use crate::{EventKind, Failure, Side, StepIndex, StepStatus, Timestamp};

impl Decision<'_> {
    /// Ends the wait for the start of an attempt. The command was not sent, because its start would have been recorded
    /// first: the attempt failed, and nothing happened.
    pub(super) fn compensation_not_started(&mut self, step: StepIndex) -> Result<(), Refusal> {
        let Some(state) = self.state.step(step) else { return Err(Refusal::UnknownStep) };
        let attempt = state.compensate.attempt();
        let failure = Failure::of("QUEUE_TIMEOUT", "the compensation did not start within its queue timeout");
        self.compensate_failed(step, FailedOutcome::of(attempt, failure));
        Ok(())
    }

    /// Ends a compensation whose limit for all attempts expired between them.
    pub(super) fn compensation_expired(&mut self, step: StepIndex) -> Result<(), Refusal> {
        let Some(state) = self.state.step(step) else { return Err(Refusal::UnknownStep) };
        let attempt = state.compensate.ended;
        let failure =
            Failure::of("TOTAL_TIMEOUT", "the compensation did not succeed within its total timeout");
        self.compensation_failed(step, attempt, None, failure);
        Ok(())
    }

    /// Returns the side whose limits the timers of a step end. The sides are never open at the same time.
    pub(super) fn side_with_timers(&self, step: StepIndex) -> Side {
        let compensation = self.state.step(step).and_then(|state| state.compensation);
        if compensation.is_some_and(StepStatus::is_open) { Side::Compensate } else { Side::Execute }
    }

    /// Returns whether the compensation of a step has a limit whose clock a pause stops.
    pub(super) fn compensation_is_limited(&self, step: StepIndex) -> bool {
        let undo = self.plan.step(step).and_then(|step| step.compensate.as_ref());
        undo.is_some_and(|undo| undo.limits.has_clock())
    }

    /// Ends a compensation that failed. The rollback waits for an operator, unless the definition says otherwise.
    pub(super) fn compensation_failed(
        &mut self,
        step: StepIndex,
        attempt: u32,
        started_at: Option<Timestamp>,
        failure: Failure,
    ) {
        self.emit(EventKind::CompensationFailed { step, attempt, started_at, failure });
        if self.plan.definition().rollback.continue_on_error {
            self.emit(EventKind::FailureTolerated { step });
        }
    }

    pub(super) fn compensate_failed(&mut self, step: StepIndex, failed: FailedOutcome) {
        let Some(retry) = self
            .plan
            .step(step)
            .and_then(|step| step.compensate.as_ref())
            .map(|compensation| &compensation.retry)
        else {
            return;
        };
        let Some(state) = self.state.step(step) else { return };
        let used = state.compensate.used().saturating_add(u32::from(!failed.not_sent));
        let retry_at = self.retry_at(retry, step, Side::Compensate, used, &failed);
        let last = self.plan.total_deadline(&self.state, step, Side::Compensate, None, self.now);
        if !failed.may_retry(retry, used) || last.is_some_and(|last| retry_at >= last) {
            self.compensation_failed(step, failed.attempt, failed.started_at, failed.failure);
            return;
        }
        self.emit(EventKind::AttemptFailed {
            step,
            side: Side::Compensate,
            attempt: failed.attempt,
            started_at: failed.started_at,
            failure: failed.failure,
            doubt_until: None,
            retry_at,
            not_sent: failed.not_sent,
        });
    }
}
