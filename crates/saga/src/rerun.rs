//! The state of a re-run: an operator executes a step and its dependants again.

use crate::StepIndex;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A re-run whose steps are undone before they are executed again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RerunState {
    /// The steps that are executed again. Every step that depends on one of them is also among them.
    pub steps: Vec<StepIndex>,
    /// The steps among them whose effects stay, as the operator stated.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keeps: Vec<StepIndex>,
}

impl RerunState {
    /// Returns whether the effects of the step are undone.
    #[must_use]
    pub fn undoes(&self, index: StepIndex) -> bool {
        self.steps.contains(&index) && !self.keeps.contains(&index)
    }
}
