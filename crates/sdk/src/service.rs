//! A microservice with its actions and compensations.

use crate::context::{Context, from_input};
use crate::error::{ActionError, Error};
use crate::handlers::Handlers;
use goconductor_saga::NameKind;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// The default number of tasks of each side in flight.
const DEFAULT_CAPACITY: u32 = 64;

/// A microservice: its name and its actions.
///
/// Connect it with [`Conductor::serve`](crate::Conductor::serve), or run it with [`embedded`](crate::embedded).
#[derive(Debug, Clone)]
pub struct Service {
    pub(crate) name: String,
    pub(crate) handlers: Handlers,
    pub(crate) capacity: u32,
    pub(crate) version: String,
}

/// The input of a compensation, unless the definition sets another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompensationInput<I, O> {
    /// The input of the step.
    pub input: I,
    /// The output of the step; `None` if it is unknown whether the step took effect.
    #[serde(default = "none")]
    pub output: Option<O>,
}

/// The answer to a probe: whether the operation of a step happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "output", rename_all = "snake_case")]
pub enum ProbeAnswer<O> {
    /// It happened, with this output.
    Done(O),
    /// It did not happen, and it will not.
    NotDone,
    /// The service does not know. The probe is repeated.
    Unknown,
}

fn none<O>() -> Option<O> {
    None
}

impl Service {
    /// Creates a service without actions. Its name is the first half of `run: service/action`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        let (handlers, version) = (Handlers::default(), String::new());
        Self { name: name.into(), handlers, capacity: DEFAULT_CAPACITY, version }
    }

    /// Adds the action of `run: service/action`. An input that cannot be converted to `I` is refused with the code
    /// `BAD_INPUT`.
    #[must_use]
    pub fn action<I, O, F>(
        mut self,
        name: impl Into<String>,
        action: impl Fn(Context, I) -> F + Send + Sync + 'static,
    ) -> Self
    where
        I: DeserializeOwned,
        O: Serialize,
        F: Future<Output = Result<O, ActionError>> + Send + 'static,
    {
        let handler = move |context: Context, input: Value| {
            let running = from_input::<I>(input).map(|input| action(context, input));
            let attempt = async move {
                let output = running?.await?;
                serde_json::to_value(output)
                    .map_err(|error| ActionError::unknown("BAD_OUTPUT", error.to_string()))
            };
            Box::pin(attempt) as futures::future::BoxFuture<'static, _>
        };
        self.handlers.add(name.into(), Arc::new(handler));
        self
    }

    /// Adds the action of `compensate: service/action`. A compensation must succeed if there is nothing to undo.
    #[must_use]
    pub fn compensation<I, O, R, F>(
        self,
        name: impl Into<String>,
        compensation: impl Fn(Context, CompensationInput<I, O>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        I: DeserializeOwned,
        O: DeserializeOwned,
        R: Serialize,
        F: Future<Output = Result<R, ActionError>> + Send + 'static,
    {
        self.action(name, compensation)
    }

    /// Adds the action of `probe: service/action`. It has the input and the idempotency key of the step, and answers
    /// whether the operation of the step happened. It must have no effect.
    #[must_use]
    pub fn probe<I, O, F>(
        self,
        name: impl Into<String>,
        probe: impl Fn(Context, I) -> F + Send + Sync + 'static,
    ) -> Self
    where
        I: DeserializeOwned,
        O: Serialize,
        F: Future<Output = Result<ProbeAnswer<O>, ActionError>> + Send + 'static,
    {
        self.action(name, probe)
    }

    /// Checks the names, which definitions must be able to refer to.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.handlers.is_empty() {
            return Err(Error::Misuse("a service must have at least one action".to_owned()));
        }
        if let Some(action) = self.handlers.limited_without_handler() {
            let message =
                format!("the service {} limits the action {action}, which it does not have", self.name);
            return Err(Error::Misuse(message));
        }
        let names = self.handlers.actions().iter().try_for_each(|action| NameKind::Action.check(action));
        NameKind::Service.check(&self.name).and(names).map_err(|error| Error::Misuse(error.to_string()))
    }

    /// Sets how many attempts of each side may be in flight (default: 64).
    #[must_use]
    pub fn capacity(mut self, capacity: u32) -> Self {
        self.capacity = capacity.max(1);
        self
    }

    /// Limits the attempts of one action that are in flight in this process to `limit`, at least 1. An attempt that waits for
    /// its turn counts towards [`capacity`](Self::capacity). If it waits beyond its deadline, it is not started, and is
    /// retried.
    #[must_use]
    pub fn max_in_flight(mut self, action: impl Into<String>, limit: u32) -> Self {
        self.handlers.limit(action.into(), limit);
        self
    }

    /// Sets the version of the microservice, which executors log.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::ProbeAnswer;
    use serde_json::json;

    #[test]
    fn answer_to_a_probe_has_the_form_of_the_contract() {
        for (answer, expected) in [
            (ProbeAnswer::Done(7), json!({"outcome": "done", "output": 7})),
            (ProbeAnswer::NotDone, json!({"outcome": "not_done"})),
            (ProbeAnswer::Unknown, json!({"outcome": "unknown"})),
        ] {
            assert_eq!(serde_json::to_value(&answer).unwrap(), expected);
        }
    }
}
