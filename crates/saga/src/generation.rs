//! The generations of a step: each re-run begins another one.

use crate::{Plan, Side, State, StepIndex, StepState};
use alloc::format;
use alloc::string::String;

impl StepState {
    /// Returns the number of attempts at one side that began, in all generations. Each generation passes over one number.
    #[must_use]
    pub fn attempts_begun(&self, side: Side) -> u32 {
        self.progress(side).begun().saturating_sub(self.generation)
    }

    /// Returns whether an attempt of this generation has ended.
    pub(crate) fn has_ended_attempts(&self) -> bool {
        self.execute.ended > self.earlier_attempts
    }
}

impl State {
    /// Returns the idempotency key of one side of a step. It is the same for every attempt and every redelivery of a
    /// generation. A re-run begins a new generation, so that a participant does not take its attempts for repeats.
    #[must_use]
    pub fn idempotency_key(&self, plan: &Plan, index: StepIndex, side: Side) -> String {
        let generation = match self.parent.filter(|_| self.elements_of().is_some()) {
            // Elements are executed again with their step, in new workflows.
            Some(parent) => parent.generation,
            None => self.step(index).map_or(0, |step| step.generation),
        };
        let workflow = self.known_id();
        if generation == 0 {
            return plan.idempotency_key(workflow, index, side);
        }
        let name = plan.step(index).map_or("", |step| step.name.as_str());
        format!("{workflow}/{name}~{}/{}", generation.saturating_add(1), side.as_str())
    }
}
