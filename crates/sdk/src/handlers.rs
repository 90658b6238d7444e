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
use tracing::Instrument;

/// The handler of an action.
pub(crate) type Handler =
    Arc<dyn Fn(Context, Value) -> BoxFuture<'static, Result<Value, ActionError>> + Send + Sync>;

/// The handlers of a service, by action.
#[derive(Clone, Default)]
pub(crate) struct Handlers {
    by_action: BTreeMap<String, Handler>,
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

    /// Runs an action. The outcome of an action that panics is unknown.
    pub(crate) async fn run(
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
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_action.keys()).finish()
    }
}
