//! What can go wrong with a call, by what the caller can do about it.

use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// The status of a call that was refused for being too much.
const TOO_MANY: u16 = 429;
/// When to come back, where nobody said.
const SOON: Duration = Duration::from_secs(1);

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can't be one of a server: correct it.
    #[error("{text} is no address of a server: {reason}")]
    Address {
        /// As it was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There was no answer: look whether the server runs. A call that writes may have been carried out.
    #[error("the server at {url} can't be reached: {reason}")]
    Unreachable {
        /// The server.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// No answer in time. A call that writes may have been carried out.
    #[error("the server at {url} did not answer in time")]
    Timeout {
        /// The server.
        url: String,
    },
    /// What the call is about does not exist.
    #[error("{0}")]
    NotFound(Box<Problem>),
    /// The present status does not allow it, or somebody else was first.
    #[error("{0}")]
    Conflict(Box<Problem>),
    /// What was sent is wrong: correct it. The problem's `errors` say where.
    #[error("{0}")]
    Invalid(Box<Problem>),
    /// The caller may not do it.
    #[error("{0}")]
    NotAllowed(Box<Problem>),
    /// Another answer; the problem says whether the same call may succeed later.
    #[error("{0}")]
    Other(Box<Problem>),
    /// What answered does not speak this API, or another release of it.
    #[error("the answer of {url} can't be read: {reason}")]
    Unreadable {
        /// The server.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// A problem as the server describes it (RFC 9457).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// A page about this kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time.
    pub detail: String,
    /// Stable: `GC1004`.
    pub code: String,
    /// Each part that is wrong.
    pub errors: Vec<ProblemDetail>,
    /// Whether the same call may succeed later.
    pub retryable: bool,
    /// To find it in the server's logs.
    pub trace_id: Option<String>,
    /// When to come back, where the server said so.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// What else the server said.
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}

/// One part of what was sent that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ProblemDetail {
    /// JSON Pointer into what was sent.
    pub pointer: Option<String>,
    /// From 1.
    pub line: Option<u32>,
    /// From 1.
    pub column: Option<u32>,
    /// Stable: `GC1004`.
    pub code: String,
    /// What is wrong.
    pub detail: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.detail.as_str(), self.title.as_str()) {
            ("", "") => write!(f, "the server answered {}", self.status),
            ("", title) => f.write_str(title),
            (detail, _) => f.write_str(detail),
        }
    }
}

impl Error {
    /// The problem that the server described, if it did.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::NotFound(problem)
            | Self::Conflict(problem)
            | Self::Invalid(problem)
            | Self::NotAllowed(problem)
            | Self::Other(problem) => Some(problem),
            Self::Address { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Unreadable { .. } => None,
        }
    }

    /// Whether the same call may succeed later. One that writes needs an idempotency key for that.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => true,
            Self::Other(problem) => problem.retryable || matches!(problem.status, 429 | 502 | 503 | 504),
            Self::Address { .. }
            | Self::NotFound(_)
            | Self::Conflict(_)
            | Self::Invalid(_)
            | Self::NotAllowed(_)
            | Self::Unreadable { .. } => false,
        }
    }

    /// When to come back with a call that the server refused for being too much at the time: such a call was
    /// certainly not carried out, and can be repeated whatever it is.
    #[must_use]
    pub fn refused_for_now(&self) -> Option<Duration> {
        let problem = self.problem().filter(|problem| problem.status == TOO_MANY)?;
        Some(problem.retry_after.unwrap_or(SOON))
    }

    /// The error that an answer stands for. A body that describes no problem is tolerated: a proxy in
    /// between may have written it.
    pub(crate) fn from_answer(status: u16, retry_after: Option<Duration>, body: &str) -> Self {
        let mut problem: Problem = serde_json::from_str(body).unwrap_or_default();
        (problem.status, problem.retry_after) = (status, retry_after);
        let problem = Box::new(problem);
        match status {
            404 | 410 => Self::NotFound(problem),
            409 | 412 => Self::Conflict(problem),
            400 | 406 | 411 | 413..=415 | 422 => Self::Invalid(problem),
            401 | 403 => Self::NotAllowed(problem),
            _ => Self::Other(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_what_the_caller_can_do() {
        for (status, expected) in [
            (404, "NotFound"),
            (409, "Conflict"),
            (412, "Conflict"),
            (422, "Invalid"),
            (400, "Invalid"),
            (401, "NotAllowed"),
            (403, "NotAllowed"),
            (500, "Other"),
            (429, "Other"),
        ] {
            let error = Error::from_answer(status, None, r#"{"detail":"d","code":"GC2001","new":1}"#);
            assert!(format!("{error:?}").starts_with(expected), "{status}: {error:?}");
            assert_eq!(error.to_string(), "d");
        }
    }

    #[test]
    fn a_body_that_is_no_problem_is_tolerated() {
        let error = Error::from_answer(503, None, "<html>busy</html>");
        assert_eq!(error.to_string(), "the server answered 503");
        assert!(error.is_retryable());
    }
}
