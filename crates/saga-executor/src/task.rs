//! The task of a participant, independent of the transport.

use async_trait::async_trait;
use goconductor_saga::{Call, Failure, Json, Outcome, RulesVersion, Side, Timestamp, WorkflowId, json_bytes};
use goconductor_telemetry::trace::SpanContext;
use goconductor_transition::PayloadSlot;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A participant: a microservice behind some transport.
#[async_trait]
pub trait Participant: std::fmt::Debug + Send + Sync {
    /// Runs an attempt and returns its outcome. An outcome that cannot be determined is [`Outcome::Unknown`].
    ///
    /// The caller does not call it after the task's deadline, and drops the future at the deadline. The outcome is then
    /// the one in [`Task::at_deadline`].
    async fn attempt(&self, task: &Task) -> Outcome;
}

/// A participant whose outputs are limited, for one in this process. A transport limits its messages itself.
#[derive(Debug)]
pub(crate) struct OutputLimit {
    pub(crate) participant: Arc<dyn Participant>,
    /// The maximum size of an output in bytes.
    pub(crate) bytes: usize,
}

#[async_trait]
impl Participant for OutputLimit {
    async fn attempt(&self, task: &Task) -> Outcome {
        let outcome = self.participant.attempt(task).await;
        let Outcome::Done { output } = &outcome else { return outcome };
        let bytes = json_bytes(output);
        if bytes <= self.bytes {
            return outcome;
        }
        let reason = format!("the output has {bytes} bytes; the limit is {}", self.bytes);
        let failure = Failure::of("OUTPUT_TOO_LARGE", reason);
        Outcome::Unknown { failure, not_before: None, answered: true }
    }
}

/// One attempt of one side of one step.
#[derive(Debug, Clone)]
pub struct Task {
    /// The id of the workflow.
    pub workflow: WorkflowId,
    /// The rules that the workflow follows.
    pub rules: RulesVersion,
    /// The name of the step.
    pub step: String,
    /// The side of the step.
    pub side: Side,
    /// Whether the attempt only asks whether the operation of the step happened.
    pub is_probe: bool,
    /// The action to perform.
    pub action: String,
    /// The call to make, if the definition spells one out. Participants get `None`.
    pub call: Option<TaskCall>,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The idempotency key: the same for every attempt and every redelivery.
    pub idempotency_key: String,
    /// The input of the action.
    pub input: Arc<Json>,
    /// The memory for a large input and a large output.
    pub payload_slot: PayloadSlot,
    /// The fencing tokens of the locks that the workflow holds, by key.
    pub lock_tokens: BTreeMap<String, u64>,
    /// The deadline by the wall clock. It informs the participant; the caller enforces `timeout`.
    pub deadline: Timestamp,
    /// The time limit of the attempt, from the start of the call.
    pub timeout: Duration,
    /// The heartbeats of the attempt; `None` if the step has no heartbeat timeout.
    pub heartbeat: Option<Heartbeat>,
    /// Cancelled when the workflow no longer needs the attempt. The participant should stop early, and must return
    /// an outcome all the same.
    pub cancelled: CancellationToken,
    /// The outcome if the attempt is given up before the participant returns one.
    pub at_deadline: DeadlineOutcome,
    /// The span of the attempt. It is disabled if the trace is not recorded.
    pub span: tracing::Span,
    /// The trace context that the participant receives. `None` if the workflow has none.
    pub trace: Option<SpanContext>,
}

/// A call that a definition spells out.
#[derive(Debug, Clone)]
pub struct TaskCall {
    /// The namespace of the workflow, and of the secrets of the call.
    pub namespace: String,
    /// The part of the request that is not in the input.
    pub call: Call,
}

/// The outcome of an attempt that is given up, usually at its deadline, before the participant returns an outcome.
///
/// It is unknown unless the participant states one, for example while it has sent nothing.
#[derive(Debug, Clone, Default)]
pub struct DeadlineOutcome(Arc<Mutex<DeadlineState>>);

#[derive(Default)]
enum DeadlineState {
    #[default]
    Unknown,
    /// Called at most once. Most attempts end before their deadline, and then it is never called.
    Known(Box<dyn FnOnce() -> Outcome + Send>),
    Passed,
}

impl std::fmt::Debug for DeadlineState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Known(_) => "Known",
            Self::Passed => "Passed",
        })
    }
}

