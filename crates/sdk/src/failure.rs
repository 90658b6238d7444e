//! What can go wrong: with an action, and with a call.

use serde_json::Value;
use std::time::Duration;

/// Why an action was not done, by what the saga does about it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// Nothing happened; it is tried again by the step's policy.
    #[error("{code}: {message}")]
    Retryable {
        /// Stable, for programs: `retry.on` of a definition can name it.
        code: String,
        /// For people.
        message: String,
        /// Not before this time has passed.
        after: Option<Duration>,
    },
    /// Nothing happened and nothing will: the saga is rolled back.
    #[error("{code}: {message}")]
    Refused {
        /// Stable, for programs.
        code: String,
        /// For people.
        message: String,
        /// Whatever else there is to say.
        detail: Option<Value>,
    },
    /// Nobody can say whether it happened: it is tried again with the same key, and undone in a roll-back.
    #[error("{code}: {message}")]
    Unknown {
        /// Stable, for programs.
        code: String,
        /// For people.
        message: String,
    },
}

impl Failure {
    /// Nothing happened; try again.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Retryable { code: code.into(), message: message.into(), after: None }
    }

    /// Nothing happened; try again, but not before some time has passed.
    pub fn retry_after(code: impl Into<String>, message: impl Into<String>, after: Duration) -> Self {
        Self::Retryable { code: code.into(), message: message.into(), after: Some(after) }
    }

    /// Nothing happened and nothing will.
    pub fn refused(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Refused { code: code.into(), message: message.into(), detail: None }
    }

    /// Nobody can say whether it happened.
    pub fn unknown(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Unknown { code: code.into(), message: message.into() }
    }
}

/// Why a call did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The gateway refused, or could not be reached.
    #[error(transparent)]
    Call(#[from] goconductor_client::Error),
    /// A workflow or service that can't be: correct it.
    #[error("{0}")]
    Misuse(String),
    /// No executor takes workers of the service.
    #[error("no executor takes workers of {service}: {reason}")]
    NoExecutor {
        /// The service.
        service: String,
        /// What each that was asked said.
        reason: String,
    },
    /// What was answered is not of the type that was asked for.
    #[error("the output is not of the type that was asked for: {0}")]
    Output(#[from] serde_json::Error),
    /// The executor inside the microservice has failed.
    #[error("{0:#}")]
    Embedded(anyhow::Error),
}
