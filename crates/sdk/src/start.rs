//! A request to start a workflow.

use crate::error::Error;
use goconductor_client::StartWorkflow;
use serde::Serialize;

/// A request to start a workflow of an applied definition.
///
/// ```
/// use goconductor::Start;
/// use serde_json::json;
///
/// # fn start() -> Result<Start, goconductor::Error> {
/// let start = Start::of("order")
///     .input(json!({"order_id": "o-1", "amount": 42}))?
///     .idempotency_key("order-o-1")
///     .label("team", "shop");
/// # Ok(start)
/// # }
/// # start().unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Start {
    pub(crate) request: StartWorkflow,
}

impl Start {
    /// Creates a request for the newest version of a definition.
    #[must_use]
    pub fn of(definition: impl Into<String>) -> Self {
        Self { request: StartWorkflow { definition: definition.into(), ..StartWorkflow::default() } }
    }

    /// Selects a version of the definition.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.request.version = Some(version);
        self
    }

    /// Sets the input of the workflow (default: null).
    ///
    /// # Errors
    /// Returns [`Error::Output`] if the input cannot be converted to JSON.
    pub fn input(mut self, input: impl Serialize) -> Result<Self, Error> {
        self.request.input = Some(serde_json::to_value(input)?);
        Ok(self)
    }

    /// Sets a key that is unique in the namespace. A repeated start returns the existing workflow, so that a start
    /// can be retried if its response was lost.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.request.idempotency_key = Some(key.into());
        self
    }

    /// Adds a label to find the workflow by.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.labels.insert(name.into(), value.into());
        self
    }
}
