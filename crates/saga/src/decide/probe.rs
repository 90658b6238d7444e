//! Probes: a participant is asked whether an operation of unknown outcome happened.
//!
//! A probe is an execute command whose attempt asks and does not act. It is due when no doubtful attempt can take effect
//! any more, because an earlier "not done" would prove nothing.

use super::attempt::FailedOutcome;
use super::{Decision, Outcome};
use crate::{EventKind, Failure, Json, OnUnknown, Side, StepIndex, Timestamp};
use alloc::sync::Arc;

/// The answer of a participant to a probe.
enum ProbeResult<'a> {
    Done(Option<&'a Json>),
    NotDone,
    /// The participant does not know, or the answer has another form.
    Uncertain,
}

fn answer(body: &Json) -> ProbeResult<'_> {
    match body.get("outcome").and_then(Json::as_str) {
        Some("done") => ProbeResult::Done(body.get("output")),
        Some("not_done") => ProbeResult::NotDone,
        Some(_) | None => ProbeResult::Uncertain,
    }
}

impl Decision<'_> {
    /// Returns whether a doubt about the step is resolved by a probe now.
    pub(super) fn may_probe(&self, step: StepIndex) -> bool {
        let Some(definition) = self.plan.step(step) else { return false };
        definition.failure.probe.is_some()
            && definition.failure.on_unknown == OnUnknown::Probe
            && self.state.phase.is_forward()
            && (!self.state.rollback_pending || self.is_pivot(step))
    }

    /// Asks the participant once the doubt has passed.
    pub(super) fn begin_probe(&mut self, step: StepIndex, failed: FailedOutcome, doubt_until: Timestamp) {
        self.emit(EventKind::StepProbing {
            step,
            attempt: failed.attempt,
            started_at: failed.started_at,
            failure: failed.failure,
            doubt_until,
            due_at: doubt_until.max(self.now),
        });
    }

    pub(super) fn is_probing(&self, step: StepIndex, side: Side) -> bool {
        side == Side::Execute && self.state.step(step).is_some_and(|step| step.probes.is_some())
    }

    /// Applies the outcome of a probe. Only an answer counts: a refusal of the probe itself says nothing.
    pub(super) fn report_probe(&mut self, step: StepIndex, failed: FailedOutcome, outcome: &Outcome) {
        let Outcome::Done { output } = outcome else {
            let not_sent = matches!(outcome, Outcome::NotSent { .. });
            self.probe_failed(step, FailedOutcome { not_sent, immediate: false, ..failed });
            return;
        };
        let FailedOutcome { attempt, started_at, .. } = failed;
        match answer(output) {
            ProbeResult::Done(output) => {
                let output = Arc::new(output.cloned().unwrap_or_default());
                let (reason, doubt_until) = (None, None);
                self.emit(EventKind::StepCompleted {
                    step,
                    attempt,
                    started_at,
                    output,
                    reason,
                    doubt_until,
                });
                self.pivot_completed(step);
            }
            ProbeResult::NotDone => {
                let failure = self.state.step(step).and_then(|step| step.error.clone());
                let cause = failure.map_or_else(|| "UNKNOWN".into(), |failure| failure.code);
                let message = alloc::format!(
                    "an attempt ended unknown ({cause}), and the probe found that the operation did not happen"
                );
                let failure = Failure::of("NOT_DONE", message);
                self.emit(EventKind::StepFailed { step, attempt, started_at, failure, reason: None });
                self.step_failed(step);
            }
            ProbeResult::Uncertain => {
                let failure = Failure::of(
                    "PROBE_UNCERTAIN",
                    "the probe did not find out whether the operation happened",
                );
                self.probe_failed(step, FailedOutcome { failure, ..failed });
            }
        }
    }

    /// Repeats a probe without an answer, up to the attempt limit of the step. That of a pivot is repeated without limit.
    pub(super) fn probe_failed(&mut self, step: StepIndex, failed: FailedOutcome) {
        let Some(definition) = self.plan.step(step) else { return };
        let probes = self.state.step(step).and_then(|step| step.probes).unwrap_or_default();
        let used = probes.saturating_add(u32::from(!failed.not_sent));
        let allowed = failed.not_sent
            || self.is_pivot(step)
            || definition.retry.max_attempts.is_none_or(|max| used < max);
        if self.may_probe(step) && allowed {
            let retry_at = self.retry_at(&definition.retry, step, Side::Execute, used, &failed);
            self.emit(EventKind::AttemptFailed {
                step,
                side: Side::Execute,
                attempt: failed.attempt,
                started_at: failed.started_at,
                failure: failed.failure,
                doubt_until: None,
                retry_at,
                not_sent: failed.not_sent,
            });
            return;
        }
        self.end_in_failure(step, failed.attempt, failed.started_at, failed.failure);
        self.step_failed(step);
    }
}
