//! A definition in the form that the rules use, with blocks expanded to edges and conditions.

use crate::{
    Action, Compensation, FailurePolicy, ForEach, Json, LockSpec, Retry, RollbackPolicy, StepIndex, Template,
    Timeouts,
};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The format of stored definitions. It is raised when an older release could not read the new format.
pub const DEFINITION_FORMAT: u16 = 1;

/// A named, immutable graph of steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The value of [`DEFINITION_FORMAT`] when the definition was written.
    pub format: u16,
    /// The name, by which workflows are started.
    pub name: String,
    /// The title, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The description, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Labels of every workflow. The labels of a start override them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The JSON Schema for the input of a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
    /// The output of a workflow, or `None` for null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Template>,
    /// The time limit of the forward part.
    #[serde(with = "crate::millis::option", default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// How a rollback proceeds.
    #[serde(default, skip_serializing_if = "RollbackPolicy::is_default")]
    pub rollback: RollbackPolicy,
    /// The locks that the workflow acquires before its first step and holds until it ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<LockSpec>,
    /// The steps in the order of the text. The branches of a block follow one another.
    pub steps: Vec<Step>,
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The name: `[a-z][a-z0-9_]*`, unique in the definition.
    pub name: String,
    /// The title, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Labels, for people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The dependencies. A step without dependencies starts at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<StepIndex>,
    /// The steps with which the step is skipped: if there are any and all of them were skipped. These are the steps
    /// that `depends_on` of the text names, at the step or at the block that it begins in. An edge from the step above
    /// is not among them. `None` means all dependencies, as in versions that were applied before this rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped_with: Option<Vec<StepIndex>>,
    /// How the step waits for several dependencies.
    #[serde(default)]
    pub join: Join,
    /// The conditions, in order of evaluation. The step is skipped if one of them does not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Condition>,
    /// The enclosing blocks, outermost first, as `block` or `block.branch`. They are used for drawing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<String>,
    /// The action of the execute side.
    pub action: Action,
    /// The kind of the step.
    pub kind: Kind,
    /// The input of the action, or `None` for the input of the workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Template>,
    /// The compensate side, or `None` if there is nothing to undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Compensation>,
    /// The retry policy.
    pub retry: Retry,
    /// The time limits.
    pub timeout: Timeouts,
    /// The policy for a failed step and for an unknown outcome.
    #[serde(default, skip_serializing_if = "FailurePolicy::is_default")]
    pub failure: FailurePolicy,
    /// The lock that the step acquires before its first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<LockSpec>,
    /// The elements for each of which the step runs once. The action of the step then is a child that runs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_each: Option<Box<ForEach>>,
}

/// The kind of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The step can be compensated, or has nothing to undo.
    Compensatable,
    /// The point of no return.
    Pivot,
    /// The step follows the pivot and is retried until it succeeds.
    Retriable,
}

/// How a step waits for several dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// Waits for all. The step is skipped with [`Step::skipped_with`].
    #[default]
    All,
    /// Waits for the first that completes. The step is skipped with [`Step::skipped_with`].
    Any,
    /// Waits for all. The step runs even if all of them were skipped.
    Settled,
}

/// A condition of a step, of an enclosing block or of an enclosing branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// A CEL expression whose value is a boolean.
    pub expression: String,
    /// The required value. It is false for the conditions of the branches above a branch of a `switch`.
    pub holds: bool,
}

impl Step {
    /// Returns the action of one side, or `None` if the step has no such side.
    #[must_use]
    pub fn action(&self, side: crate::Side) -> Option<&Action> {
        match side {
            crate::Side::Execute => Some(&self.action),
            crate::Side::Compensate => self.compensate.as_ref().map(|compensation| &compensation.action),
        }
    }

    /// Returns the action that a participant performs at one side: that of an element, if the step has elements.
    #[must_use]
    pub fn performed_action(&self, side: crate::Side) -> Option<&Action> {
        let Some(each) = &self.for_each else { return self.action(side) };
        match side {
            crate::Side::Execute => Some(&each.action),
            crate::Side::Compensate => each.compensate.as_ref().map(|compensation| &compensation.action),
        }
    }

    /// Returns the time limits of one side.
    #[must_use]
    pub fn timeouts(&self, side: crate::Side) -> Timeouts {
        let attempt = self.attempt_timeout(side);
        match (side, &self.compensate) {
            (crate::Side::Execute, _) => self.timeout.clone(),
            (crate::Side::Compensate, None) => Timeouts { attempt, ..Timeouts::default() },
            (crate::Side::Compensate, Some(compensation)) => {
                let crate::CompensationLimits { queue, total, heartbeat } = compensation.limits.clone();
                Timeouts { attempt, queue, total, heartbeat }
            }
        }
    }

    /// Returns the time limit of one attempt at one side.
    #[must_use]
    pub fn attempt_timeout(&self, side: crate::Side) -> Duration {
        match (side, &self.compensate) {
            (crate::Side::Compensate, Some(compensation)) => compensation.timeout,
            (crate::Side::Execute | crate::Side::Compensate, _) => self.timeout.attempt,
        }
    }
}
