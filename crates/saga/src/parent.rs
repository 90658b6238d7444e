//! The parent of a child workflow, as the events and the state of the child have it.

use crate::progress::is_zero;
use crate::{StepIndex, WorkflowId};
use serde::{Deserialize, Serialize};

/// The parent of a child workflow. The child's start stores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The id of the parent.
    pub id: WorkflowId,
    /// The step of the parent that started the child.
    pub step: StepIndex,
    /// The attempt of the step, counted from 1. Each attempt has a child of its own.
    pub attempt: u32,
    /// The number of ancestors of the child, at least 1.
    pub depth: u32,
    /// The workflow whose step has the elements that the child runs, or `None` if the definition declares the child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements_of: Option<WorkflowId>,
    /// The generation of the step, see [`StepState::generation`](crate::StepState::generation).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u32,
}
