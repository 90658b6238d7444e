//! Progress that follows from the state alone: steps that became ready, compensations that became possible, the end.

use super::Decision;
use super::lock::StepLock;
use crate::wait_end::WaitEnd;
use crate::{
    Condition, EventKind, Failure, Join, Json, KeyLock, Phase, RollbackOrder, Scope, Side, StepIndex,
    StepStatus,
};
use alloc::borrow::ToOwned;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The next transition of a pending step.
enum StepReadiness {
    Wait,
    Skip(&'static str),
    Queue,
    /// The step waits without a command: until the given end, or for a signal without a time limit.
    Hold(Option<WaitEnd>),
    Lock(KeyLock),
    Fail(Failure),
}

impl Decision<'_> {
    /// Emits every event that is possible without a further input.
    pub(super) fn advance(&mut self) {
        if self.plan.has_locks() {
            self.withdraw_lock_waits();
        }
        if self.state.phase.is_forward() {
            self.advance_forward();
        }
        // Not an `else`: a step whose expression cannot be evaluated begins the rollback here.
        if self.state.phase == Phase::RollingBack {
            if self.plan.has_locks() {
                self.withdraw_lock_waits();
            }
            self.advance_rollback();
            if self.state.phase.is_forward() {
                // The steps of a re-run are undone.
                self.advance();
            }
        }
    }

    fn advance_forward(&mut self) {
        if self.state.paused || self.state.rollback_pending {
            return;
        }
        if !self.holds_workflow_locks() {
            return;
        }
        // One pass is enough, because topological order visits the dependencies of a step before the step.
        for at in 0..self.plan.topological().len() {
            let Some(&index) = self.plan.topological().get(at) else { break };
            let execution = self.state.step(index).map(|step| step.execution);
            let readiness = if execution == Some(StepStatus::Pending) {
                self.readiness(index)
            } else if execution == Some(StepStatus::Queued) && self.plan.is_wait(index) {
                // An operator retried the wait.
                self.hold(index)
            } else {
                continue;
            };
            match readiness {
                StepReadiness::Wait => {}
                StepReadiness::Skip(why) => self.emit(EventKind::StepSkipped {
                    step: index,
                    why: why.to_owned(),
                    reason: None,
                    doubt_until: None,
                }),
                StepReadiness::Queue => {
                    let keeps_signals = self.plan.reads_signals(index);
                    self.emit(EventKind::StepQueued { step: index, keeps_signals });
                }
                StepReadiness::Hold(end) => self.begin_wait(index, end),
                StepReadiness::Lock(lock) => {
                    let keeps_signals = self.plan.reads_signals(index);
                    self.request_lock(index, lock, keeps_signals);
                }
                StepReadiness::Fail(failure) => {
                    self.end_in_failure(index, 0, None, failure);
                    self.step_failed(index);
                    if !self.state.phase.is_forward() {
                        return;
                    }
                }
            }
        }
        if self.state.steps.iter().all(crate::StepState::is_settled) {
            self.complete();
        }
    }

    fn complete(&mut self) {
        let rendered = match &self.plan.definition().output {
            _ if self.plan.own_elements().is_some() => Ok(self.output_of_elements()),
            Some(template) => template.render(self.expressions, &Scope::new(self.plan, &self.state)),
            None => Ok(Json::Null),
        };
        // Every step has completed, so an output that cannot be computed does not cause a rollback.
        let (output, failure) = match rendered {
            Ok(output) => (output, None),
            Err(error) => (Json::Null, Some(Failure::of("OUTPUT_EXPRESSION_FAILED", error.to_string()))),
        };
        self.emit(EventKind::WorkflowCompleted { output: Arc::new(output), failure });
    }

    fn output_of_elements(&self) -> Json {
        let output = |own| self.plan.output_of_elements(&self.state, own, self.expressions);
        self.plan.own_elements().map(output).unwrap_or_default()
    }

