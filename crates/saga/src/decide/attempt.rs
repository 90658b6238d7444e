//! Inputs about attempts: start, outcome, loss, withdrawal, expired limits.

use super::{Decision, Input, Outcome, Refusal};
use crate::{
    EventKind, Failure, FailurePolicy, Json, Kind, OnError, OnUnknown, Retry, RollbackCause, Side, StepIndex,
    StepStatus, Timestamp,
};
use alloc::format;
use alloc::sync::Arc;
use core::time::Duration;

/// The delay after a command that was not sent.
const NOT_SENT_DELAY: Duration = Duration::from_secs(1);

/// A failed attempt, in one form for every kind of failure.
pub(super) struct FailedOutcome {
    pub(super) attempt: u32,
    pub(super) started_at: Option<Timestamp>,
    pub(super) failure: Failure,
    /// The time until which the attempt can take effect, if its outcome is unknown.
    pub(super) doubt_until: Option<Timestamp>,
    pub(super) not_before: Option<Timestamp>,
    /// Whether a retry cannot succeed.
    pub(super) refused: bool,
    /// Whether the command was not sent, so that the attempt does not count.
    pub(super) not_sent: bool,
    /// Whether the next attempt starts without a delay.
    pub(super) immediate: bool,
}

impl FailedOutcome {
    /// Creates the failure of a step between attempts.
    pub(super) fn of(attempt: u32, failure: Failure) -> Self {
        Self {
            attempt,
            started_at: None,
            failure,
            doubt_until: None,
            not_before: None,
            refused: false,
            not_sent: false,
            immediate: false,
        }
    }

    /// Returns whether another attempt may follow, after `used` attempts that count.
    pub(super) fn may_retry(&self, retry: &Retry, used: u32) -> bool {
        self.not_sent || (!self.refused && retry.allows(used, &self.failure.code))
    }
}

impl Outcome {
    /// Returns the failure of the outcome, and the earliest time of the next attempt.
    fn failure(&self) -> (Failure, Option<Timestamp>) {
        match self {
            Self::Done { .. } => (Failure::of("DONE", ""), None),
            Self::Retryable { failure, not_before } | Self::Unknown { failure, not_before, .. } => {
                (failure.clone(), *not_before)
            }
            Self::Refused { failure } | Self::OutputRejected { failure } | Self::NotSent { failure } => {
                (failure.clone(), None)
            }
        }
    }
}

