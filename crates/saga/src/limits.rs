//! Rules that several callers share: whether an execute is still wanted, and the limits of attempts.
//!
//! `decide`, `owed` and the executor must agree on these. Each rule is therefore a method here, and no caller
//! computes it from the fields.

use crate::{Plan, Side, State, StepIndex, StepState, Timestamp};
use core::time::Duration;

impl StepState {
    /// Returns whether an attempt ended with an unknown outcome, so that the execute may have taken effect.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.doubt_until.is_some()
    }

    /// Returns the earliest time of a command that is issued at `at`.
    ///
    /// An execute of unknown outcome must not take effect after its own compensation.
    pub(crate) fn earliest_command(&self, side: Side, at: Timestamp) -> Timestamp {
        match side {
            Side::Execute => at,
            Side::Compensate => at.max(self.doubt_until.unwrap_or_default()),
        }
    }
}

impl State {
    /// Returns whether the time limits of the workflow are suspended, because it is paused.
    ///
    /// The clocks are those of the workflow's deadline and of the steps' limits. An attempt in flight keeps its own
    /// deadline, because the participant has received it.
    #[must_use]
    pub fn clocks_stand_still(&self) -> bool {
        self.paused_at.is_some()
    }

    /// Returns whether an execute command of `step` that has not been sent may still be sent.
    ///
    /// No execute is wanted once a rollback has begun. While a requested rollback waits for the pivot, only a
    /// step in doubt is still executed, because only another attempt determines its outcome. A pause does not
    /// matter here: it delays a command and does not take it back.
    #[must_use]
    pub fn wants_execute(&self, step: StepIndex) -> bool {
        let in_doubt = self.step(step).is_some_and(StepState::is_in_doubt);
        self.phase.is_forward() && (!self.rollback_pending || in_doubt)
    }
}

impl Plan {
    /// Returns whether `step` is a pivot in doubt, that is, the pivot with a `doubt_until`.
    ///
    /// A pivot in doubt is retried beyond every limit, until its outcome is known or an operator supplies it:
    /// without the outcome the workflow can neither continue nor roll back.
    #[must_use]
    pub fn is_pivot_in_doubt(&self, step: StepIndex, doubt_until: Option<Timestamp>) -> bool {
        self.pivot() == Some(step) && doubt_until.is_some()
    }

    /// Returns the limit for all attempts at one side of `step` together, counted from when the side was queued, and for
    /// a compensation from when it may be sent.
    ///
    /// `None` if the side has no limit, or is the execute of a pivot in doubt.
    #[must_use]
    pub fn total_timeout(
        &self,
        step: StepIndex,
        side: Side,
        doubt_until: Option<Timestamp>,
    ) -> Option<Duration> {
        let definition = self.step(step)?;
        match side {
            Side::Execute => definition.timeout.total.filter(|_| !self.is_pivot_in_doubt(step, doubt_until)),
            Side::Compensate => definition.compensate.as_ref()?.limits.total,
        }
    }

    /// Returns how long an attempt that begins at `now` may take: the timeout of one attempt, cut off where the
    /// limit for all attempts ends.
    ///
    /// `None` if the definition has no such step.
    #[must_use]
    pub fn attempt_timeout(
        &self,
        state: &State,
        step: StepIndex,
        side: Side,
        now: Timestamp,
    ) -> Option<Duration> {
        let timeout = self.step(step)?.attempt_timeout(side);
        let doubt_until = state.step(step)?.doubt_until;
        let last = (side == Side::Compensate || state.step(step)?.probes.is_none())
            .then(|| self.total_deadline(state, step, side, doubt_until, now))
            .flatten();
        Some(last.map_or(timeout, |last| timeout.min(last.since(now))))
    }

    /// Returns when the limit for all attempts at one side of `step` ends. While the workflow is paused, this is the end
    /// if the workflow were resumed at `now`.
    ///
    /// `None` if the side has no such limit, or is the execute of a pivot in doubt, or was not queued.
    #[must_use]
    pub fn total_deadline(
        &self,
        state: &State,
        step: StepIndex,
        side: Side,
        doubt_until: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let limit = self.total_timeout(step, side, doubt_until)?;
        let from = state.step(step)?.progress(side).limits_from()?;
        let stood_still = state.paused_at.map_or(Duration::ZERO, |since| now.since(since.max(from)));
        Some(from.after(limit).after(stood_still))
    }
}
