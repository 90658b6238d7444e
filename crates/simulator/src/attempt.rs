//! Attempts of a simulated workflow that are in flight.

use goconductor_saga::{Failure, Input, Outcome, Side, StepIndex, Timestamp};
use std::time::Duration;

/// The time after which the start of an attempt is recorded.
const START_GRACE: Duration = Duration::from_millis(200);
/// The executor in the history.
const EXECUTOR: &str = "simulator";

/// An attempt in flight.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedAttempt {
    pub(crate) step: StepIndex,
    pub(crate) side: Side,
    pub(crate) attempt: u32,
    pub(crate) started_at: Timestamp,
    pub(crate) deadline: Timestamp,
    pub(crate) recorded: bool,
    pub(crate) reports_at: Timestamp,
    pub(crate) outcome: Outcome,
    /// Whether the outcome is reported twice.
    pub(crate) twice: bool,
    /// Whether it is a child workflow that the driver plays.
    pub(crate) is_child: bool,
}

impl SimulatedAttempt {
    /// Returns a child workflow that the driver plays.
    pub(crate) fn of_child(
        step: StepIndex,
        side: Side,
        attempt: u32,
        now: Timestamp,
        limit: Duration,
    ) -> Self {
        let deadline = now.after(limit);
        Self {
            step,
            side,
            attempt,
            started_at: now,
            deadline,
            recorded: true,
            reports_at: deadline,
            outcome: timed_out(),
            twice: false,
            is_child: true,
        }
    }

    /// Returns the time of the next event of the attempt: its record as started, or its report.
    pub(crate) fn next_at(&self) -> Timestamp {
        let grace = self.started_at.after(START_GRACE);
        if self.recorded { self.reports_at } else { self.reports_at.min(grace) }
    }

    pub(crate) fn started(&self, sent: bool) -> Input {
        Input::StartAttempt {
            step: self.step,
            side: self.side,
            attempt: self.attempt,
            started_at: self.started_at,
            deadline: self.deadline,
            executor: EXECUTOR.to_owned(),
            sent,
            trace: None,
        }
    }
}

/// The outcome of an attempt that no participant responded to.
pub(crate) fn timed_out() -> Outcome {
    let failure = Failure::of("TIMED_OUT", "the participant did not respond before the deadline");
    Outcome::Unknown { failure, not_before: None, answered: false }
}
