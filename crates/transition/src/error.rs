//! Why news did not change a workflow.

use goconductor_saga::{Refusal, WorkflowId};

/// Why a start or some other news changed nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No such workflow.
    #[error("no such workflow")]
    NoSuchWorkflow,
    /// No such definition, or not in that version.
    #[error("no such definition")]
    NoSuchDefinition,
    /// The workflow's status does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The idempotency key belongs to a start of another definition or input.
    #[error("the idempotency key belongs to workflow {0}, started with another definition or input")]
    KeyConflict(WorkflowId),
    /// The database does not answer now; the same call may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// What is stored can't be used.
    #[error("{0}")]
    Internal(String),
    /// Too much is going on; the same call may succeed later.
    #[error("the workflow changed under every one of {0} tries")]
    Contention(u32),
}

impl From<goconductor_store::Error> for Error {
    fn from(error: goconductor_store::Error) -> Self {
        if error.is_retryable() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Internal(error.to_string())
        }
    }
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Contention(_) => true,
            Self::NoSuchWorkflow
            | Self::NoSuchDefinition
            | Self::Refused(_)
            | Self::KeyConflict(_)
            | Self::Internal(_) => false,
        }
    }
}
