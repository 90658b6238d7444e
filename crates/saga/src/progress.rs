//! The attempts at one side of a step.

use crate::{Timestamp, TraceContext};
use alloc::string::String;
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};

/// The attempts at one side of a step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The number of attempts that ended or were lost.
    pub ended: u32,
    /// The number of attempts that do not count against the limit: those before an operator's retry, and those that
    /// were not sent.
    #[serde(rename = "forgiven", default, skip_serializing_if = "is_zero")]
    pub reset_attempts: u32,
    /// When the first command was issued, or an operator retried the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<Timestamp>,
    /// When the time limits count from, if it is not `queued_at`: a pause moved it, or the compensation has limits, which
    /// count from when its command may be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_from: Option<Timestamp>,
    /// When the first attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the side settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// When the open command is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// The attempt whose start was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
}

/// An attempt whose start was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// When the attempt started.
    pub started_at: Timestamp,
    /// When the attempt times out.
    pub deadline: Timestamp,
    /// The executor that runs the attempt.
    pub executor: String,
    /// The span of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Arc<TraceContext>>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
pub(crate) fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Progress {
    pub(crate) fn is_untouched(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the progress of a side that begins again: its attempts are still counted, but not against the limit.
    pub(crate) fn begun_again(&self) -> Self {
        Self { ended: self.ended, reset_attempts: self.ended, ..Self::default() }
    }

    /// Returns the progress of a side in the next generation. The number of the open or next attempt is passed over: its
    /// command may still be in a queue, in a process that was paused or in a cached state, although the attempt was
    /// withdrawn or an operator settled the side.
    pub(crate) fn in_next_generation(&self) -> Self {
        Self { ended: self.attempt(), reset_attempts: self.attempt(), ..Self::default() }
    }

    /// Returns the number of the open or next attempt, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.ended.saturating_add(1)
    }

    /// Returns the number of attempts that began, as far as is known.
    #[must_use]
    pub fn begun(&self) -> u32 {
        self.ended.saturating_add(u32::from(self.running.is_some()))
    }

    /// Returns when the time limits of the side count from, or `None` if no command was issued.
    #[must_use]
    pub fn limits_from(&self) -> Option<Timestamp> {
        self.counted_from.or(self.queued_at)
    }

    /// Returns the number of attempts that count against the limit.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.ended.saturating_sub(self.reset_attempts)
    }
}
