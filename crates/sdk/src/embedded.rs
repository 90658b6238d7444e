//! The executor inside the microservice: no stream, no process beside it. It takes the service's commands
//! from the queue, and commits what they did to the state stores, itself.
//!
//! It is configured like a `saga-executor`: by the same YAML file (`GOCONDUCTOR_CONFIG`) and the same
//! environment.

use crate::context::{Heart, Inner, Way};
use crate::handlers::Handlers;
use crate::{Context, Error, Failure, Operation, Service};
use async_trait::async_trait;
use goconductor_process::Process;
use goconductor_saga::{Failure as SagaFailure, Json, Outcome, Side};
use goconductor_saga_executor::{InProcess, Participant, Pulse, Task};
use goconductor_service_kit::config::{Config, Sources};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;

/// Carries a service out in this process until SIGTERM or SIGINT, then ends what is under way.
///
/// # Errors
/// When the configuration can't work, with what is wrong and where, or the executor fails.
pub async fn run(service: Service) -> Result<(), Error> {
    let file = std::env::var_os("GOCONDUCTOR_CONFIG").map(Into::into);
    let config = Config::load(&Sources::of_process(file, Vec::new()))
        .map_err(|error| Error::Embedded(error.into()))?;
    run_with(service, config).await
}

/// The same, with a configuration of one's own.
///
/// # Errors
/// As [`run`].
pub async fn run_with(service: Service, config: Config) -> Result<(), Error> {
    let participant = in_process(service);
    let process = Process::start("saga-executor", config).map_err(Error::Embedded)?;
    goconductor_saga_executor::run_with(process, vec![participant]).await.map_err(Error::Embedded)
}

/// A service as an executor in the same process takes it, for who puts an executor together themselves.
#[must_use]
pub fn in_process(service: Service) -> InProcess {
    let Service { name, handlers, capacity, version: _ } = service;
    InProcess {
        namespace: "default".to_owned(),
        service: name,
        participant: Arc::new(Embedded(handlers)),
        capacity: usize::try_from(capacity).unwrap_or(usize::MAX),
    }
}

#[derive(Debug)]
struct Embedded(Handlers);

#[async_trait]
impl Participant for Embedded {
    async fn attempt(&self, task: &Task) -> Outcome {
        let inner = Inner {
            key: task.idempotency_key.clone(),
            workflow_id: task.workflow.to_string(),
            step: task.step.clone(),
            operation: match task.side {
                Side::Execute => Operation::Execute,
                Side::Compensate => Operation::Compensate,
            },
            attempt: task.attempt,
            deadline: Instant::now() + task.timeout,
            traceparent: task.traceparent(),
            lock_tokens: BTreeMap::new(),
            cancelled: task.cancelled.clone(),
            heart: Heart {
                timeout: task.pulse.as_ref().map(Pulse::limit),
                way: task.pulse.clone().map_or(Way::Nowhere, Way::Here),
            },
        };
        let context = Context { inner: Arc::new(inner) };
        // A task of its own: an action that is given up goes on to its end, as one elsewhere would.
        let (handlers, action, input) = (self.0.clone(), task.action.clone(), Json::clone(&task.input));
        let running = tokio::spawn(async move { handlers.carry_out(&action, context, input).await });
        // Safe to cancel: the action goes on by itself.
        let ended = tokio::select! {
            ended = running => ended,
            outcome = task.fell_silent() => return outcome,
        };
        let ended = ended.unwrap_or_else(|_| Err(Failure::unknown("PANICKED", "the action was ended")));
        match ended {
            Ok(output) => Outcome::Done { output },
            Err(Failure::Retryable { code, message, after }) => {
                let not_before = after.map(|after| goconductor_saga_executor::now().after(after));
                Outcome::Retryable { failure: SagaFailure::of(&code, message), not_before }
            }
            Err(Failure::Refused { code, message, detail }) => {
                Outcome::Refused { failure: SagaFailure { code, message, detail } }
            }
            Err(Failure::Unknown { code, message }) => {
                Outcome::Unknown { failure: SagaFailure::of(&code, message), not_before: None }
            }
        }
    }
}
