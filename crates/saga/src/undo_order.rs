//! The order of the compensations of a definition, as diagrams show it.

use crate::{Definition, StepIndex};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

impl Definition {
    /// Returns the order of the compensations as edges: the compensation of the second step of a pair follows that of the
    /// first. Steps without a compensation are passed over, so each compensation follows the nearest ones downstream.
    #[must_use]
    pub fn undo_edges(&self) -> Vec<(StepIndex, StepIndex)> {
        let is_undone =
            |index: StepIndex| self.steps.get(index.at()).is_some_and(|step| step.compensate.is_some());
        let mut edges = Vec::new();
        for (from, step) in (0u32..).map(StepIndex).zip(&self.steps).filter(|(index, _)| is_undone(*index)) {
            let mut seen = BTreeSet::new();
            let mut next: Vec<StepIndex> = step.depends_on.iter().rev().copied().collect();
            while let Some(index) = next.pop() {
                let Some(above) = self.steps.get(index.at()).filter(|_| seen.insert(index)) else {
                    continue;
                };
                if is_undone(index) {
                    edges.push((from, index));
                } else {
                    next.extend(above.depends_on.iter().rev());
                }
            }
        }
        edges
    }
}
