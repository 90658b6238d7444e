//! The errors of a request, by what the caller can do.

use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// The status of a request that was refused because of overload. Such a request had no effect.
const TOO_MANY_REQUESTS: u16 = 429;
/// The retry delay if the server sets none.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The error of a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address or the namespace is invalid: correct it.
    #[error("invalid server address {text}: {reason}")]
    Address {
        /// The address.
        text: String,
        /// The reason why it is invalid.
        reason: String,
    },
    /// The server cannot be reached: check that it runs. A write may have taken effect.
    #[error("failed to reach the server at {url}: {reason}")]
    Unreachable {
        /// The address of the server.
        url: String,
        /// The message of the operating system.
        reason: String,
        /// The error of the HTTP client.
        source: reqwest::Error,
    },
    /// The response did not arrive in time. A write may have taken effect.
    #[error("the server at {url} did not respond in time")]
    Timeout {
        /// The address of the server.
        url: String,
        /// The error of the HTTP client.
        source: reqwest::Error,
    },
    /// The resource does not exist.
    #[error("{0}")]
    NotFound(Box<Problem>),
    /// The current state does not allow the request.
    #[error("{0}")]
    Conflict(Box<Problem>),
    /// The request is invalid: correct it. The `errors` of the problem are the locations.
    #[error("{0}")]
    Invalid(Box<Problem>),
    /// The caller is not allowed to send the request.
    #[error("{0}")]
    NotAllowed(Box<Problem>),
    /// Any other response. The problem states whether the same request may succeed later.
    #[error("{0}")]
    Other(Box<Problem>),
    /// The response is malformed: the address is that of another server, or of another release.
    #[error("malformed response from {url}: {reason}")]
    Unreadable {
        /// The address of the server.
        url: String,
        /// The message of the parser.
        reason: String,
        /// The error of the parser.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A problem that the server describes (RFC 9457).
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The page about the error code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, as a short phrase.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The description of the failure: what failed, which value caused it and what to do.
    pub detail: String,
    /// The stable error code, such as `GC1004`.
    pub code: String,
    /// The locations of the errors in the request.
    pub errors: Vec<ProblemDetail>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The identifier of the response in the server's log.
    pub trace_id: Option<String>,
    /// The retry delay, if the server set one.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    /// Further fields.
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}

/// The location of an error in the request.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ProblemDetail {
    /// The JSON pointer into the request body.
    pub pointer: Option<String>,
    /// The line, from 1.
    pub line: Option<u32>,
    /// The column, from 1.
    pub column: Option<u32>,
    /// The stable error code, such as `GC1004`.
    pub code: String,
    /// The description of the error and of its correction.
    pub detail: String,
    /// A suggestion.
    pub hint: Option<String>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.detail.as_str(), self.title.as_str()) {
            ("", "") => write!(f, "the server responded with status {}", self.status),
            ("", title) => f.write_str(title),
            (detail, _) => f.write_str(detail),
        }
    }
}

impl Error {
    /// Returns the problem that the server described, if it did.
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

    /// Whether the same request may succeed later. A write must have an idempotency key to be retried.
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

    /// Returns the retry delay if the server refused the request because of overload. Such a request had no effect, so
    /// it can always be retried.
    #[must_use]
    pub fn retry_delay(&self) -> Option<Duration> {
        let problem = self.problem().filter(|problem| problem.status == TOO_MANY_REQUESTS)?;
        Some(problem.retry_after.unwrap_or(RETRY_DELAY))
    }

    /// Creates the error of a response. A body that describes no problem is accepted: a proxy may have written it.
    pub(crate) fn from_response(status: u16, retry_after: Option<Duration>, body: &str) -> Self {
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

impl Error {
    /// Creates the error of a malformed response.
    pub(crate) fn unreadable(url: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        Self::Unreadable { url: url.to_owned(), reason: source.to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_determines_the_variant() {
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
            let error = Error::from_response(status, None, r#"{"detail":"d","code":"GC2001","new":1}"#);
            assert!(format!("{error:?}").starts_with(expected), "{status}: {error:?}");
            assert_eq!(error.to_string(), "d");
        }
    }

    #[test]
    fn body_without_a_problem_is_accepted() {
        let error = Error::from_response(503, None, "<html>busy</html>");
        assert_eq!(error.to_string(), "the server responded with status 503");
        assert!(error.is_retryable());
    }
}
