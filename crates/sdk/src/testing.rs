//! Tests of sagas in memory: the real actions, the rules of the engine, a virtual clock and injected faults.
//!
//! A [`TestSaga`] runs one saga without a server. Delays, timeouts and retries pass in virtual time, so a saga of thirty
//! days ends at once. Each action runs as it would in a worker, with a [`Context`] and its idempotency key.
//!
//! ```
//! use goconductor::testing::{Attempts, Fault, TestSaga};
//! use goconductor::{ActionError, Status, Workflow, WorkflowStep};
//! use serde_json::json;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let order = Workflow::new("Order")
//!     .step(
//!         WorkflowStep::new("Charge")
//!             .execute(|_| async { Ok(json!({"payment": "p1"})) })
//!             .compensate(|_| async { Ok(json!("refunded")) }),
//!     )
//!     .step(
//!         WorkflowStep::new("Reserve")
//!             .execute(|order| async move {
//!                 match order.input()["sku"].as_str() {
//!                     Some("sold-out") => Err(ActionError::refused("SOLD_OUT", "no item is left")),
//!                     _ => Ok(json!(null)),
//!                 }
//!             })
//!             .compensate(|_| async { Ok(json!(null)) }),
//!     );
//!
//! // Forward.
//! let run = TestSaga::of(&order)?.input(json!({"sku": "a-1"})).run().await?;
//! run.assert_status(Status::Completed);
//! run.assert_executed(["charge", "reserve"]);
//!
//! // Back, because an action refuses.
//! let run = TestSaga::of(&order)?.input(json!({"sku": "sold-out"})).run().await?;
//! run.assert_status(Status::RolledBack);
//! run.assert_executed(["charge"]);
//! run.assert_compensated(["charge"]);
//!
//! // Back, because no response of the last step arrives. It may have taken effect, so it is compensated first.
//! let saga = TestSaga::of(&order)?.inject(Attempts::execute("reserve").every(), Fault::TimeOut);
//! let run = saga.run().await?;
//! run.assert_status(Status::RolledBack);
//! run.assert_compensated(["reserve", "charge"]);
//! run.assert_nothing_stands();
//!
//! // A crash after each transition in turn ends in the same way.
//! for run in TestSaga::of(&order)?.crash_everywhere().await? {
//!     run.assert_status(Status::Completed);
//! }
//! # Ok::<(), goconductor::Error>(())
//! # }).unwrap();
//! ```
//!
//! A definition in YAML runs with the services that it names:
//!
//! ```
//! use goconductor::testing::{Attempts, Fault, TestSaga};
//! use goconductor::{ActionError, Context, Service, Status};
//! use serde_json::{Value, json};
//! use std::time::Duration;
//!
//! const BILLING: &str = "
//! workflow: billing
//! steps:
//!   - { name: invoice, run: books/invoice, compensate: books/cancel }
//!   - name: collect
//!     run: bank/collect
//!     compensate: none
//!     retry: { max_attempts: 40, initial: 1d, max: 1d, jitter: 0 }
//! ";
//!
//! async fn done(_: Context, _: Value) -> Result<Value, ActionError> {
//!     Ok(json!(null))
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let saga = TestSaga::new(BILLING)?
//!     .service(Service::new("books").action("invoice", done).action("cancel", done))
//!     .service(Service::new("bank").action("collect", done))
//!     .inject(Attempts::execute("collect").numbers(1..=30), Fault::Fail);
//! let run = saga.run().await?;
//! run.assert_status(Status::Completed);
//! assert!(run.elapsed() >= Duration::from_secs(30 * 86_400));
//! # Ok::<(), goconductor::Error>(())
//! # }).unwrap();
//! ```

mod fault;
mod participants;
mod run;

pub use fault::{Attempts, Fault};
pub use run::{ActionCall, TestRun};

use crate::error::Error;
use crate::service::Service;
use crate::workflow::Workflow;
use fault::Injection;
use goconductor_definition::{Cel, Format, check_input, parse};
use goconductor_saga::{Definition, Input, Json, Plan, Side};
use goconductor_simulator::{
    Limits, NextActivity, NotSimulated, SimulatedCall, SimulatedResponse, SimulatedStart, Simulation,
    not_simulated,
};
use participants::Participants;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[allow(unused_imports, reason = "the documentation refers to it")]
use crate::context::Context;

