//! Errors of actions and of calls.

use goconductor_client::Error as CallError;
use goconductor_inbox::{Error as InboxError, Failed};
use serde_json::Value;
use std::error::Error as StdError;
use std::fmt;
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

    /// Converts an error that says nothing about the outcome of the action. The outcome is unknown, with the code
    /// `ERROR`, unless the error or one of its sources is an `ActionError`.
    ///
    /// ```
    /// use goconductor::ActionError;
    ///
    /// let error = "much".parse::<u32>().map_err(ActionError::from_error).unwrap_err();
    /// assert_eq!(error, ActionError::unknown("ERROR", "invalid digit found in string"));
    /// ```
    pub fn from_error(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        let mut next: Option<&(dyn StdError + 'static)> = Some(&*error);
        while let Some(source) = next {
            if let Some(action) = source.downcast_ref::<Self>() {
                return action.clone();
            }
            next = source.source();
        }
        Self::unknown("ERROR", with_sources(&*error))
    }

    /// Returns the code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Retryable { code, .. } | Self::Refused { code, .. } | Self::Unknown { code, .. } => code,
        }
    }
}

/// See [`ActionError::from_error`].
impl From<Box<dyn StdError + Send + Sync>> for ActionError {
    fn from(error: Box<dyn StdError + Send + Sync>) -> Self {
        Self::from_error(error)
    }
}

/// See [`ActionError::from_error`].
impl From<anyhow::Error> for ActionError {
    fn from(error: anyhow::Error) -> Self {
        // The boxed form of the error would hide its own type, and the chain hides the types of contexts.
        let attached = error.downcast_ref::<Self>();
        let action = attached.or_else(|| error.chain().find_map(|source| source.downcast_ref::<Self>()));
        action.cloned().unwrap_or_else(|| Self::unknown("ERROR", format!("{error:#}")))
    }
}

/// The error of the work is kept. If the database failed, the response to a commit may have been lost, so the outcome
/// is unknown. The next attempt finds the record if there is one.
impl From<Failed<ActionError>> for ActionError {
    fn from(failed: Failed<ActionError>) -> Self {
        match failed {
            Failed::Work(error) => error,
            Failed::Inbox(error) => Self::from(error),
        }
    }
}

/// The outcome is unknown.
impl From<InboxError> for ActionError {
    fn from(error: InboxError) -> Self {
        Self::unknown("DATABASE", with_sources(&error))
    }
}

/// Returns the message of an error and those of its sources.
fn with_sources(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
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

/// The kind of an [`Error`], by what the caller can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The resource does not exist.
    NotFound,
    /// The current state does not allow the call.
    Conflict,
    /// The request is invalid.
    Invalid,
    /// The credentials do not allow the call, or are missing.
    NotAllowed,
    /// The call was refused because of overload and had no effect.
    Overloaded,
    /// The gateway cannot be reached. A write may have taken effect.
    Unreachable,
    /// No response arrived in time. A write may have taken effect.
    Timeout,
    /// A workflow, a service or an address is invalid. Correct the program.
    Misuse,
    /// No executor accepted a worker of the service.
    NoExecutor,
    /// Any other error.
    Other,
}

impl ErrorKind {
    /// Returns the name of the kind, such as `not_found`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::NotAllowed => "not_allowed",
            Self::Overloaded => "overloaded",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Misuse => "misuse",
            Self::NoExecutor => "no_executor",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Error {
    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Call(error) => kind_of_call(error),
            Self::Misuse(_) => ErrorKind::Misuse,
            Self::NoExecutor { .. } => ErrorKind::NoExecutor,
            Self::Output(_) | Self::Embedded(_) => ErrorKind::Other,
            #[cfg(feature = "test-kit")]
            Self::Simulation(_) => ErrorKind::Other,
        }
    }

    /// Returns the stable code of the error, such as `GC2010`. Each code has a page in the documentation. Returns `None` if
    /// the gateway did not describe the error.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        let Self::Call(error) = self else { return None };
        error.problem().map(|problem| problem.code.as_str()).filter(|code| !code.is_empty())
    }
}

fn kind_of_call(error: &CallError) -> ErrorKind {
    match error {
        CallError::Address { .. } => ErrorKind::Misuse,
        CallError::Unreachable { .. } => ErrorKind::Unreachable,
        CallError::Timeout { .. } => ErrorKind::Timeout,
        CallError::NotFound(_) => ErrorKind::NotFound,
        CallError::Conflict(_) => ErrorKind::Conflict,
        CallError::Invalid(_) => ErrorKind::Invalid,
        CallError::NotAllowed(_) => ErrorKind::NotAllowed,
        CallError::Other(problem) => match problem.status {
            429 => ErrorKind::Overloaded,
            502 | 503 => ErrorKind::Unreachable,
            504 => ErrorKind::Timeout,
            _ => ErrorKind::Other,
        },
        CallError::Unreadable { .. } => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_client::Problem;

    #[derive(Debug, thiserror::Error)]
    #[error("the work failed")]
    struct Outer<E: StdError + 'static>(#[source] E);

    #[test]
    fn error_that_says_nothing_about_the_outcome_is_unknown() {
        let text: Box<dyn StdError + Send + Sync> = "something went wrong".into();
        assert_eq!(ActionError::from(text), ActionError::unknown("ERROR", "something went wrong"));
        let error = Outer(std::io::Error::other("the disk is full"));
        let expected = ActionError::unknown("ERROR", "the work failed: the disk is full");
        assert_eq!(ActionError::from_error(error), expected);
    }

    #[test]
    fn action_error_among_the_sources_is_kept() {
        let refused = ActionError::refused("LIMIT", "too much");
        assert_eq!(ActionError::from_error(Outer(refused.clone())), refused);
        let context = anyhow::Error::new(refused.clone()).context("the work failed");
        assert_eq!(ActionError::from(context), refused);
        assert_eq!(ActionError::from(anyhow::Error::new(refused.clone())), refused);
        let attached = anyhow::anyhow!("no rows").context(refused.clone()).context("the work failed");
        assert_eq!(ActionError::from(attached), refused);
        assert_eq!(ActionError::from(Failed::Work(refused.clone())), refused);
        assert_eq!(refused.code(), "LIMIT");
    }

    #[test]
    fn failure_of_the_inbox_is_unknown() {
        let error = InboxError::Key { text: "a".to_owned(), expected: "execute" };
        let failed = ActionError::from(Failed::<ActionError>::Inbox(error));
        assert!(matches!(&failed, ActionError::Unknown { code, .. } if code == "DATABASE"), "{failed:?}");
    }

    #[test]
    fn kind_and_code_are_those_of_the_problem() {
        let problem =
            |status, code: &str| Box::new(Problem { status, code: code.to_owned(), ..Problem::default() });
        for (error, kind, code) in [
            (CallError::NotFound(problem(404, "GC2010")), ErrorKind::NotFound, Some("GC2010")),
            (CallError::Other(problem(429, "GC2010")), ErrorKind::Overloaded, Some("GC2010")),
            (CallError::Other(problem(503, "")), ErrorKind::Unreachable, None),
            (CallError::Other(problem(500, "")), ErrorKind::Other, None),
        ] {
            let error = Error::from(error);
            assert_eq!((error.kind(), error.code()), (kind, code), "{error:?}");
        }
        assert_eq!(Error::Misuse(String::new()).kind().to_string(), "misuse");
    }
}
