//! The time limits of a step.

use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The time limits of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// The limit of one attempt.
    #[serde(with = "crate::millis", rename = "attempt_ms")]
    pub attempt: Duration,
    /// The limit from queuing to the start of the first attempt.
    #[serde(
        with = "crate::millis::option",
        default,
        skip_serializing_if = "Option::is_none",
        rename = "queue_ms"
    )]
    pub queue: Option<Duration>,
    /// The limit of all attempts together, from queuing.
    #[serde(
        with = "crate::millis::option",
        default,
        skip_serializing_if = "Option::is_none",
        rename = "total_ms"
    )]
    pub total: Option<Duration>,
    /// The limit between two heartbeats of an attempt, for participants that can send heartbeats.
    #[serde(
        with = "crate::millis::option",
        default,
        skip_serializing_if = "Option::is_none",
        rename = "heartbeat_ms"
    )]
    pub heartbeat: Option<Duration>,
}

/// The time limits of a compensation, besides that of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CompensationLimits {
    /// The limit from when an attempt may be sent to its start. An attempt that does not start in time failed, and the
    /// retry policy of the compensation applies to it.
    #[serde(
        with = "crate::millis::option",
        default,
        skip_serializing_if = "Option::is_none",
        rename = "queue_ms"
    )]
    pub queue: Option<Duration>,
    /// The limit of all attempts together, from when the first of them may be sent.
    #[serde(
        with = "crate::millis::option",
        default,
        skip_serializing_if = "Option::is_none",
        rename = "total_ms"
    )]
    pub total: Option<Duration>,
    /// The limit between two heartbeats of an attempt, for participants that can send heartbeats.
    #[serde(
        with = "crate::millis::option",
        default,
        skip_serializing_if = "Option::is_none",
        rename = "heartbeat_ms"
    )]
    pub heartbeat: Option<Duration>,
}

impl CompensationLimits {
    /// Returns whether no limit is set.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether a clock runs between attempts, which a pause must stop.
    #[must_use]
    pub fn has_clock(&self) -> bool {
        self.queue.is_some() || self.total.is_some()
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(30), queue: None, total: None, heartbeat: None }
    }
}

impl Timeouts {
    /// Returns whether the start of an attempt must be recorded before the attempt is sent.
    ///
    /// This is the case if the side has a limit until its start or over all attempts. Only a recorded start shows
    /// whether such a limit was met.
    #[must_use]
    pub fn start_is_recorded_first(&self) -> bool {
        self.queue.is_some() || self.total.is_some()
    }
}
