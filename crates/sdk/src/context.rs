//! The context of an attempt.

use crate::error::ActionError;
use goconductor_inbox::Operation;
use goconductor_wire::v1::connect_request::Message as ToExecutor;
use goconductor_wire::v1::{ConnectRequest, TaskHeartbeat};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The context of one attempt of one side of one step. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) key: String,
    pub(crate) workflow_id: String,
    pub(crate) step: String,
    pub(crate) action: String,
    pub(crate) operation: Operation,
    pub(crate) attempt: u32,
    pub(crate) deadline: Instant,
    pub(crate) traceparent: String,
    pub(crate) tracestate: Option<String>,
    pub(crate) lock_tokens: BTreeMap<String, u64>,
    pub(crate) cancelled: CancellationToken,
    pub(crate) heartbeats: HeartbeatSender,
}

/// Sends the heartbeats of an attempt.
#[derive(Debug)]
pub(crate) struct HeartbeatSender {
    /// The heartbeat timeout of the step; `None` if it has none.
    pub(crate) timeout: Option<Duration>,
    pub(crate) sink: HeartbeatSink,
}

/// The destination of heartbeats.
#[derive(Debug)]
pub(crate) enum HeartbeatSink {
    /// The stream to the executor, with the id of the task.
    Stream(mpsc::Sender<ConnectRequest>, u64),
    /// The executor in this process.
    #[cfg(feature = "embedded")]
    InProcess(goconductor_saga_executor::Heartbeat),
    /// The step has no heartbeat timeout, or runs in a test.
    #[cfg(any(feature = "embedded", feature = "test-kit"))]
    Discard,
}

impl Context {
    /// Returns the idempotency key: the same for every attempt of this side of this step, and different from all
    /// other keys.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.inner.key
    }

    /// Returns the id of the workflow.
    #[must_use]
    pub fn workflow_id(&self) -> &str {
        &self.inner.workflow_id
    }

    /// Returns the name of the step in the definition.
    #[must_use]
    pub fn step(&self) -> &str {
        &self.inner.step
    }

    /// Returns the name of the action, the second half of `run: service/action`.
    #[must_use]
    pub fn action(&self) -> &str {
        &self.inner.action
    }

    /// Returns the side of the step.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.inner.operation
    }

    /// Returns the number of the attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// Returns the time until the attempt's deadline; zero after it.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.inner.deadline.saturating_duration_since(Instant::now())
    }

    /// Returns the W3C trace context of the attempt. Use it as the parent of spans.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        &self.inner.traceparent
    }

    /// Returns the W3C `tracestate` that belongs to [`traceparent`](Self::traceparent).
    #[must_use]
    pub fn tracestate(&self) -> Option<&str> {
        self.inner.tracestate.as_deref()
    }

    /// Returns the fencing token of a lock that the workflow holds; `None` if it does not hold the lock.
    #[must_use]
    pub fn lock_token(&self, key: &str) -> Option<u64> {
        self.inner.lock_tokens.get(key).copied()
    }

    /// Returns the fencing tokens of the locks that the workflow holds, by key.
    #[must_use]
    pub fn lock_tokens(&self) -> &BTreeMap<String, u64> {
        &self.inner.lock_tokens
    }

    /// Sends a heartbeat. If the step has a `timeout.heartbeat`, an attempt without a heartbeat for that time ends
    /// before its deadline, with an unknown outcome.
    pub fn heartbeat(&self) {
        match &self.inner.heartbeats.sink {
            // If the buffer is full, the next heartbeat replaces this one.
            HeartbeatSink::Stream(sender, task_id) if self.inner.heartbeats.timeout.is_some() => {
                let heartbeat = ToExecutor::TaskHeartbeat(TaskHeartbeat { task_id: *task_id });
                drop(sender.try_send(ConnectRequest { message: Some(heartbeat) }));
            }
            HeartbeatSink::Stream(..) => {}
            #[cfg(feature = "embedded")]
            HeartbeatSink::InProcess(heartbeat) => heartbeat.beat(),
            #[cfg(any(feature = "embedded", feature = "test-kit"))]
            HeartbeatSink::Discard => {}
        }
    }

    /// Returns the maximum time between two heartbeats; `None` if the step has no heartbeat timeout.
    #[must_use]
    pub fn heartbeat_timeout(&self) -> Option<Duration> {
        self.inner.heartbeats.timeout
    }

    /// Returns whether the attempt is cancelled: it timed out, the saga is rolling back, or the connection to the
    /// executor was lost. An effect of a cancelled attempt is compensated.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.is_cancelled()
    }

    /// Waits until the attempt is cancelled. Cancel-safe.
    pub async fn cancelled(&self) {
        self.inner.cancelled.cancelled().await;
    }

    /// Waits until the attempt is cancelled or its deadline passes. Cancel-safe.
    pub(crate) async fn ended(&self) {
        // The result does not matter: both cases end the attempt.
        drop(tokio::time::timeout_at(self.inner.deadline, self.cancelled()).await);
    }
}

/// Converts the input of an action to its type.
pub(crate) fn from_input<T: DeserializeOwned>(input: serde_json::Value) -> Result<T, ActionError> {
    serde_json::from_value(input).map_err(|error| ActionError::refused("BAD_INPUT", error.to_string()))
}
