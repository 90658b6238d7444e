//! One course of a workflow: the calls in order, and the end.

use crate::call::{Limits, NextActivity, SimulatedCall, SimulatedResponse, SimulatedStart};
use crate::constructs::inputs;
use crate::engine::Simulation;
use crate::error::Error;
use crate::fault::StepFault;
use goconductor_saga::{
    Compensation, Expressions, Failure, Json, Outcome, Plan, Side, Step, StepIndex, Timestamp,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The virtual duration of an attempt.
const LATENCY: Duration = Duration::from_millis(10);
/// The number of attempts that fail at a side without a limit.
const UNLIMITED_FAILURES: u32 = 5;

/// The conditions of all courses of a report.
#[derive(Debug, Clone)]
pub(crate) struct Conditions {
    pub(crate) plan: Arc<Plan>,
    pub(crate) expressions: Arc<dyn Expressions>,
    pub(crate) input: Json,
    pub(crate) outputs: BTreeMap<String, Json>,
    pub(crate) limits: Limits,
}

/// A fault, and the step whose refusal starts the rollback of a course with [`StepFault::Compensation`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script {
    pub(crate) step: StepIndex,
    /// The element, if the step has elements.
    pub(crate) element: Option<u32>,
    pub(crate) fault: StepFault,
    pub(crate) trigger: Option<StepIndex>,
}

/// A course that was run.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) simulation: Simulation,
    /// The steps whose commands were sent, in order, each once.
    pub(crate) forward: Vec<StepIndex>,
    pub(crate) undo: Vec<StepIndex>,
}

impl Conditions {
    /// Runs a course to its end.
    pub(crate) fn run(&self, script: Option<Script>) -> Result<Course, Error> {
        let start = SimulatedStart { input: self.input.clone(), ..SimulatedStart::default() };
        let (plan, expressions) = (Arc::clone(&self.plan), Arc::clone(&self.expressions));
        let mut simulation = Simulation::start(plan, expressions, start, self.limits);
        let (mut forward, mut undo) = (Vec::new(), Vec::new());
        // A signal that times out does not arrive.
        let silent = script.filter(|script| script.fault == StepFault::Timeout).map(|script| script.step);
        for input in inputs(&self.plan, silent) {
            simulation.submit(&input)?;
        }
        while let NextActivity::Call(call) = simulation.advance()? {
            let order = match call.side {
                Side::Execute => &mut forward,
                Side::Compensate => &mut undo,
            };
            let step = call.declared_step();
            if !order.contains(&step) {
                order.push(step);
            }
            let response = self.response(&call, script);
            simulation.respond(&call, response, LATENCY);
        }
        simulation.verify()?;
        Ok(Course { simulation, forward, undo })
    }

    fn response(&self, call: &SimulatedCall, script: Option<Script>) -> SimulatedResponse {
        let fault = script.and_then(|script| script.at(&self.plan, call));
        if call.is_probe {
            // The worse of the two answers: the step has failed.
            return SimulatedResponse::Outcome(Outcome::Done {
                output: serde_json::json!({"outcome": "not_done"}),
            });
        }
        let failure = |code: &str, message: &str| Failure::of(code, message);
        match fault {
            None => {
                let declared = self.plan.step(call.declared_step()).map_or("", |step| step.name.as_str());
                let output = self.outputs.get(&call.name).or_else(|| self.outputs.get(declared));
                let output = output.cloned().unwrap_or(Json::Null);
                SimulatedResponse::Outcome(Outcome::Done { output })
            }
            Some(StepFault::Refused) => SimulatedResponse::Outcome(Outcome::Refused {
                failure: failure("REFUSED", "the participant refused"),
            }),
            Some(StepFault::Unknown) => SimulatedResponse::Outcome(Outcome::Unknown {
                failure: failure("CONNECTION_BROKEN", "the connection broke after the request was sent"),
                not_before: None,
                answered: false,
            }),
            Some(StepFault::Timeout) => SimulatedResponse::TimedOut,
            Some(StepFault::Compensation) => SimulatedResponse::Outcome(Outcome::Retryable {
                failure: failure("UNAVAILABLE", "the participant is not available"),
                // Without a limit on attempts, the limit on their time ends them. A retry after it needs no simulation
                // of the attempts until then, which can be many.
                not_before: is_limited_by_time(&self.plan, call.declared_step())
                    .then_some(Timestamp(i64::MAX)),
            }),
        }
    }
}

/// Returns the compensation of a step: that of an element, if the step has elements.
fn compensation_of(step: &Step) -> Option<&Compensation> {
    step.for_each.as_deref().map_or(step.compensate.as_ref(), |each| each.compensate.as_ref())
}

/// Returns whether only time limits the attempts to compensate a step.
fn is_limited_by_time(plan: &Plan, step: StepIndex) -> bool {
    plan.step(step)
        .and_then(compensation_of)
        .is_some_and(|undo| undo.limits.total.is_some() && undo.retry.max_attempts.is_none())
}

impl Script {
    /// Returns the fault of a call.
    fn at(&self, plan: &Plan, call: &SimulatedCall) -> Option<StepFault> {
        let step = call.declared_step();
        let is_own = step == self.step && call.element() == self.element;
        let failing = plan.step(step).is_some_and(|step| {
            let each = step.for_each.as_deref();
            let retry = match (call.side, compensation_of(step)) {
                (Side::Compensate, Some(compensation)) => &compensation.retry,
                (Side::Execute | Side::Compensate, _) => each.map_or(&step.retry, |each| &each.retry),
            };
            call.attempt <= retry.max_attempts.unwrap_or(UNLIMITED_FAILURES)
        });
        match (self.fault, call.side) {
            (StepFault::Compensation, Side::Compensate) if is_own && failing => Some(self.fault),
            (StepFault::Compensation, Side::Execute) if Some(step) == self.trigger => {
                Some(StepFault::Refused)
            }
            // Without a step that can start the rollback, the step itself ends in doubt.
            (StepFault::Compensation, Side::Execute) if self.trigger.is_none() && is_own && failing => {
                Some(StepFault::Unknown)
            }
            (StepFault::Refused | StepFault::Unknown | StepFault::Timeout, Side::Execute)
                if is_own && failing =>
            {
                Some(self.fault)
            }
            (
                StepFault::Refused | StepFault::Unknown | StepFault::Timeout | StepFault::Compensation,
                Side::Execute | Side::Compensate,
            ) => None,
        }
    }
}
