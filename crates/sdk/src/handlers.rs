//! Actions by name, and what carries one out.

use crate::{Context, Failure};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

/// Carries out an action.
pub(crate) type Handler =
    Arc<dyn Fn(Context, Value) -> BoxFuture<'static, Result<Value, Failure>> + Send + Sync>;

/// The actions of a service.
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

    /// Carries an action out. One that panics may have happened.
    pub(crate) async fn carry_out(
        &self,
        action: &str,
        context: Context,
        input: Value,
    ) -> Result<Value, Failure> {
        let Some(handler) = self.by_action.get(action) else {
            return Err(Failure::retryable("NO_SUCH_ACTION", format!("there is no action {action} here")));
        };
        // Called within the future: a panic before its first await is caught as well.
        let run = async { handler(context, input).await };
        AssertUnwindSafe(run)
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Failure::unknown("PANICKED", format!("the action {action} panicked"))))
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_action.keys()).finish()
    }
}
