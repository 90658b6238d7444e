//! The re-run of a workflow from a step. The effects of the step and of its dependants are undone first. Then the steps are
//! executed again, in a new generation.

use super::{Decision, Refusal, RerunRefusal};
use crate::{EventKind, Kind, LockScope, Phase, Status, StepIndex, StepState, StepStatus};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

impl Decision<'_> {
    pub(super) fn rerun(
        &mut self,
        step: Option<StepIndex>,
        keeps_effects: bool,
        reason: &str,
    ) -> Result<(), Refusal> {
        self.check_status_for_rerun()?;
        let steps = self.steps_to_rerun(step)?;
        for index in (0u32..).map(StepIndex).take(self.state.steps.len()) {
            if steps.contains(&index) {
                self.check_repeated(index, keeps_effects)?;
            } else {
                self.check_kept(index)?;
            }
        }
        let keeps = match keeps_effects {
            true => steps.iter().copied().filter(|index| self.has_standing_effect(*index)).collect(),
            false => Vec::new(),
        };
        let (from, from_cause, reason) = (self.state.status(), self.state.cause, reason.to_owned());
        self.emit(EventKind::RerunStarted { step, steps, keeps, from, from_cause, reason });
        Ok(())
    }

    fn check_status_for_rerun(&self) -> Result<(), Refusal> {
        if let Some(parent) = &self.state.parent {
            return Err(not_possible(format!(
                "the workflow is a child of workflow {}, which uses its result: re-run the step of the parent",
                parent.id
            )));
        }
        let status = self.state.status();
        match self.state.phase {
            Phase::Completed | Phase::RolledBack | Phase::Terminated => {}
            Phase::Queued | Phase::InProgress
                if status == Status::Error && !self.state.paused && !self.state.rollback_pending => {}
            Phase::Queued | Phase::InProgress | Phase::RollingBack => {
                return Err(not_possible(format!(
                    "the workflow is {}: only a workflow that has ended, or that is in error before a rollback, can be \
                     re-run",
                    status.as_str()
                )));
            }
        }
        let open = |(index, step): (StepIndex, &StepState)| {
            let name = self.plan.step(index).map_or("", |step| step.name.as_str());
            (step.status().is_open() && !self.plan.is_wait(index)).then(|| (name, step.status().as_str()))
        };
        match (0u32..).map(StepIndex).zip(&self.state.steps).find_map(open) {
            Some((name, status)) => Err(in_doubt(format!(
                "step `{name}` is {status}: an attempt may be in flight, and its outcome is not known"
            ))),
            None => Ok(()),
        }
    }

    /// Returns a step and its dependants, or all steps.
    fn steps_to_rerun(&self, step: Option<StepIndex>) -> Result<Vec<StepIndex>, Refusal> {
        let Some(first) = step else {
            return Ok((0u32..).map(StepIndex).take(self.state.steps.len()).collect());
        };
        let state = self.state.step(first).ok_or(Refusal::UnknownStep)?;
        if state.execution == StepStatus::Pending {
            return Err(not_possible(format!("step `{}` has not run", self.step_name(first))));
        }
        let mut steps: Vec<StepIndex> = self.plan.downstream(first).to_vec();
        steps.push(first);
        steps.sort_unstable();
        Ok(steps)
    }

    /// Refuses a step that cannot be executed again.
    fn check_repeated(&self, index: StepIndex, keeps_effects: bool) -> Result<(), Refusal> {
        let (Some(definition), Some(state)) = (self.plan.step(index), self.state.step(index)) else {
            return Ok(());
        };
        let name = &definition.name;
        if !state.may_have_happened() || state.is_compensated() {
            return Ok(());
        }
        let is_in_doubt = state.execution != StepStatus::Completed;
        if is_in_doubt && (keeps_effects || definition.kind != Kind::Compensatable) {
            return Err(in_doubt(format!(
                "it is unknown whether step `{name}` took effect: state its outcome, or undo it instead of keeping its \
                 effect"
            )));
        }
        let may_land = state.doubt_until.is_some_and(|until| until > self.now);
        if may_land && (keeps_effects || definition.compensate.is_none()) {
            return Err(in_doubt(format!(
                "an attempt of step `{name}` may still take effect, because its outcome is unknown: try again after its \
                 deadline"
            )));
        }
        match definition.kind {
            Kind::Compensatable => Ok(()),
            Kind::Pivot => Err(irreversible(format!(
                "step `{name}` is the pivot, which has completed: it cannot be undone, and must not happen twice; re-run \
                 from a step after it, or start another workflow"
            ))),
            Kind::Retriable if keeps_effects => Ok(()),
            Kind::Retriable => Err(irreversible(format!(
                "step `{name}` follows the pivot, so its effect cannot be undone: re-run with `effects: keep` if the \
                 effect may stay and happen again"
            ))),
        }
    }

    /// Refuses a step that is not executed again, and on which the others cannot build.
    fn check_kept(&self, index: StepIndex) -> Result<(), Refusal> {
        let (Some(definition), Some(state)) = (self.plan.step(index), self.state.step(index)) else {
            return Ok(());
        };
        let name = &definition.name;
        if let Some(compensation) = state.compensation {
            return Err(not_possible(format!(
                "step `{name}` is not part of the re-run, and its compensation is {}: begin at it or at a step above it, \
                 or re-run all steps",
                compensation.as_str()
            )));
        }
        if self.plan.is_wait(index) && state.execution.is_open() {
            return Err(not_possible(format!(
                "step `{name}` was still waiting: begin at it, or re-run all steps"
            )));
        }
        if !state.is_settled() && state.execution != StepStatus::Pending {
            return Err(not_possible(format!(
                "step `{name}` is not part of the re-run, and it is {}: begin at it or at a step above it",
                state.execution.as_str()
            )));
        }
        let holds = definition.lock.as_ref().is_some_and(|lock| lock.hold == LockScope::Workflow);
        if holds && state.execution == StepStatus::Completed {
            return Err(not_possible(format!(
                "step `{name}` had a lock until the end of the workflow, which the re-run would not hold: begin at it or \
                 at a step above it"
            )));
        }
        Ok(())
    }

    /// Returns whether the step has an effect that a rollback would undo, or that cannot be undone.
    fn has_standing_effect(&self, index: StepIndex) -> bool {
        let (Some(definition), Some(state)) = (self.plan.step(index), self.state.step(index)) else {
            return false;
        };
        let may_matter = definition.compensate.is_some() || definition.kind != Kind::Compensatable;
        may_matter && state.may_have_happened() && !state.is_compensated() && !state.compensation_unneeded
    }

    fn step_name(&self, index: StepIndex) -> &str {
        self.plan.step(index).map_or("", |step| step.name.as_str())
    }
}

fn not_possible(detail: String) -> Refusal {
    Refusal::Rerun { cause: RerunRefusal::NotPossible, detail }
}

fn irreversible(detail: String) -> Refusal {
    Refusal::Rerun { cause: RerunRefusal::Irreversible, detail }
}

fn in_doubt(detail: String) -> Refusal {
    Refusal::Rerun { cause: RerunRefusal::InDoubt, detail }
}
