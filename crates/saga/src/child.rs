//! Child workflows: what a step declares about its child, and what the parent receives of it.

use crate::{Failure, Json, Phase, State, StepStatus, Template};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The maximum number of ancestors of a workflow. It ends a recursion of definitions that start one another.
pub const MAX_CHILD_DEPTH: u32 = 16;
/// The shortest interval at which the parent reads the status of its child.
const SHORTEST_CHECK: Duration = Duration::from_secs(1);
/// The longest interval at which the parent reads the status of its child.
const LONGEST_CHECK: Duration = Duration::from_secs(30);

/// The child workflow of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// The name of the child's definition, in the namespace of the parent.
    pub workflow: String,
    /// The version of the child's definition, or `None` for the version that is the newest when the child starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The idempotency key of the child, or `None` for that of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Template>,
    /// The effect of a rollback of the parent on the child.
    #[serde(default)]
    pub on_parent_close: OnParentClose,
}

/// The effect of a rollback of the parent on a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnParentClose {
    /// A running child is cancelled, and a completed child is rolled back.
    #[default]
    Compensate,
    /// A running child is cancelled, and a completed child is left as it is.
    Cancel,
    /// The child continues, and a completed child is left as it is.
    Abandon,
}

/// How the child of a step ended, or why it has no child.
#[derive(Debug, Clone, PartialEq)]
pub enum ChildEnd {
    /// The child completed.
    Completed {
        /// The output of the child.
        output: Arc<Json>,
    },
    /// The child completed, and its output is too large for the state of the parent.
    OutputRejected {
        /// The failure.
        failure: Failure,
    },
    /// The child was rolled back, so it has no effect.
    RolledBack {
        /// The failure.
        failure: Failure,
    },
    /// An operator ended the child without a rollback.
    Terminated {
        /// The failure.
        failure: Failure,
        /// Whether a step of the child may have had an effect that was not compensated.
        in_doubt: bool,
    },
    /// The child could not be started, or cannot be rolled back.
    Refused {
        /// The failure.
        failure: Failure,
    },
    /// The parent rolls back and no longer waits for the child, as the step declares.
    Abandoned,
}

impl ChildEnd {
    /// Returns how a child ended, or `None` if it has not ended.
    #[must_use]
    pub fn of(child: &State) -> Option<Self> {
        match child.phase {
            Phase::Completed => {
                let output = child.output.clone().unwrap_or_else(|| Arc::new(Json::Null));
                Some(Self::Completed { output })
            }
            Phase::RolledBack => {
                if let Some(failure) = child.failure_of_elements() {
                    return Some(Self::RolledBack { failure });
                }
                let cause = child.error.as_ref();
                let because = cause.map(|error| format!(": {}: {}", error.code, error.message));
                let message =
                    format!("child workflow {} was rolled back{}", child.id, because.unwrap_or_default());
                let detail = cause.map(|error| {
                    serde_json::json!({"child": child.id, "code": error.code, "message": error.message})
                });
                let failure = Failure { code: "CHILD_ROLLED_BACK".to_owned(), message, detail };
                Some(Self::RolledBack { failure })
            }
            Phase::Terminated => {
                let message = format!(
                    "an operator terminated child workflow {} without a rollback; undo its effects by hand, then skip \
                     or complete this step",
                    child.id
                );
                let failure = Failure::of("CHILD_TERMINATED", message);
                Some(Self::Terminated { failure, in_doubt: child.may_have_standing_effects() })
            }
            Phase::Queued | Phase::InProgress | Phase::RollingBack => None,
        }
    }
}

impl Child {
    /// Returns the interval until the parent reads the status of its child again: as long as the child has been
    /// waited for so far, between 1 s and 30 s. The interval therefore doubles from one check to the next.
    #[must_use]
    pub fn check_interval(waited: Duration) -> Duration {
        waited.clamp(SHORTEST_CHECK, LONGEST_CHECK)
    }
}

impl OnParentClose {
    /// Returns the name that a definition uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compensate => "compensate",
            Self::Cancel => "cancel",
            Self::Abandon => "abandon",
        }
    }
}

impl State {
    /// Returns whether a step may have had an effect that was not compensated.
    #[must_use]
    pub fn may_have_standing_effects(&self) -> bool {
        self.steps.iter().any(|step| {
            let without_effect = match step.execution {
                StepStatus::Pending | StepStatus::Skipped | StepStatus::Failed => !step.is_in_doubt(),
                StepStatus::Queued
                | StepStatus::InProgress
                | StepStatus::Retrying
                | StepStatus::Completed
                | StepStatus::Unknown
                | StepStatus::CompensationQueued
                | StepStatus::Compensating
                | StepStatus::CompensationRetrying
                | StepStatus::Compensated
                | StepStatus::CompensationFailed => false,
            };
            !without_effect && step.compensation != Some(StepStatus::Compensated)
        })
    }

    /// Returns whether the workflow was rolled back before any of its steps began. A child that is withdrawn before it
    /// starts has such a state.
    #[must_use]
    pub fn has_ended_untouched(&self) -> bool {
        let pending = |status| matches!(status, StepStatus::Pending | StepStatus::Skipped);
        self.phase == Phase::RolledBack && self.steps.iter().all(|step| pending(step.execution))
    }
}

/// Returns the idempotency key of the child of an attempt. The first attempt has the key of the step's execute side.
#[must_use]
pub fn child_key(execute_key: &str, attempt: u32) -> String {
    if attempt <= 1 { execute_key.to_owned() } else { format!("{execute_key}/{attempt}") }
}
