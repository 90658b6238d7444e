//! The version of the rules that a workflow follows. A running workflow keeps the rules it started with, so that an
//! upgrade does not change the meaning of its history.

use serde::{Deserialize, Serialize};

/// The version of the rules that a workflow follows. Stored data without a version follows the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RulesVersion(u16);

impl Default for RulesVersion {
    fn default() -> Self {
        Self::FIRST
    }
}

impl RulesVersion {
    /// The rules of releases that recorded no version.
    pub const FIRST: Self = Self(1);
    /// The first rules with waits, probes, the policies of failures and children.
    pub(crate) const WITH_WAITS: Self = Self(3);
    /// The rules of workflows that start now.
    pub const CURRENT: Self = Self(3);

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
    pub(crate) fn is_first(&self) -> bool {
        *self == Self::FIRST
    }

    /// Returns whether the time limits of a workflow are suspended while it is paused.
    #[must_use]
    pub fn pause_stops_clocks(self) -> bool {
        self >= Self(2)
    }

    /// Returns whether an attempt of unknown outcome is over once the participant has responded to it.
    #[must_use]
    pub fn response_ends_attempt(self) -> bool {
        self >= Self(2)
    }

    /// Returns whether the size of a state is limited, so that an output that would exceed the limit is rejected.
    #[must_use]
    pub fn has_state_limit(self) -> bool {
        self >= Self(2)
    }

    /// Returns whether the outcome header, plain text outputs and the doubt of a 503 without `Retry-After` apply to
    /// HTTP responses.
    #[must_use]
    pub fn has_outcome_header(self) -> bool {
        self >= Self(2)
    }
}
