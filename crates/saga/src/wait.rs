//! Waits: the times of `sleep` and of the limit of `wait_for_signal`.

use crate::Timestamp;
use alloc::string::String;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// When a wait ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitTime {
    /// After a duration, in milliseconds in the stored form.
    #[serde(rename = "duration_ms")]
    Duration(#[serde(with = "crate::millis")] Duration),
    /// At a point in time.
    Time(Timestamp),
    /// When the value of an expression says: the text of a duration, or of a time.
    Expression(String),
}

/// The result of a step whose wait for a signal exceeds its time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// The step fails.
    #[default]
    Fail,
    /// The step completes with the output null.
    Continue,
}

impl OnTimeout {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
    pub(crate) fn is_fail(&self) -> bool {
        *self == Self::Fail
    }
}
