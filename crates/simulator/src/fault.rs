//! Faults of a step.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// A fault of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepFault {
    /// The participant refuses, and nothing happened.
    Refused,
    /// The connection breaks after each request, so the outcome of every attempt is unknown.
    Unknown,
    /// The participant does not respond before the deadline of any attempt.
    Timeout,
    /// The step has taken effect, the workflow rolls back, and every attempt to compensate the step fails, up to the
    /// limit of its policy.
    Compensation,
}

impl StepFault {
    /// All faults, in the order of the report.
    pub const ALL: [Self; 4] = [Self::Refused, Self::Unknown, Self::Timeout, Self::Compensation];

    /// Returns the name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Timeout => "timeout",
            Self::Compensation => "compensation",
        }
    }
}

impl fmt::Display for StepFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error: the text is not the name of a fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a fault: use refused, unknown, timeout or compensation")]
pub struct ParseFaultError(String);

impl FromStr for StepFault {
    type Err = ParseFaultError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|fault| fault.as_str() == text);
        found.ok_or_else(|| ParseFaultError(text.to_owned()))
    }
}
