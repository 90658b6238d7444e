//! Child workflows of a simulated workflow: they end on their own, are cancelled and are rolled back.

use super::{Mutant, World};
use crate::checks::Effect;
use goconductor_saga::{
    ChildEnd, Failure, Input, Json, OnParentClose, Phase, Side, State, StepIndex, StepStatus, Timestamp,
    WorkflowId,
};

/// A child, which is found by its step and attempt, as by its idempotency key.
pub(super) struct ChildRun {
    step: StepIndex,
    attempt: u32,
    id: WorkflowId,
    phase: Phase,
    /// Whether the child was withdrawn before it started.
    withdrawn: bool,
}

impl ChildRun {
    fn end(&self) -> Option<ChildEnd> {
        let failure = Failure::of("CHILD", "as asked");
        match self.phase {
            Phase::Completed => Some(ChildEnd::Completed { output: Json::Null.into() }),
            Phase::RolledBack => Some(ChildEnd::RolledBack { failure }),
            Phase::Terminated => Some(ChildEnd::Terminated { failure, in_doubt: true }),
            Phase::Queued | Phase::InProgress | Phase::RollingBack => None,
        }
    }
}

impl World {
    /// Acts on the row of a child, as the dispatcher does.
    pub(super) fn drive_child(&mut self, step: StepIndex) -> Result<(), String> {
        let known = self.state.clone();
        let this = &known.steps[step.at()];
        if this.execution.is_open() {
            return self.drive_execution(&known, step);
        }
        if !this.compensation.is_some_and(StepStatus::is_open) || known.paused {
            return Ok(());
        }
        let attempt = this.execute.attempt();
        let at = match this.child {
            Some(id) => self.children.iter().position(|child| child.id == id).unwrap(),
            None => self.start_child(step, attempt, true),
        };
        if self.children[at].phase == Phase::Completed {
            self.children[at].phase = Phase::RollingBack;
        }
        self.report_child(at)
    }

    fn drive_execution(&mut self, known: &State, step: StepIndex) -> Result<(), String> {
        let this = &known.steps[step.at()];
        let (attempt, wanted) = (this.execute.attempt(), known.wants_execute(step));
        let at = match this.child {
            Some(id) => self.children.iter().position(|child| child.id == id).unwrap(),
            None if known.paused && wanted => return Ok(()),
            None if self.faulty && wanted && self.noise.once_in(6) => {
                // The process stalls between its decision and the start.
                self.delayed_starts.push((step, attempt));
                return Ok(());
            }
            None => self.start_child(step, attempt, !wanted),
        };
        if self.faulty && self.noise.once_in(6) {
            // The process dies between the start and its record.
            return Ok(());
        }
        let ChildRun { id, withdrawn, .. } = self.children[at];
        if withdrawn {
            return self.submit(&Input::WithdrawCommand { step, attempt }, self.faulty);
        }
        if this.child.is_none() {
            self.submit(&Input::ChildStarted { step, attempt, child: id }, self.faulty)?;
        }
        if !wanted && self.children[at].phase == Phase::InProgress {
            let action = &self.plan.step(step).unwrap().action;
            if action.child().unwrap().on_parent_close == OnParentClose::Abandon {
                let end = ChildEnd::Abandoned;
                return self.submit(&Input::ChildEnded { step, attempt, child: Some(id), end }, self.faulty);
            }
            self.children[at].phase = Phase::RollingBack;
        }
        self.report_child(at)
    }

    /// Starts a child, or returns the one that has the same key.
    fn start_child(&mut self, step: StepIndex, attempt: u32, withdrawn: bool) -> usize {
        let same = |child: &ChildRun| child.step == step && child.attempt == attempt;
        if let Some(at) = self.children.iter().position(same) {
            return at;
        }
        let number = self.children.len() as u128;
        let id = WorkflowId(uuid_of(number));
        let phase = if withdrawn { Phase::RolledBack } else { Phase::InProgress };
        self.children.push(ChildRun { step, attempt, id, phase, withdrawn });
        self.children.len() - 1
    }

    /// Reports the end of a child to its parent. A child that has not ended is not reported.
    fn report_child(&mut self, at: usize) -> Result<(), String> {
        let ChildRun { step, attempt, id, .. } = self.children[at];
        let Some(end) = self.children[at].end() else { return Ok(()) };
        self.submit(&Input::ChildEnded { step, attempt, child: Some(id), end }, self.faulty)
    }

    /// Lets children progress, and delayed starts arrive. A notification of the parent may be lost.
    pub(super) fn children_act(&mut self) -> Result<(), String> {
        if let Some((step, attempt)) = self.delayed_starts.pop_if(|_| !self.faulty || self.noise.once_in(4)) {
            let at = self.start_child(step, attempt, false);
            if self.mutant == Mutant::ForgetsWithdrawnChildren && self.children[at].withdrawn {
                self.children[at].phase = Phase::InProgress;
                self.children[at].withdrawn = false;
            }
        }
        for at in 0..self.children.len() {
            let phase = self.children[at].phase;
            let next = match (phase, self.noise.below(6)) {
                (Phase::InProgress, 0) if self.faulty && self.noise.once_in(4) => Phase::Terminated,
                (Phase::InProgress, 1) if self.faulty => Phase::RolledBack,
                (Phase::InProgress, 2 | 3) => Phase::Completed,
                (Phase::RollingBack, 0 | 1) => Phase::RolledBack,
                _ => continue,
            };
            self.children[at].phase = next;
            self.record_child_effect(at, phase, next);
            if self.noise.once_in(2) {
                self.report_child(at)?;
            }
        }
        Ok(())
    }

    fn record_child_effect(&mut self, at: usize, before: Phase, after: Phase) {
        let step = self.children[at].step;
        let done =
            |side| self.effects.iter().any(|each| each.step == step && each.side == side && each.applied);
        let side = match (before, after) {
            (_, Phase::Completed | Phase::Terminated) => Side::Execute,
            (Phase::RollingBack, _) if done(Side::Execute) => Side::Compensate,
            _ => return,
        };
        let applied = !done(side);
        self.effects.push(Effect { step, side, applied });
    }

    /// Checks the children of a workflow that has ended: none of them still stands after a rollback.
    pub(super) fn children_agree(&self) -> Result<(), String> {
        let by_operator = |step: StepIndex| {
            let changed = format!("\"step\":{}", step.0);
            self.journal.iter().any(|line| line.contains("\"actor\"") && line.contains(&changed))
        };
        for child in &self.children {
            let compensated = self.plan.step(child.step).unwrap().compensate.is_some();
            let stands = matches!(child.phase, Phase::InProgress | Phase::Completed);
            if self.state.phase == Phase::RolledBack && compensated && stands && !by_operator(child.step) {
                return Err(format!("T11: rolled back, and the child of step {} stands", child.step.0));
            }
        }
        Ok(())
    }

    /// Returns the time that the world takes as the next check of a child.
    pub(super) fn next_check(&self) -> Timestamp {
        Timestamp(self.now + 1_000_000)
    }
}

fn uuid_of(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x018f_0000_0000_7000_8000_0000_0001_0000 + number)
}
