//! An executor inside the microservice. It receives the service's commands from the queue and commits their outcomes
//! to the state stores itself, so that no stream and no separate executor process are needed.
//!
//! The configuration is that of `saga-executor`: the YAML file that `GOCONDUCTOR_CONFIG` names, and the environment.
//!
//! ```no_run
//! use goconductor::{Context, ActionError, Service, embedded};
//! use serde_json::{Value, json};
//!
//! # async fn run() -> Result<(), goconductor::Error> {
//! let service = Service::new("stock")
//!     .action("reserve", |_: Context, item: Value| async move { Ok(json!({"reserved": item})) });
//! embedded::run(service).await?;
//! # Ok(())
//! # }
//! ```

use crate::context::{Context, HeartbeatSender, HeartbeatSink, Inner};
use crate::error::{ActionError, Error};
use crate::handlers::Handlers;
use crate::service::Service;
use async_trait::async_trait;
use goconductor_inbox::Operation;
use goconductor_process::{CoreDumps, Process, StoreAccess, load_config};
use goconductor_saga::{Failure as SagaFailure, Json, Outcome, Side};
use goconductor_saga_executor::{Heartbeat, InProcess, Participant, Task};
use goconductor_service_kit::config::{Config, Sources};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::Instrument;

/// Runs a service and its executor in this process until SIGTERM or SIGINT, then drains the attempts in flight.
///
/// # Errors
/// Returns [`Error::Misuse`] if the service has no actions or an invalid name, and [`Error::Embedded`] if the
/// configuration is invalid, with the setting and the problem, or if the executor fails.
pub async fn run(service: Service) -> Result<(), Error> {
    let file = std::env::var_os("GOCONDUCTOR_CONFIG").map(Into::into);
    let sources = Sources::of_process(file, Vec::new());
    let config = load_config(&sources, StoreAccess::Remote).await.map_err(Error::Embedded)?;
    run_with(service, config).await
}

/// Runs a service like [`run`], with the configuration of the caller.
///
/// # Errors
/// Returns [`Error::Misuse`] if the service has no actions or an invalid name, and [`Error::Embedded`] if the
/// configuration is invalid or the executor fails.
pub async fn run_with(service: Service, config: Config) -> Result<(), Error> {
    service.check()?;
    let participant = in_process(service);
    let process = Process::start("saga-executor", config).map_err(Error::Embedded)?;
    disable_core_dumps(&process.config);
    let drain = process.drain.clone();
    // Boxed, because the future of a server is large.
    let running = Box::pin(goconductor_saga_executor::run_with(process, vec![participant]));
    goconductor_process::until_failure(&drain, running).await.map_err(Error::Embedded)
}

/// Disables core dumps if the process has a master key. Otherwise, they are the decision of the microservice.
fn disable_core_dumps(config: &Config) {
    if !config.process.core_dumps.unwrap_or(config.secrets.master_key.is_none()) {
        CoreDumps::disable().apply(config);
    }
}

/// Converts a service to a participant, for programs that create the executor themselves.
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
        let cancelled = task.cancelled.child_token();
        // The executor drops an attempt that it gives up, such as at its deadline. That cancels the action.
        let _cancel_on_drop = cancelled.clone().drop_guard();
        let inner = Inner {
            key: task.idempotency_key.clone(),
            workflow_id: task.workflow.to_string(),
            step: task.step.clone(),
            action: task.action.clone(),
            operation: match task.side {
                Side::Execute => Operation::Execute,
                Side::Compensate => Operation::Compensate,
            },
            attempt: task.attempt,
            deadline: Instant::now() + task.timeout,
            traceparent: task.traceparent(),
            tracestate: task.tracestate().map(str::to_owned),
            lock_tokens: task.lock_tokens.clone(),
            cancelled,
            heartbeats: HeartbeatSender {
                timeout: task.heartbeat.as_ref().map(Heartbeat::timeout),
                sink: task.heartbeat.clone().map_or(HeartbeatSink::Discard, HeartbeatSink::InProcess),
            },
        };
        let context = Context { inner: Arc::new(inner) };
        // A separate task, so that an action that was given up still runs to its end, as it would in a worker.
        let (handlers, action, input) = (self.0.clone(), task.action.clone(), Json::clone(&task.input));
        let span = task.span.clone();
        let running =
            tokio::spawn(async move { handlers.run(&action, context, input).instrument(span).await });
        // Cancel-safe: dropping the join handle does not end the task.
        let result = tokio::select! {
            result = running => result,
            outcome = task.heartbeat_expired() => return outcome,
        };
        let result =
            result.unwrap_or_else(|_| Err(ActionError::unknown("PANICKED", "the action was aborted")));
        match result {
            Ok(output) => Outcome::Done { output },
            Err(ActionError::Retryable { code, message, after }) => {
                let not_before = after.map(|after| goconductor_saga_executor::now().after(after));
                Outcome::Retryable { failure: SagaFailure::of(&code, message), not_before }
            }
            Err(ActionError::Refused { code, message, detail }) => {
                Outcome::Refused { failure: SagaFailure { code, message, detail } }
            }
            Err(ActionError::Unknown { code, message }) => {
                let failure = SagaFailure::of(&code, message);
                Outcome::Unknown { failure, not_before: None, answered: true }
            }
        }
    }
}
