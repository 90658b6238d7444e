//! The task of a participant, independent of the transport.

use async_trait::async_trait;
use goconductor_saga::{Failure, Json, Outcome, Side, Timestamp, WorkflowId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// A participant: a microservice behind some transport.
#[async_trait]
pub trait Participant: std::fmt::Debug + Send + Sync {
    /// Runs an attempt and returns its outcome. An outcome that cannot be determined is [`Outcome::Unknown`].
    ///
    /// The caller does not call it after the task's deadline, and drops the future at the deadline.
    async fn attempt(&self, task: &Task) -> Outcome;
}

/// One attempt of one side of one step.
#[derive(Debug, Clone)]
pub struct Task {
    /// The id of the workflow.
    pub workflow: WorkflowId,
    /// The name of the step.
    pub step: String,
    /// The side of the step.
    pub side: Side,
    /// The action to perform.
    pub action: String,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The idempotency key: the same for every attempt and every redelivery.
    pub idempotency_key: String,
    /// The input of the action.
    pub input: Arc<Json>,
    /// The deadline by the wall clock. It informs the participant; the caller enforces `timeout`.
    pub deadline: Timestamp,
    /// The time limit of the attempt, from the start of the call.
    pub timeout: Duration,
    /// The heartbeats of the attempt; `None` if the step has no heartbeat timeout.
    pub heartbeat: Option<Heartbeat>,
    /// Cancelled when the workflow no longer needs the attempt. The participant should stop early, and must return
    /// an outcome all the same.
    pub cancelled: CancellationToken,
}

impl Task {
    /// Returns a W3C trace context with one trace per workflow and one span per attempt. It is the same for each
    /// call with the same attempt.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let digest = |text: &str| {
            // FNV-1a: a span id must be well distributed, not secret.
            text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            })
        };
        let span = digest(&format!("{}#{}", self.idempotency_key, self.attempt)).max(1);
        format!("00-{}-{span:016x}-01", self.workflow.0.simple())
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
        Outcome::Unknown { failure: Failure::of("HEARTBEAT_TIMED_OUT", reason), not_before: None }
    }
}
