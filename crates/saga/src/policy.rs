//! Policies: what follows when a step fails, or when its outcome is unknown, and how a rollback proceeds.

use crate::Action;
use serde::{Deserialize, Serialize};

/// The policy of a step for a failure and for an unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FailurePolicy {
    /// The reaction to a failure of the step.
    #[serde(default, skip_serializing_if = "OnError::is_default")]
    pub on_error: OnError,
    /// The reaction when no attempt is left and the outcome of one is unknown.
    #[serde(default, skip_serializing_if = "OnUnknown::is_default")]
    pub on_unknown: OnUnknown,
    /// The action of the same service that reports whether the operation happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Action>,
}

impl FailurePolicy {
    pub(crate) fn is_default(&self) -> bool {
        self.on_error.is_default() && self.on_unknown.is_default() && self.probe.is_none()
    }
}

/// The reaction to a failure of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The workflow rolls back.
    #[default]
    Compensate,
    /// The steps that depend on it run as if it had settled.
    Continue,
    /// The workflow waits in `ERROR` for an operator.
    Pause,
}

impl OnError {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
    fn is_default(&self) -> bool {
        *self == Self::Compensate
    }
}

/// The reaction when no attempt of a step is left and the outcome of one is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// The step is `UNKNOWN`, and `on_error` applies.
    #[default]
    Compensate,
    /// The participant is asked, by the probe of the step. Without an answer, the step is `UNKNOWN`.
    Probe,
    /// The step is repeated with the same idempotency key until the outcome is known.
    Retry,
    /// The workflow waits in `ERROR` until an operator supplies the outcome.
    Park,
}

impl OnUnknown {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
    fn is_default(&self) -> bool {
        *self == Self::Compensate
    }
}

/// How a rollback proceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RollbackPolicy {
    /// The order of the compensations.
    #[serde(default, skip_serializing_if = "RollbackOrder::is_default")]
    pub order: RollbackOrder,
    /// Whether a compensation that failed ends without an operator. Its effect remains.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub continue_on_error: bool,
}

impl RollbackPolicy {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The order of the compensations of a rollback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RollbackOrder {
    /// A step is compensated after all steps downstream of it.
    #[default]
    Reverse,
    /// Compensations do not wait for one another.
    Parallel,
}

impl RollbackOrder {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
    fn is_default(&self) -> bool {
        *self == Self::Reverse
    }
}