    fn readiness(&self, index: StepIndex) -> StepReadiness {
        let Some(step) = self.plan.step(index) else { return StepReadiness::Wait };
        let mut unsettled = false;
        let mut completed = false;
        for dependency in &step.depends_on {
            let Some(on) = self.state.step(*dependency) else { return StepReadiness::Wait };
            match on.execution {
                StepStatus::Completed => completed = true,
                // A skip by an operator counts as a completion.
                StepStatus::Skipped => completed |= on.skipped_by_operator,
                StepStatus::Failed | StepStatus::Unknown if on.tolerated => {}
                StepStatus::Pending
                | StepStatus::Queued
                | StepStatus::InProgress
                | StepStatus::Retrying
                | StepStatus::Failed
                | StepStatus::Unknown
                | StepStatus::CompensationQueued
                | StepStatus::Compensating
                | StepStatus::CompensationRetrying
                | StepStatus::Compensated
                | StepStatus::CompensationFailed => unsettled = true,
            }
        }
        if !self.pivot_allows(index) {
            return StepReadiness::Wait;
        }
        let all_skipped = self.all_skipped(step.skipped_with.as_ref().unwrap_or(&step.depends_on));
        match step.join {
            Join::Any if completed => {}
            Join::All | Join::Any | Join::Settled if unsettled => return StepReadiness::Wait,
            Join::All | Join::Any if all_skipped => return StepReadiness::Skip("DEPENDENCIES"),
            Join::All | Join::Any | Join::Settled => {}
        }
        match self.holds(&step.when) {
            Err(failure) => return StepReadiness::Fail(failure),
            Ok(false) => return StepReadiness::Skip("CONDITION"),
            Ok(true) => {}
        }
        if step.action.is_wait() {
            return self.hold(index);
        }
        if step.for_each.is_some()
            && let Err(failure) = self.plan.elements(&self.state, index, self.expressions)
        {
            return StepReadiness::Fail(failure);
        }
        match self.plan.command_input(&self.state, index, Side::Execute, self.expressions) {
            Ok(_) => match self.wanted_lock(index) {
                Ok(StepLock::NotNeeded) => StepReadiness::Queue,
                Ok(StepLock::Wanted(lock)) => StepReadiness::Lock(lock),
                Err(failure) => StepReadiness::Fail(failure),
            },
            Err(error) => StepReadiness::Fail(Failure::of("INPUT_EXPRESSION_FAILED", error.to_string())),
        }
    }

    fn hold(&self, index: StepIndex) -> StepReadiness {
        match self.wait_end(index) {
            Ok(end) => StepReadiness::Hold(end),
            Err(failure) => StepReadiness::Fail(failure),
        }
    }

    /// Returns whether there are steps and all of them were skipped, not counting skips by an operator.
    fn all_skipped(&self, steps: &[StepIndex]) -> bool {
        let skipped = |index: &StepIndex| {
            self.state
                .step(*index)
                .is_some_and(|step| step.execution == StepStatus::Skipped && !step.skipped_by_operator)
        };
        !steps.is_empty() && steps.iter().all(skipped)
    }

    fn holds(&self, conditions: &[Condition]) -> Result<bool, Failure> {
        self.holds_in(conditions, &Scope::new(self.plan, &self.state))
    }

    fn holds_in(&self, conditions: &[Condition], scope: &Scope<'_>) -> Result<bool, Failure> {
        for condition in conditions {
            match self.expressions.evaluate(&condition.expression, scope) {
                Ok(Json::Bool(value)) if value == condition.holds => {}
                Ok(Json::Bool(_)) => return Ok(false),
                Ok(other) => {
                    // The value itself may be large.
                    let kind = match other {
                        Json::Null => "null",
                        Json::Bool(_) => "a boolean",
                        Json::Number(_) => "a number",
                        Json::String(_) => "a string",
                        Json::Array(_) => "a list",
                        Json::Object(_) => "an object",
                    };
                    let message = alloc::format!(
                        "`{}`: a condition must be true or false, not {kind}",
                        condition.expression
                    );
                    return Err(Failure::of("CONDITION_FAILED", message));
                }
                Err(error) => return Err(Failure::of("CONDITION_FAILED", error.to_string())),
            }
        }
        Ok(true)
    }

