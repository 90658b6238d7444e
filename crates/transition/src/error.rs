//! The errors of this crate.

use goconductor_saga::{GraphError, Refusal, WorkflowId};

/// Why an input changed nothing.
///
/// The error can be cloned, because several callers receive the result of one transition.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The workflow does not exist.
    #[error("the workflow was not found")]
    NoSuchWorkflow,
    /// The definition does not exist, or not in this version.
    #[error("the definition was not found")]
    NoSuchDefinition,
    /// The status of the workflow does not allow the input.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The idempotency key belongs to a start with another definition or input.
    #[error("the idempotency key belongs to workflow {0}, which has another definition or input")]
    KeyConflict(WorkflowId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] goconductor_store::Error),
    /// The workflow changed before every attempt to commit.
    #[error("the workflow changed before each of {0} attempts to commit; try again")]
    Contention(u32),
    /// A stored definition is not a valid graph.
    #[error("the stored definition {name} version {version} is not a valid graph")]
    InvalidDefinition {
        /// The name of the definition.
        name: String,
        /// The version of the definition.
        version: u32,
        /// Why it is not a valid graph.
        source: GraphError,
    },
    /// An invariant of the engine or the store does not hold.
    #[error("internal error: {0}")]
    Internal(&'static str),
}

impl Error {
    /// Returns whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store(error) => error.is_retryable(),
            Self::Contention(_) => true,
            Self::NoSuchWorkflow
            | Self::NoSuchDefinition
            | Self::Refused(_)
            | Self::KeyConflict(_)
            | Self::InvalidDefinition { .. }
            | Self::Internal(_) => false,
        }
    }
}
