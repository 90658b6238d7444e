//! A microservice: its actions, each with what undoes it.

use crate::context::read;
use crate::handlers::Handlers;
use crate::{Context, Failure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Tasks of each side at once, unless it is said otherwise.
const CAPACITY: u32 = 64;

/// A microservice: its name and its actions.
#[derive(Debug, Clone)]
pub struct Service {
    pub(crate) name: String,
    pub(crate) handlers: Handlers,
    pub(crate) capacity: u32,
    pub(crate) version: String,
}

/// What a compensation gets, unless its definition says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo<I, O> {
    /// What the step was given.
    pub input: I,
    /// What it gave; none where nobody knows whether it happened.
    #[serde(default = "none")]
    pub output: Option<O>,
}

fn none<O>() -> Option<O> {
    None
}

impl Service {
    /// A service without actions. Its name is the first half of `run: service/action`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), handlers: Handlers::default(), capacity: CAPACITY, version: String::new() }
    }

    /// An action: `run: service/action`. An input that is not of the type is refused.
    #[must_use]
    pub fn action<I, O, F>(
        mut self,
        name: impl Into<String>,
        action: impl Fn(Context, I) -> F + Send + Sync + 'static,
    ) -> Self
    where
        I: DeserializeOwned,
        O: Serialize,
        F: Future<Output = Result<O, Failure>> + Send + 'static,
    {
        let handler = move |context: Context, input: Value| {
            let running = read::<I>(input).map(|input| action(context, input));
            let carried_out = async move {
                let output = running?.await?;
                serde_json::to_value(output)
                    .map_err(|error| Failure::unknown("BAD_OUTPUT", error.to_string()))
            };
            Box::pin(carried_out) as futures::future::BoxFuture<'static, _>
        };
        self.handlers.add(name.into(), Arc::new(handler));
        self
    }

    /// What undoes an action: `compensate: service/action`. It succeeds where there is nothing to undo.
    #[must_use]
    pub fn compensation<I, O, R, F>(
        self,
        name: impl Into<String>,
        compensation: impl Fn(Context, Undo<I, O>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        I: DeserializeOwned,
        O: DeserializeOwned,
        R: Serialize,
        F: Future<Output = Result<R, Failure>> + Send + 'static,
    {
        self.action(name, compensation)
    }

    /// How many attempts of each side it carries out at once.
    #[must_use]
    pub fn capacity(mut self, capacity: u32) -> Self {
        self.capacity = capacity.max(1);
        self
    }

    /// The version of the microservice's software, for people.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }
}
