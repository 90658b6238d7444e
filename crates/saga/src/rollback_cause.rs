//! The cause of a rollback.

use serde::{Deserialize, Serialize};

/// Why a rollback began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RollbackCause {
    /// A step ended as failed or unknown.
    StepFailed,
    /// A user cancelled the workflow.
    Cancelled,
    /// The time limit of the workflow expired.
    TimedOut,
    /// An operator stated that the pivot did not happen, or rolled back a completed workflow.
    Operator,
    /// The parent of the workflow rolls back.
    Parent,
}

impl RollbackCause {
    /// Returns the name that the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StepFailed => "STEP_FAILED",
            Self::Cancelled => "CANCELLED",
            Self::TimedOut => "TIMED_OUT",
            Self::Operator => "OPERATOR",
            Self::Parent => "PARENT",
        }
    }
}