/// The virtual duration of an attempt, unless a fault sets another.
const LATENCY: Duration = Duration::from_millis(10);

/// A saga in memory, with its services and the faults to inject.
#[derive(Debug, Clone)]
pub struct TestSaga {
    definition: Definition,
    services: BTreeMap<String, Service>,
    input: Json,
    injections: Vec<Injection>,
    crashes: Vec<u64>,
    cancel_after: Option<String>,
    signals: Vec<(String, Json)>,
    limits: Limits,
}

impl TestSaga {
    /// Creates a saga of a definition in YAML or JSON. Add the services that it names.
    ///
    /// # Errors
    /// Returns [`Error::Misuse`] with every problem of the definition.
    pub fn new(definition: &str) -> Result<Self, Error> {
        let format = if definition.trim_start().starts_with('{') { Format::Json } else { Format::Yaml };
        let checked = parse(definition.as_bytes(), format, &goconductor_definition::Limits::default());
        let checked = checked.map_err(|problems| {
            let each = problems.iter().map(|problem| {
                format!("{}:{}: {} {}", problem.line, problem.column, problem.code, problem.detail)
            });
            Error::Misuse(format!("the definition is invalid: {}", each.collect::<Vec<_>>().join("; ")))
        })?;
        let mut unknown = not_simulated(&checked.definition);
        // The definition of a child is another one, whose actions this saga does not have.
        let children = checked.definition.steps.iter().filter(|step| {
            step.performed_action(Side::Execute).is_some_and(|action| action.child().is_some())
        });
        unknown.extend(
            children
                .map(|step| NotSimulated { step: Some(step.name.clone()), construct: "child".to_owned() }),
        );
        if !unknown.is_empty() {
            return Err(goconductor_simulator::Error::NotSimulated(unknown).into());
        }
        Ok(Self {
            definition: checked.definition,
            services: BTreeMap::new(),
            input: Json::Object(serde_json::Map::new()),
            injections: Vec::new(),
            crashes: Vec::new(),
            cancel_after: None,
            signals: Vec::new(),
            limits: Limits::default(),
        })
    }

    /// Creates a saga of a workflow whose steps are closures.
    ///
    /// # Errors
    /// Returns [`Error::Misuse`] if the workflow is incomplete.
    pub fn of(workflow: &Workflow) -> Result<Self, Error> {
        Ok(Self::new(&workflow.definition()?.to_string())?.service(workflow.service()))
    }

    /// Adds a service with its actions.
    #[must_use]
    pub fn service(mut self, service: Service) -> Self {
        self.services.insert(service.name.clone(), service);
        self
    }

    /// Sets the input of the saga (default: `{}`).
    #[must_use]
    pub fn input(mut self, input: Json) -> Self {
        self.input = input;
        self
    }

    /// Injects a fault. Of several faults for one attempt, the one that was added last applies.
    #[must_use]
    pub fn inject(mut self, at: Attempts, fault: Fault) -> Self {
        self.injections.push(Injection { at, fault });
        self
    }

    /// Crashes the engine once, at the first call after this transition. Transitions are counted from 1, which is the
    /// start. The attempts in flight are lost, and the state is rebuilt from the history.
    #[must_use]
    pub fn crash_after(mut self, transition: u64) -> Self {
        self.crashes.push(transition);
        self
    }

    /// Cancels the saga once the step has completed.
    #[must_use]
    pub fn cancel_after(mut self, step: impl Into<String>) -> Self {
        self.cancel_after = Some(step.into());
        self
    }

    /// Sends a signal at the start. A signal that arrives before its step is kept. Without it, the step waits until its time
    /// limit.
    #[must_use]
    pub fn signal(mut self, name: impl Into<String>, payload: Json) -> Self {
        self.signals.push((name.into(), payload));
        self
    }

