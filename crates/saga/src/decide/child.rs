//! Inputs about the child workflow of a step: its start, and its end.

use super::{Decision, Refusal};
use crate::{
    ChildEnd, EventKind, Failure, Kind, Phase, RollbackCause, Side, StepIndex, StepStatus, Timestamp,
    WorkflowId,
};
use alloc::borrow::ToOwned;
use alloc::string::String;
use core::time::Duration;

/// The failed child of one attempt.
struct FailedChild {
    attempt: u32,
    failure: Failure,
    /// Whether the child may have an effect that stands.
    in_doubt: bool,
    /// Whether another child may succeed.
    retryable: bool,
}

impl Decision<'_> {
    pub(super) fn child_started(
        &mut self,
        step: StepIndex,
        attempt: u32,
        child: WorkflowId,
    ) -> Result<(), Refusal> {
        self.expect_child_step(step)?;
        self.open_attempt(step, Side::Execute, attempt)?;
        if self.state.step(step).is_some_and(|state| state.child.is_some()) {
            return Err(Refusal::Stale);
        }
        self.emit(EventKind::ChildStarted { step, attempt, child });
        Ok(())
    }

    pub(super) fn child_ended(
        &mut self,
        step: StepIndex,
        attempt: u32,
        child: Option<WorkflowId>,
        end: &ChildEnd,
    ) -> Result<(), Refusal> {
        self.expect_child_step(step)?;
        let state = self.state.step(step).ok_or(Refusal::UnknownStep)?;
        if state.child.is_some_and(|known| child.is_some_and(|child| child != known))
            || state.child.is_none() && attempt != state.execute.attempt()
        {
            return Err(Refusal::Stale);
        }
        if state.compensation.is_some_and(StepStatus::is_open) {
            return self.child_undone(step, end);
        }
        let (known, started_at) = (state.child, state.execute.started_at);
        self.open_attempt(step, Side::Execute, attempt)?;
        // While a requested rollback waits for the pivot, the outcome of the pivot is needed.
        if matches!(end, ChildEnd::Abandoned) && self.state.phase != Phase::RollingBack {
            return Err(Refusal::Stale);
        }
        if let (None, Some(child)) = (known, child) {
            // The end arrived before the start was recorded.
            self.emit(EventKind::ChildStarted { step, attempt, child });
        }
        self.child_outcome(step, attempt, started_at.or(Some(self.now)), end);
        Ok(())
    }

    fn child_outcome(
        &mut self,
        step: StepIndex,
        attempt: u32,
        started_at: Option<Timestamp>,
        end: &ChildEnd,
    ) {
        let failed = |failure: &Failure, in_doubt, retryable| FailedChild {
            attempt,
            failure: failure.clone(),
            in_doubt,
            retryable,
        };
        match end {
            ChildEnd::Completed { output } => {
                let output = output.clone();
                self.emit(EventKind::StepCompleted {
                    step,
                    attempt,
                    started_at,
                    output,
                    reason: None,
                    doubt_until: None,
                });
                self.pivot_completed(step);
            }
            ChildEnd::OutputRejected { failure } => self.child_failed(step, failed(failure, true, false)),
            ChildEnd::RolledBack { failure } => self.child_failed(step, failed(failure, false, true)),
            ChildEnd::Terminated { failure, in_doubt } => {
                self.child_failed(step, failed(failure, *in_doubt, false));
            }
            ChildEnd::Refused { failure } => self.child_failed(step, failed(failure, false, false)),
            // The child continues, so the step has neither an output nor a failure, and nothing to undo.
            ChildEnd::Abandoned => self.emit(EventKind::StepSkipped {
                step,
                why: "ABANDONED".into(),
                reason: None,
                doubt_until: None,
            }),
        }
    }

    fn child_failed(&mut self, step: StepIndex, failed: FailedChild) {
        let Some(definition) = self.plan.step(step) else { return };
        let Some(state) = self.state.step(step) else { return };
        let FailedChild { attempt, failure, in_doubt, retryable } = failed;
        let used = state.execute.used().saturating_add(1);
        let doubt_until = state.doubt_until.max(in_doubt.then_some(self.now));
        let wanted = self.state.phase.is_forward() && !self.state.rollback_pending;
        if wanted && retryable && !in_doubt && definition.retry.allows(used, &failure.code) {
            let salt = u64::from(step.0) << 1;
            let delay: Duration = definition.retry.delay(used, self.state.id, salt);
            self.emit(EventKind::AttemptFailed {
                step,
                side: Side::Execute,
                attempt,
                started_at: None,
                failure,
                doubt_until: None,
                retry_at: self.now.after(delay),
                not_sent: false,
            });
            return;
        }
        let is_in_doubt = doubt_until.is_some();
        match doubt_until {
            Some(doubt_until) => {
                self.emit(EventKind::StepUnknown { step, attempt, started_at: None, failure, doubt_until });
            }
            None => {
                self.emit(EventKind::StepFailed { step, attempt, started_at: None, failure, reason: None });
            }
        }
        // A pivot in doubt is never rolled back. No further attempt has the same key, so an operator must act.
        if !(definition.kind == Kind::Pivot && is_in_doubt) {
            self.step_failed(step);
        }
    }

    /// Settles the compensation of a step whose child has ended.
    fn child_undone(&mut self, step: StepIndex, end: &ChildEnd) -> Result<(), Refusal> {
        let attempt = self.state.step(step).map_or(1, |state| state.compensate.attempt());
        match end {
            // This is the completion that is being compensated.
            ChildEnd::Completed { .. } | ChildEnd::OutputRejected { .. } => return Err(Refusal::Stale),
            ChildEnd::RolledBack { .. }
            | ChildEnd::Abandoned
            | ChildEnd::Terminated { in_doubt: false, .. } => {
                self.emit(EventKind::StepCompensated { step, attempt, started_at: None, reason: None });
            }
            ChildEnd::Terminated { failure, in_doubt: true } | ChildEnd::Refused { failure } => {
                let failure = failure.clone();
                self.compensation_failed(step, attempt, None, failure);
            }
        }
        Ok(())
    }

    /// Refuses a step whose action is not a child workflow.
    fn expect_child_step(&self, step: StepIndex) -> Result<(), Refusal> {
        let definition = self.plan.step(step).ok_or(Refusal::UnknownStep)?;
        definition.action.child().map(|_| ()).ok_or(Refusal::Stale)
    }

    /// Begins the rollback of a completed workflow.
    pub(super) fn roll_back(&mut self, cause: RollbackCause, reason: Option<String>) -> Result<(), Refusal> {
        if self.state.phase != Phase::Completed {
            let status = self.state.status().as_str();
            return Err(Refusal::Conflict(match self.state.phase.is_forward() {
                true => alloc::format!(
                    "only a completed workflow can be compensated, and this one is {status}: cancel it instead"
                ),
                false => "the workflow is already rolling back".to_owned(),
            }));
        }
        let cannot_undo = |(index, step): (StepIndex, &crate::StepState)| {
            let definition = self.plan.step(index).filter(|_| step.may_have_happened())?;
            (definition.kind != Kind::Compensatable).then_some(&definition.name)
        };
        let mut steps = (0u32..).map(StepIndex).zip(&self.state.steps);
        if let Some(name) = steps.find_map(cannot_undo) {
            return Err(Refusal::Conflict(alloc::format!(
                "the workflow cannot be compensated, because step `{name}` is past its point of no return"
            )));
        }
        self.emit(EventKind::RollbackStarted { cause, step: None, reason });
        Ok(())
    }
}
