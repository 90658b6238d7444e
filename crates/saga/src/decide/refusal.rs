//! Why an input is refused.

use crate::Status;
use alloc::string::String;
use alloc::vec::Vec;

/// Why an input is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The workflow has a final status.
    #[error("the workflow is {}, which is final", .0.as_str())]
    Final(Status),
    /// The input concerns an attempt that has settled or was never issued, or a timer that is not due.
    #[error("the attempt or timer is no longer open")]
    Stale,
    /// The status of the workflow or the step does not allow the change.
    #[error("{0}")]
    Conflict(String),
    /// The workflow keeps as many signals as it can.
    #[error("{0}")]
    SignalLimit(String),
    /// The definition has no such step.
    #[error("the definition has no such step")]
    UnknownStep,
    /// The workflow cannot be re-run from the step.
    #[error("{detail}")]
    Rerun {
        /// The kind of the cause.
        cause: RerunRefusal,
        /// The cause, for people.
        detail: String,
    },
    /// The workflow cannot follow another version of its definition.
    #[error("{}", .0.join("; "))]
    Migration(Vec<String>),
}

/// Why a workflow cannot be re-run from a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RerunRefusal {
    /// The workflow has not ended, is a child, or a step above the re-run did not complete.
    NotPossible,
    /// An effect of the steps cannot be undone.
    Irreversible,
    /// It is unknown whether a step had an effect, or an attempt may still take effect.
    InDoubt,
}