impl Decision<'_> {
    pub(super) fn start_attempt(&mut self, input: &Input) -> Result<(), Refusal> {
        let Input::StartAttempt { step, side, attempt, started_at, deadline, executor, sent, trace } = input
        else {
            return Err(Refusal::Stale);
        };
        let status = self.open_attempt(*step, *side, *attempt)?;
        if matches!(status, StepStatus::InProgress | StepStatus::Compensating) {
            return Err(Refusal::Stale);
        }
        let unwanted = *side == Side::Execute && !self.state.wants_execute(*step);
        if !sent && (unwanted || self.state.paused) {
            return Err(Refusal::Conflict("the command must no longer be sent".into()));
        }
        self.emit(EventKind::AttemptStarted {
            step: *step,
            side: *side,
            attempt: *attempt,
            started_at: *started_at,
            deadline: *deadline,
            executor: executor.clone(),
            trace: trace.clone(),
        });
        Ok(())
    }

    pub(super) fn report_outcome(
        &mut self,
        step: StepIndex,
        side: Side,
        attempt: u32,
        (started_at, deadline): (Timestamp, Timestamp),
        outcome: &Outcome,
    ) -> Result<(), Refusal> {
        self.open_attempt(step, side, attempt)?;
        let failed = |failure: &Failure| FailedOutcome {
            attempt,
            started_at: Some(started_at),
            failure: failure.clone(),
            doubt_until: None,
            not_before: None,
            refused: false,
            not_sent: false,
            immediate: false,
        };
        if self.is_probing(step, side) {
            let (failure, not_before) = outcome.failure();
            self.report_probe(step, FailedOutcome { not_before, ..failed(&failure) }, outcome);
            return Ok(());
        }
        // A compensation in doubt is only retried. The participant's inbox prevents a second effect.
        let in_doubt_until = |at| (side == Side::Execute).then_some(at);
        match outcome {
            Outcome::Done { output } => self.attempt_succeeded(step, side, attempt, started_at, output),
            Outcome::Retryable { failure, not_before } => {
                let failed = FailedOutcome { not_before: *not_before, ..failed(failure) };
                self.attempt_failed(step, side, failed);
            }
            Outcome::Refused { failure } => {
                self.attempt_failed(step, side, FailedOutcome { refused: true, ..failed(failure) });
            }
            Outcome::Unknown { failure, not_before, answered } => {
                let over = *answered && self.state.rules.response_ends_attempt();
                let doubt_until = in_doubt_until(if over { deadline.min(self.now) } else { deadline });
                let failed = FailedOutcome { doubt_until, not_before: *not_before, ..failed(failure) };
                self.attempt_failed(step, side, failed);
            }
            Outcome::OutputRejected { failure } => {
                let doubt_until = in_doubt_until(deadline.min(self.now));
                let failed = FailedOutcome { doubt_until, refused: true, ..failed(failure) };
                self.attempt_failed(step, side, failed);
            }
            Outcome::NotSent { failure } => {
                let not_before = Some(self.now.after(NOT_SENT_DELAY));
                let failed = FailedOutcome { not_before, not_sent: true, immediate: true, ..failed(failure) };
                self.attempt_failed(step, side, failed);
            }
        }
        Ok(())
    }

    /// Settles one side of a step whose participant reported success.
    fn attempt_succeeded(
        &mut self,
        step: StepIndex,
        side: Side,
        attempt: u32,
        started_at: Timestamp,
        output: &Json,
    ) {
        let started_at = Some(started_at);
        match side {
            Side::Execute => {
                let (output, reason, doubt_until) = (Arc::new(output.clone()), None, None);
                self.emit(EventKind::StepCompleted {
                    step,
                    attempt,
                    started_at,
                    output,
                    reason,
                    doubt_until,
                });
                self.pivot_completed(step);
            }
            Side::Compensate => {
                self.emit(EventKind::StepCompensated { step, attempt, started_at, reason: None });
            }
        }
    }

    pub(super) fn lose_attempt(
        &mut self,
        step: StepIndex,
        side: Side,
        attempt: u32,
        doubt_until: Timestamp,
    ) -> Result<(), Refusal> {
        self.open_attempt(step, side, attempt)?;
        let running = self.state.step(step).and_then(|step| step.progress(side).running.clone());
        // A recorded start states exactly how long the attempt can still take effect.
        let doubt_until = running.as_ref().map_or(doubt_until, |running| running.deadline);
        let failed = FailedOutcome {
            attempt,
            started_at: running.map(|running| running.started_at),
            failure: Failure::of("ATTEMPT_LOST", "the executor of the attempt stopped or lost the command"),
            doubt_until: (side == Side::Execute).then_some(doubt_until),
            not_before: None,
            refused: false,
            not_sent: false,
            immediate: true,
        };
        if self.is_probing(step, side) {
            // A probe has no effect, so a lost one leaves no further doubt.
            self.probe_failed(step, failed);
            return Ok(());
        }
        self.attempt_failed(step, side, failed);
        Ok(())
    }

    pub(super) fn withdraw(&mut self, step: StepIndex, attempt: u32) -> Result<(), Refusal> {
        let status = self.open_attempt(step, Side::Execute, attempt)?;
        let Some(state) = self.state.step(step) else { return Err(Refusal::UnknownStep) };
        if self.state.wants_execute(step) || status == StepStatus::InProgress {
            return Err(Refusal::Stale);
        }
        if !state.has_ended_attempts() {
            self.emit(EventKind::StepWithdrawn { step });
        } else {
            let failure = state.error.clone().unwrap_or_else(|| {
                Failure::of("WITHDRAWN", "the workflow began to roll back before another attempt")
            });
            let ended = state.execute.ended;
            self.end_in_failure(step, ended, None, failure);
        }
        if self.state.phase.is_forward() {
            self.begin_rollback(RollbackCause::Cancelled, None, None);
        }
        Ok(())
    }

    /// Ends a step whose limit expired between attempts.
    pub(super) fn limit_expired(&mut self, step: StepIndex, code: &str, what: &str) -> Result<(), Refusal> {
        let Some(state) = self.state.step(step) else { return Err(Refusal::UnknownStep) };
        let attempts = state.execute.ended;
        let failure = Failure::of(code, format!("the step {what}"));
        if let (Some(doubt_until), true) = (state.doubt_until, self.may_probe(step)) {
            self.begin_probe(step, FailedOutcome::of(attempts, failure), doubt_until);
            return Ok(());
        }
        self.end_in_failure(step, attempts, None, failure);
        self.step_failed(step);
        Ok(())
    }

    /// Returns the status of a side whose open attempt has this number. Refuses other attempts.
    pub(super) fn open_attempt(
        &self,
        step: StepIndex,
        side: Side,
        attempt: u32,
    ) -> Result<StepStatus, Refusal> {
        let state = self.state.step(step).ok_or(Refusal::UnknownStep)?;
        let status = state.side_status(side).filter(|status| status.is_open()).ok_or(Refusal::Stale)?;
        if side == Side::Execute && state.waits_for_lock() {
            return Err(Refusal::Stale);
        }
        if state.progress(side).attempt() == attempt { Ok(status) } else { Err(Refusal::Stale) }
    }

    fn attempt_failed(&mut self, step: StepIndex, side: Side, failed: FailedOutcome) {
        match side {
            Side::Execute => self.execute_failed(step, failed),
            Side::Compensate => self.compensate_failed(step, failed),
        }
    }

    fn execute_failed(&mut self, step: StepIndex, failed: FailedOutcome) {
        let Some(definition) = self.plan.step(step) else { return };
        let Some(state) = self.state.step(step) else { return };
        let doubt = state.doubt_until.max(failed.doubt_until);
        let used = state.execute.used().saturating_add(u32::from(!failed.not_sent));
        let wanted = self.state.phase.is_forward() && !self.state.rollback_pending;
        let allowed = wanted && failed.may_retry(&definition.retry, used);
        let in_doubt = self.plan.is_pivot_in_doubt(step, doubt)
            || (wanted && doubt.is_some() && definition.failure.on_unknown == OnUnknown::Retry);
        let probed = !allowed && self.may_probe(step);
        if (in_doubt && !probed) || allowed {
            let retry_at = self.retry_at(&definition.retry, step, Side::Execute, used, &failed);
            let last = self.plan.total_deadline(&self.state, step, Side::Execute, doubt, self.now);
            if last.is_none_or(|last| retry_at < last) {
                self.emit(EventKind::AttemptFailed {
                    step,
                    side: Side::Execute,
                    attempt: failed.attempt,
                    started_at: failed.started_at,
                    failure: failed.failure,
                    doubt_until: failed.doubt_until,
                    retry_at,
                    not_sent: failed.not_sent,
                });
                return;
            }
        }
        match doubt {
            Some(doubt_until) if self.may_probe(step) => {
                self.begin_probe(step, failed, doubt_until);
                return;
            }
            Some(doubt_until) => self.emit(EventKind::StepUnknown {
                step,
                attempt: failed.attempt,
                started_at: failed.started_at,
                failure: failed.failure,
                doubt_until,
            }),
            None => self.emit(EventKind::StepFailed {
                step,
                attempt: failed.attempt,
                started_at: failed.started_at,
                failure: failed.failure,
                reason: None,
            }),
        }
        self.step_failed(step);
    }

    /// Ends a step without a further attempt: as unknown if the outcome of any attempt is unknown, else as failed.
    pub(super) fn end_in_failure(
        &mut self,
        step: StepIndex,
        attempt: u32,
        started_at: Option<Timestamp>,
        failure: Failure,
    ) {
        match self.state.step(step).and_then(|state| state.doubt_until) {
            Some(doubt_until) => {
                self.emit(EventKind::StepUnknown { step, attempt, started_at, failure, doubt_until });
            }
            None => self.emit(EventKind::StepFailed { step, attempt, started_at, failure, reason: None }),
        }
    }

    /// Acts on the failure of a step: begins the rollback, unless the step follows the pivot or its definition says
    /// otherwise.
    pub(super) fn step_failed(&mut self, step: StepIndex) {
        let Some(definition) = self.plan.step(step) else { return };
        if !self.state.phase.is_forward() {
            return;
        }
        let FailurePolicy { on_error, on_unknown, .. } = definition.failure;
        let is_unknown = self.state.step(step).is_some_and(|step| step.execution == StepStatus::Unknown);
        let parked = is_unknown && on_unknown == OnUnknown::Park;
        if on_error == OnError::Continue && !parked {
            self.emit(EventKind::FailureTolerated { step });
            return;
        }
        // There is no rollback after the pivot. The workflow is in error until an operator continues it.
        let retriable = definition.kind == Kind::Retriable || self.plan.is_after_pivot(step);
        let waits = parked || on_error == OnError::Pause;
        if !retriable && (!waits || self.state.rollback_pending) {
            self.begin_rollback(RollbackCause::StepFailed, Some(step), None);
        }
    }

    pub(super) fn retry_at(
        &self,
        retry: &Retry,
        step: StepIndex,
        side: Side,
        used: u32,
        failed: &FailedOutcome,
    ) -> Timestamp {
        let salt = u64::from(step.0) << 1 | u64::from(side == Side::Compensate);
        let delay = if failed.immediate { Duration::ZERO } else { retry.delay(used, self.state.id, salt) };
        self.now.after(delay).max(failed.not_before.unwrap_or_default())
    }

    pub(super) fn is_pivot(&self, step: StepIndex) -> bool {
        self.plan.pivot() == Some(step)
    }

    /// Refuses a pending rollback request once the pivot has completed.
    pub(super) fn pivot_completed(&mut self, step: StepIndex) {
        if self.is_pivot(step)
            && self.state.rollback_pending
            && let Some(cause) = self.state.cause
        {
            self.emit(EventKind::RollbackRefused { cause });
        }
    }
}
