//! What an action knows of the attempt that it is.

use goconductor_wire::v1::connect_request::Message as From;
use goconductor_wire::v1::{ConnectRequest, TaskHeartbeat};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Which side of a step is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Doing it.
    Execute,
    /// Undoing it.
    Compensate,
}

/// One attempt at one side of one step. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) key: String,
    pub(crate) workflow_id: String,
    pub(crate) step: String,
    pub(crate) operation: Operation,
    pub(crate) attempt: u32,
    pub(crate) deadline: Instant,
    pub(crate) traceparent: String,
    pub(crate) lock_tokens: BTreeMap<String, u64>,
    pub(crate) cancelled: CancellationToken,
    pub(crate) heart: Heart,
}

/// How heartbeats reach who waits for the attempt.
#[derive(Debug)]
pub(crate) struct Heart {
    /// How long it may be silent; none: as long as it likes.
    pub(crate) timeout: Option<Duration>,
    pub(crate) way: Way,
}

/// The way of a heartbeat.
#[derive(Debug)]
pub(crate) enum Way {
    /// On the stream that the task came by.
    Stream(mpsc::Sender<ConnectRequest>, u64),
    /// To the executor of this process.
    #[cfg(feature = "embedded")]
    Here(goconductor_saga_executor::Pulse),
    /// Nobody listens.
    #[cfg(feature = "embedded")]
    Nowhere,
}

impl Context {
    /// The idempotency key: the same for every attempt at this side of this step, and never for another.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.inner.key
    }

    /// The workflow.
    #[must_use]
    pub fn workflow_id(&self) -> &str {
        &self.inner.workflow_id
    }

    /// The step's name in the definition.
    #[must_use]
    pub fn step(&self) -> &str {
        &self.inner.step
    }

    /// Which side of it.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.inner.operation
    }

    /// Which attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// How long it may still take; zero once its time is up.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.inner.deadline.saturating_duration_since(Instant::now())
    }

    /// The W3C trace context that spans of this attempt belong to.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        &self.inner.traceparent
    }

    /// The fencing token of a lock that the workflow holds.
    #[must_use]
    pub fn lock_token(&self, key: &str) -> Option<u64> {
        self.inner.lock_tokens.get(key).copied()
    }

    /// Says that the attempt is still being worked on. Where the step has a `timeout.heartbeat`, one of which
    /// nothing is heard for so long is given up before its time is up, as one that may have happened.
    pub fn heartbeat(&self) {
        match &self.inner.heart.way {
            // One that finds no room is made up for by the next.
            Way::Stream(say, task_id) if self.inner.heart.timeout.is_some() => {
                let beat = From::TaskHeartbeat(TaskHeartbeat { task_id: *task_id });
                drop(say.try_send(ConnectRequest { message: Some(beat) }));
            }
            Way::Stream(..) => {}
            #[cfg(feature = "embedded")]
            Way::Here(pulse) => pulse.beat(),
            #[cfg(feature = "embedded")]
            Way::Nowhere => {}
        }
    }

    /// How long it may be silent; none: no heartbeat is waited for.
    #[must_use]
    pub fn heartbeat_timeout(&self) -> Option<Duration> {
        self.inner.heart.timeout
    }

    /// Whether nobody waits for the result any more: its time is up, the saga is rolled back, or the
    /// connection was lost. What was done all the same is undone.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.inner.cancelled.is_cancelled()
    }

    /// Waits until nobody waits for the result any more. Safe to cancel.
    pub async fn cancelled(&self) {
        self.inner.cancelled.cancelled().await;
    }
}

/// Reads a value as a type.
pub(crate) fn read<T: DeserializeOwned>(value: serde_json::Value) -> Result<T, crate::Failure> {
    serde_json::from_value(value).map_err(|error| crate::Failure::refused("BAD_INPUT", error.to_string()))
}
