//! The handlers of a service's actions.

use crate::context::Context;
use crate::error::ActionError;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;

/// Heartbeats that are sent within a heartbeat timeout, so that two may be lost.
const HEARTBEATS_PER_TIMEOUT: u32 = 3;

/// The handler of an action.
pub(crate) type Handler =
    Arc<dyn Fn(Context, Value) -> BoxFuture<'static, Result<Value, ActionError>> + Send + Sync>;

/// The handlers of a service, by action.
#[derive(Clone, Default)]
pub(crate) struct Handlers {
    by_action: BTreeMap<String, Handler>,
    /// The free slots of the actions that have a limit of their own. Clones share them.
    slots: BTreeMap<String, Arc<Semaphore>>,
}

impl Handlers {
    pub(crate) fn add(&mut self, action: String, handler: Handler) {
        self.by_action.insert(action, handler);
    }

    pub(crate) fn actions(&self) -> Vec<String> {
        self.by_action.keys().cloned().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_action.is_empty()
    }

    /// Limits the attempts of an action in flight.
    pub(crate) fn limit(&mut self, action: String, limit: u32) {
        let slots = usize::try_from(limit.max(1)).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        self.slots.insert(action, Arc::new(Semaphore::new(slots)));
    }

    /// Returns an action that has a limit and no handler.
    pub(crate) fn limited_without_handler(&self) -> Option<&str> {
        self.slots.keys().find(|action| !self.by_action.contains_key(*action)).map(String::as_str)
    }

    /// Runs an action when it has a free slot, unless the attempt has ended by then.
    pub(crate) async fn run(
        &self,
        action: &str,
        context: Context,
        input: Value,
    ) -> Result<Value, ActionError> {
        let _slot = self.slot(action, &context).await?;
        if context.is_cancelled() || context.time_left().is_zero() {
            return Err(not_started(
                "the attempt was cancelled, or its deadline passed, before the action began",
            ));
        }
        self.call(action, context, input).await
    }

    /// Calls an action. The outcome of an action that panics is unknown.
    pub(crate) async fn call(
        &self,
        action: &str,
        context: Context,
        input: Value,
    ) -> Result<Value, ActionError> {
        let Some(handler) = self.by_action.get(action) else {
            let message = format!("the service has no action {action}");
            return Err(ActionError::retryable("NO_SUCH_ACTION", message));
        };
        let span = tracing::debug_span!(
            "attempt",
            workflow = context.workflow_id(),
            step = context.step(),
            attempt = context.attempt(),
            action,
        );
        // The handler is called inside the future, so that a panic before its first await is caught as well.
        let run = async { handler(context, input).await };
        AssertUnwindSafe(run).catch_unwind().instrument(span).await.unwrap_or_else(|_| {
            Err(ActionError::unknown("PANICKED", format!("the action {action} panicked")))
        })
    }

    /// Waits for a free slot of an action, until the attempt ends. Returns `None` for an action without a limit.
    async fn slot(
        &self,
        action: &str,
        context: &Context,
    ) -> Result<Option<OwnedSemaphorePermit>, ActionError> {
        let Some(slots) = self.slots.get(action) else { return Ok(None) };
        // Cancel-safe: an attempt that gives up loses its place in the queue.
        tokio::select! {
            // Invariant: the semaphore is not closed.
            slot = Arc::clone(slots).acquire_owned() => Ok(slot.ok()),
            () = ended(context) => {
                Err(not_started(format!("the attempt ended before the action {action} had a free slot")))
            }
        }
    }
}

/// Waits until an attempt ends, and sends its heartbeats meanwhile. Without them, the executor would give up the attempt with
/// an unknown outcome, although its action was not called. Cancel-safe.
async fn ended(context: &Context) {
    let Some(timeout) = context.heartbeat_timeout() else { return context.ended().await };
    let interval = (timeout / HEARTBEATS_PER_TIMEOUT).max(Duration::from_millis(1));
    while tokio::time::timeout(interval, context.ended()).await.is_err() {
        context.heartbeat();
    }
}

/// Creates the error of an attempt whose action was not called.
fn not_started(message: impl Into<String>) -> ActionError {
    ActionError::retryable("NOT_STARTED", message)
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_action.keys()).finish()
    }
}