impl DeadlineOutcome {
    /// States the outcome from now on. It is created only if the attempt is given up. Has no effect after the deadline.
    pub fn set(&self, outcome: impl FnOnce() -> Outcome + Send + 'static) {
        let mut state = self.0.lock();
        if !matches!(*state, DeadlineState::Passed) {
            *state = DeadlineState::Known(Box::new(outcome));
        }
    }

    /// Makes the outcome unknown from now on, because the attempt may take effect. Returns `false` after the deadline:
    /// the outcome was used, so the attempt must not take effect any more.
    #[must_use]
    pub fn clear(&self) -> bool {
        let mut state = self.0.lock();
        let open = !matches!(*state, DeadlineState::Passed);
        if open {
            *state = DeadlineState::Unknown;
        }
        open
    }

    /// Returns whether an outcome is stated.
    #[must_use]
    pub fn is_set(&self) -> bool {
        matches!(*self.0.lock(), DeadlineState::Known(_))
    }

    /// Gives the attempt up. Returns the stated outcome.
    pub(crate) fn pass(&self) -> Option<Outcome> {
        let state = std::mem::replace(&mut *self.0.lock(), DeadlineState::Passed);
        match state {
            DeadlineState::Known(outcome) => Some(outcome()),
            DeadlineState::Unknown | DeadlineState::Passed => None,
        }
    }
}

impl Task {
    /// Returns the W3C trace context of the attempt. If the workflow has none, it consists of one trace per workflow and
    /// one span per attempt, and is the same for each call with the same attempt.
    #[must_use]
    pub fn traceparent(&self) -> String {
        if let Some(trace) = &self.trace {
            return trace.traceparent.clone();
        }
        let digest = |text: &str| {
            // FNV-1a: a span id must be well distributed, not secret.
            text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            })
        };
        let span = digest(&format!("{}#{}", self.idempotency_key, self.attempt)).max(1);
        format!("00-{}-{span:016x}-01", self.workflow.0.simple())
    }

    /// Returns the W3C `tracestate` that belongs to [`traceparent`](Self::traceparent).
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.trace.as_ref()?.tracestate.as_deref()
    }

    /// Waits until the heartbeat timeout expires and returns the outcome. Never returns if the step has no heartbeat
    /// timeout.
    pub async fn heartbeat_expired(&self) -> Outcome {
        match &self.heartbeat {
            Some(heartbeat) => heartbeat.heartbeat_expired().await,
            None => std::future::pending().await,
        }
    }
}

/// The heartbeats of an attempt. An attempt without a heartbeat for `timeout` ends before its deadline, with an
/// unknown outcome.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    timeout: Duration,
    received: Arc<Notify>,
}

impl Heartbeat {
    /// Creates the heartbeats of an attempt with this timeout.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, received: Arc::default() }
    }

    /// Returns the maximum time between two heartbeats.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Records a heartbeat.
    pub fn beat(&self) {
        self.received.notify_one();
    }

    /// Waits until no heartbeat was recorded for the timeout, counted from the call, and returns the outcome of the
    /// attempt.
    pub async fn heartbeat_expired(&self) -> Outcome {
        while tokio::time::timeout(self.timeout, self.received.notified()).await.is_ok() {}
        let reason = format!("no heartbeat within {:?}", self.timeout);
        let failure = Failure::of("HEARTBEAT_TIMED_OUT", reason);
        Outcome::Unknown { failure, not_before: None, answered: false }
    }
}

#[cfg(test)]
mod tests {
    use super::DeadlineOutcome;
    use goconductor_saga::{Failure, Outcome};

    #[test]
    fn attempt_is_sent_or_certainly_not_sent() {
        let nothing = || Outcome::Retryable { failure: Failure::of("CONNECT_TIMEOUT", ""), not_before: None };
        let given_up = DeadlineOutcome::default();
        given_up.set(nothing);
        assert_eq!(given_up.pass(), Some(nothing()));
        assert!(!given_up.clear(), "it must not be sent");
        given_up.set(nothing);
        assert_eq!(given_up.pass(), None, "an outcome is used once");
        let sent = DeadlineOutcome::default();
        sent.set(nothing);
        assert!(sent.clear() && !sent.is_set());
        assert_eq!(sent.pass(), None);
    }
}