    /// Returns whether the pivot rule allows the step to start.
    ///
    /// With `join: any`, a step can be ready while earlier steps are in flight. There is no rollback after the pivot,
    /// so the pivot waits for every step before it, and every step after it waits for the pivot.
    fn pivot_allows(&self, index: StepIndex) -> bool {
        let Some(pivot) = self.plan.pivot() else { return true };
        let settled = |index: StepIndex| self.state.step(index).is_some_and(crate::StepState::is_settled);
        let after = self.plan.downstream(pivot);
        if index != pivot {
            return !after.contains(&index) || settled(pivot);
        }
        let mut all = (0u32..).map(StepIndex).take(self.state.steps.len());
        all.all(|each| each == pivot || after.contains(&each) || settled(each))
    }

    fn advance_rollback(&mut self) {
        self.end_waits();
        while !self.state.paused {
            let ready: Vec<StepIndex> = self
                .plan
                .topological()
                .iter()
                .rev()
                .copied()
                .filter(|index| self.is_ready_to_compensate(*index))
                .collect();
            let mut settled = false;
            for index in ready {
                settled |= self.issue_compensation(index);
            }
            if !settled {
                break;
            }
        }
        let settled = |(index, step): (StepIndex, &crate::StepState)| {
            !step.status().is_open() && (!self.needs_compensation(index) || step.is_compensated())
        };
        if (0u32..).map(StepIndex).zip(&self.state.steps).all(settled) {
            if self.state.rerun.is_some() {
                let deadline = self.plan.definition().timeout.map(|limit| self.now.after(limit));
                self.emit(EventKind::StepsReset { deadline });
            } else {
                self.emit(EventKind::WorkflowRolledBack {});
            }
        }
    }

    fn needs_compensation(&self, index: StepIndex) -> bool {
        if self.state.rerun.as_ref().is_some_and(|rerun| !rerun.undoes(index)) {
            return false;
        }
        self.plan.step(index).is_some_and(|step| step.compensate.is_some())
            && self
                .state
                .step(index)
                .is_some_and(|step| step.may_have_happened() && !step.compensation_unneeded)
    }

    /// Returns whether the compensation is needed, was not issued, and no downstream step is left to wait for.
    fn is_ready_to_compensate(&self, index: StepIndex) -> bool {
        let Some(step) = self.state.step(index) else { return false };
        if step.compensation.is_some() || step.execution.is_open() || !self.needs_compensation(index) {
            return false;
        }
        let in_parallel = self.plan.definition().rollback.order == RollbackOrder::Parallel;
        self.plan.downstream(index).iter().all(|below| {
            self.state.step(*below).is_some_and(|step| {
                !step.execution.is_open()
                    && (in_parallel || !self.needs_compensation(*below) || step.is_compensated())
            })
        })
    }

    /// Issues a compensation. Returns whether the step needs no further wait, so that steps upstream may be ready.
    fn issue_compensation(&mut self, step: StepIndex) -> bool {
        let when = self.plan.step(step).and_then(|step| step.compensate.as_ref()?.when.clone());
        let scope = Scope::of_compensation(self.plan, &self.state, step);
        let needed = when
            .map_or(Ok(true), |expression| self.holds_in(&[Condition { expression, holds: true }], &scope));
        let input = match needed {
            Ok(false) => {
                self.emit(EventKind::CompensationUnneeded { step });
                return true;
            }
            Ok(true) => self
                .plan
                .command_input(&self.state, step, Side::Compensate, self.expressions)
                .map_err(|error| Failure::of("INPUT_EXPRESSION_FAILED", error.to_string())),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = input {
            self.compensation_failed(step, 0, None, failure);
            return self.plan.definition().rollback.continue_on_error;
        }
        let doubt_until = self.state.step(step).and_then(|step| step.doubt_until);
        // An execute of unknown outcome must not take effect after its own compensation.
        let due_at = self.now.max(doubt_until.unwrap_or_default());
        let limited = self.compensation_is_limited(step);
        self.emit(EventKind::CompensationQueued { step, due_at, limited });
        false
    }
}