    /// Sets the limits of the run (default: 100,000 events and a hundred years of virtual time).
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Runs the saga to its end, or until it waits for an operator.
    ///
    /// # Errors
    /// Returns [`Error::Misuse`] if the input does not match its schema, a fault names no step of the definition, or an
    /// action has no service, and [`Error::Simulation`] if the run exceeds its limits or the rebuilt state differs.
    pub async fn run(&self) -> Result<TestRun, Error> {
        self.check()?;
        let plan = Plan::new(self.definition.clone(), 1).map_err(goconductor_simulator::Error::from)?;
        let start = SimulatedStart { input: self.input.clone(), ..SimulatedStart::default() };
        let mut simulation = Simulation::start(Arc::new(plan), Arc::new(Cel::new()), start, self.limits);
        for (name, payload) in &self.signals {
            let (name, payload) = (name.clone(), Arc::new(payload.clone()));
            simulation.submit(&Input::Signal { name, payload, key: None, actor: None })?;
        }
        let mut participants = Participants::new(&self.services);
        let (mut crashes, mut cancel) = (self.crashes.clone(), self.cancel_after.clone());
        while let NextActivity::Call(call) = simulation.advance()? {
            if let Some(step) = cancel.take_if(|step| run::has_completed(&simulation, step)) {
                let reason = Some(format!("the test cancels after {step}"));
                simulation.submit(&Input::Cancel { actor: None, reason })?;
            }
            self.attempt(&mut simulation, &mut participants, &call).await?;
            let due = crashes.iter().position(|crash| *crash <= simulation.transitions());
            if let Some(position) = due {
                crashes.remove(position);
                simulation.crash()?;
            }
        }
        simulation.verify()?;
        Ok(TestRun::new(&simulation, participants.calls))
    }

    /// Runs the saga once for each of its transitions, with a crash after it.
    ///
    /// # Errors
    /// Like [`run`](Self::run).
    pub async fn crash_everywhere(&self) -> Result<Vec<TestRun>, Error> {
        let transitions = self.run().await?.transitions();
        let mut runs = Vec::new();
        for transition in 1..=transitions {
            runs.push(self.clone().crash_after(transition).run().await?);
        }
        Ok(runs)
    }

    /// Delivers a call to its action, unless a fault prevents it.
    async fn attempt(
        &self,
        simulation: &mut Simulation,
        participants: &mut Participants<'_>,
        call: &SimulatedCall,
    ) -> Result<(), Error> {
        let matching = |injection: &&Injection| injection.at.matches(call);
        let fault = self.injections.iter().rev().find(matching).map(|injection| injection.fault);
        let now = simulation.now();
        if let Some(response) = fault.and_then(|fault| fault.without_action(call)) {
            simulation.respond(call, response, LATENCY);
            return Ok(());
        }
        let outcome = participants.run(simulation, call, now).await?;
        if fault == Some(Fault::Duplicate) {
            // The participant receives the command twice. The second response arrives late, so the first one counts.
            participants.run(simulation, call, now).await?;
            simulation.report_twice(call);
        }
        let latency = fault.and_then(Fault::latency).unwrap_or(LATENCY);
        let response =
            fault.and_then(|fault| fault.after_action(call)).unwrap_or(SimulatedResponse::Outcome(outcome));
        simulation.respond(call, response, latency);
        if fault == Some(Fault::Crash) {
            simulation.crash()?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(schema) = &self.definition.input {
            check_input(schema, &self.input).map_err(|problems| {
                let each = problems.iter().map(|problem| format!("{}: {}", problem.pointer, problem.detail));
                let list = each.collect::<Vec<_>>().join("; ");
                Error::Misuse(format!("the input does not match the schema of the definition: {list}"))
            })?;
        }
        let steps =
            self.injections.iter().map(|injection| injection.at.step()).chain(self.cancel_after.as_deref());
        for step in steps {
            if !self.definition.steps.iter().any(|each| each.name == step) {
                return Err(Error::Misuse(format!("the definition has no step {step}")));
            }
        }
        for step in &self.definition.steps {
            for side in [Side::Execute, Side::Compensate] {
                let action = step.action(side);
                let names = action.and_then(|action| Some((action.service()?, action.operation()?)));
                let Some((service, operation)) = names else { continue };
                let known = self.services.get(service);
                if !known
                    .is_some_and(|service| service.handlers.actions().iter().any(|each| each == operation))
                {
                    return Err(Error::Misuse(format!(
                        "step {} needs the action {service}/{operation}: add a service with this action",
                        step.name
                    )));
                }
            }
        }
        Ok(())
    }
}
