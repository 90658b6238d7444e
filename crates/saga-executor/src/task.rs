//! What a participant is asked to do, apart from how it is reached.

use async_trait::async_trait;
use goconductor_saga::{Failure, Json, Outcome, Side, Timestamp, WorkflowId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// One attempt at one side of one step.
#[derive(Debug, Clone)]
pub struct Task {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The step's name.
    pub step: String,
    /// Execute or compensate.
    pub side: Side,
    /// What the service is asked to do.
    pub action: String,
    /// From 1.
    pub attempt: u32,
    /// The same for every attempt and every redelivery.
    pub idempotency_key: String,
    /// What it is given.
    pub input: Arc<Json>,
    /// When its time is up, by the wall clock: for the participant's information.
    pub deadline: Timestamp,
    /// How long it may take: enforced by the caller.
    pub timeout: Duration,
    /// What is heard of it, if it has to be heard of now and then.
    pub pulse: Option<Pulse>,
    /// The workflow does not want it any more: stop if you can, and answer all the same.
    pub cancelled: CancellationToken,
}

impl Task {
    /// A W3C trace context: one trace a workflow, one span an attempt. The same for the same attempt.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let digest = |text: &str| {
            // FNV-1a: a span id has to be spread, not secret.
            text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            })
        };
        let span = digest(&format!("{}#{}", self.idempotency_key, self.attempt)).max(1);
        format!("00-{}-{span:016x}-01", self.workflow.0.simple())
    }
}

/// The heartbeats of an attempt: one that was not heard of for too long is given up before its time is up, and
/// may have happened.
#[derive(Debug, Clone)]
pub struct Pulse {
    limit: Duration,
    beat: Arc<Notify>,
}

impl Pulse {
    /// Nothing may pass for longer than this.
    #[must_use]
    pub fn of(limit: Duration) -> Self {
        Self { limit, beat: Arc::default() }
    }

    /// How long it may be silent.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// It was heard of.
    pub fn beat(&self) {
        self.beat.notify_one();
    }

    /// Waits until it was silent for too long, from now on; what became of the attempt then.
    pub async fn stopped(&self) -> Outcome {
        while tokio::time::timeout(self.limit, self.beat.notified()).await.is_ok() {}
        let reason = format!("no heartbeat for {:?}", self.limit);
        Outcome::Unknown { failure: Failure::of("HEARTBEAT_TIMED_OUT", reason), not_before: None }
    }
}

impl Task {
    /// Waits until the attempt was silent for too long; for ever if it need not be heard of.
    pub async fn fell_silent(&self) -> Outcome {
        match &self.pulse {
            Some(pulse) => pulse.stopped().await,
            None => std::future::pending().await,
        }
    }
}

/// A way to reach a microservice.
#[async_trait]
pub trait Participant: std::fmt::Debug + Send + Sync {
    /// Has it done, and says how that ended. Always answers: what can't be known is an outcome, too.
    /// Not called after the task's deadline, and given up at it by the caller.
    async fn attempt(&self, task: &Task) -> Outcome;
}
