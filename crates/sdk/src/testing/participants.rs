//! The actions of the services, called as a worker calls them.

use super::run::ActionCall;
use crate::context::{Context, HeartbeatSender, HeartbeatSink, Inner};
use crate::error::{ActionError, Error};
use crate::service::Service;
use goconductor_inbox::Operation;
use goconductor_saga::{Failure, Json, Outcome, Side, Timestamp};
use goconductor_simulator::{SimulatedCall, Simulation};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The services, and the calls so far.
#[derive(Debug)]
pub(super) struct Participants<'a> {
    services: &'a BTreeMap<String, Service>,
    pub(super) calls: Vec<ActionCall>,
}

impl<'a> Participants<'a> {
    pub(super) fn new(services: &'a BTreeMap<String, Service>) -> Self {
        Self { services, calls: Vec::new() }
    }

    /// Runs the action of a call.
    pub(super) async fn run(
        &mut self,
        simulation: &Simulation,
        call: &SimulatedCall,
        now: Timestamp,
    ) -> Result<Outcome, Error> {
        let service = self.services.get(&call.service).ok_or_else(|| {
            Error::Misuse(format!("step {} needs the service {}: add it", call.name, call.service))
        })?;
        let operation = match call.side {
            Side::Execute => Operation::Execute,
            Side::Compensate => Operation::Compensate,
        };
        self.calls.push(ActionCall {
            step: call.name.clone(),
            operation,
            attempt: call.attempt,
            key: call.key.clone(),
            input: Json::clone(&call.input),
        });
        let context = Context { inner: Arc::new(inner(simulation, call, operation)) };
        let result = service.handlers.call(&call.operation, context, Json::clone(&call.input)).await;
        Ok(outcome(result, now))
    }
}

fn inner(simulation: &Simulation, call: &SimulatedCall, operation: Operation) -> Inner {
    Inner {
        key: call.key.clone(),
        workflow_id: simulation.state().id.to_string(),
        step: call.name.clone(),
        action: call.operation.clone(),
        operation,
        attempt: call.attempt,
        deadline: Instant::now() + call.timeout,
        traceparent: String::new(),
        tracestate: None,
        lock_tokens: simulation.state().lock_tokens(call.declared_step(), call.side),
        cancelled: CancellationToken::new(),
        heartbeats: HeartbeatSender { timeout: None, sink: HeartbeatSink::Discard },
    }
}

/// Returns the result of an action as its executor reports it.
fn outcome(result: Result<Value, ActionError>, now: Timestamp) -> Outcome {
    match result {
        Ok(output) => Outcome::Done { output },
        Err(ActionError::Retryable { code, message, after }) => Outcome::Retryable {
            failure: Failure { code, message, detail: None },
            not_before: after.map(|after| now.after(after)),
        },
        Err(ActionError::Refused { code, message, detail }) => {
            Outcome::Refused { failure: Failure { code, message, detail } }
        }
        Err(ActionError::Unknown { code, message }) => Outcome::Unknown {
            failure: Failure { code, message, detail: None },
            not_before: None,
            answered: true,
        },
    }
}
