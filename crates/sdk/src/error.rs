//! Errors of actions and of calls.

use serde_json::Value;
use std::time::Duration;

/// The error of an action. The variant determines how the saga proceeds.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ActionError {
    /// Nothing happened. The step is retried by its retry policy.
    #[error("{code}: {message}")]
    Retryable {
        /// A stable code for programs, which `retry.on` of a definition can name.
        code: String,
        /// A message for people.
        message: String,
        /// The minimum delay before the next attempt.
        after: Option<Duration>,
    },
    /// Nothing happened, and retrying would not help. The saga rolls back.
    #[error("{code}: {message}")]
    Refused {
        /// A stable code for programs.
        code: String,
        /// A message for people.
        message: String,
        /// Further details, as JSON.
        detail: Option<Value>,
    },
    /// The action may have taken effect. The step is retried with the same idempotency key, and compensated if the
    /// saga rolls back.
    #[error("{code}: {message}")]
    Unknown {
        /// A stable code for programs.
        code: String,
        /// A message for people.
        message: String,
    },
}

impl ActionError {
    /// Creates an error that is retried by the step's retry policy.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Retryable { code: code.into(), message: message.into(), after: None }
    }

    /// Creates an error that is retried after at least `after`.
    pub fn retry_after(code: impl Into<String>, message: impl Into<String>, after: Duration) -> Self {
        Self::Retryable { code: code.into(), message: message.into(), after: Some(after) }
    }

    /// Creates an error that rolls the saga back.
    pub fn refused(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Refused { code: code.into(), message: message.into(), detail: None }
    }

    /// Creates an error of an action that may have taken effect.
    pub fn unknown(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Unknown { code: code.into(), message: message.into() }
    }
}

/// The error of a call to GoConductor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The gateway refused the call or could not be reached.
    #[error(transparent)]
    Call(#[from] goconductor_client::Error),
    /// A workflow, a service or an address is invalid. Correct the program.
    #[error("{0}")]
    Misuse(String),
    /// No executor accepted a worker of the service.
    #[error("no executor accepted a worker of {service}: {reason}")]
    NoExecutor {
        /// The name of the service.
        service: String,
        /// The reason of the last refusal.
        reason: String,
    },
    /// A value could not be converted to or from JSON.
    #[error("failed to convert between JSON and the requested type")]
    Output(#[from] serde_json::Error),
    /// A simulated saga could not be run.
    #[cfg(feature = "test-kit")]
    #[error(transparent)]
    Simulation(#[from] goconductor_simulator::Error),
    /// The executor inside the microservice failed.
    #[error("the embedded executor failed")]
    Embedded(#[source] anyhow::Error),
}
