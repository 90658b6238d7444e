//! One course of a workflow: the calls in order, and the end.

use crate::constructs::unblock;
use crate::engine::{Call, Limits, Next, Response, Simulation, Start};
use crate::error::Error;
use crate::fault::Fault;
use goconductor_saga::{Expressions, Failure, Json, Outcome, Plan, Side, StepIndex};
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

/// A fault, and the step whose refusal starts the rollback of a course with [`Fault::Compensation`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script {
    pub(crate) step: StepIndex,
    pub(crate) fault: Fault,
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
        let start = Start { input: self.input.clone(), ..Start::default() };
        let (plan, expressions) = (Arc::clone(&self.plan), Arc::clone(&self.expressions));
        let mut simulation = Simulation::start(plan, expressions, start, self.limits);
        let (mut forward, mut undo) = (Vec::new(), Vec::new());
        loop {
            match simulation.advance()? {
                Next::Call(call) => {
                    let order = match call.side {
                        Side::Execute => &mut forward,
                        Side::Compensate => &mut undo,
                    };
                    if !order.contains(&call.step) {
                        order.push(call.step);
                    }
                    let response = self.response(&call, script);
                    simulation.respond(&call, response, LATENCY);
                }
                Next::Idle => match unblock(&simulation) {
                    Some(input) if simulation.submit(&input)? => {}
                    Some(_) | None => break,
                },
                Next::Ended => break,
            }
        }
        simulation.verify()?;
        Ok(Course { simulation, forward, undo })
    }

    fn response(&self, call: &Call, script: Option<Script>) -> Response {
        let fault = script.and_then(|script| script.at(&self.plan, call));
        let failure = |code: &str, message: &str| Failure::of(code, message);
        match fault {
            None => {
                let output = self.outputs.get(&call.name).cloned().unwrap_or(Json::Null);
                Response::Outcome(Outcome::Done { output })
            }
            Some(Fault::Refused) => {
                Response::Outcome(Outcome::Refused { failure: failure("REFUSED", "the participant refused") })
            }
            Some(Fault::Unknown) => Response::Outcome(Outcome::Unknown {
                failure: failure("CONNECTION_BROKEN", "the connection broke after the request was sent"),
                not_before: None,
                answered: false,
            }),
            Some(Fault::Timeout) => Response::TimedOut,
            Some(Fault::Compensation) => Response::Outcome(Outcome::Retryable {
                failure: failure("UNAVAILABLE", "the participant is not available"),
                not_before: None,
            }),
        }
    }
}

impl Script {
    /// Returns the fault of a call.
    fn at(&self, plan: &Plan, call: &Call) -> Option<Fault> {
        let failing = plan.step(call.step).is_some_and(|step| {
            let retry = match (call.side, &step.compensate) {
                (Side::Compensate, Some(compensation)) => &compensation.retry,
                (Side::Execute | Side::Compensate, _) => &step.retry,
            };
            call.attempt <= retry.max_attempts.unwrap_or(UNLIMITED_FAILURES)
        });
        match (self.fault, call.side) {
            (Fault::Compensation, Side::Compensate) if call.step == self.step && failing => Some(self.fault),
            (Fault::Compensation, Side::Execute) if Some(call.step) == self.trigger => Some(Fault::Refused),
            // Without a step that can start the rollback, the step itself ends in doubt.
            (Fault::Compensation, Side::Execute)
                if self.trigger.is_none() && call.step == self.step && failing =>
            {
                Some(Fault::Unknown)
            }
            (Fault::Refused | Fault::Unknown | Fault::Timeout, Side::Execute)
                if call.step == self.step && failing =>
            {
                Some(self.fault)
            }
            (
                Fault::Refused | Fault::Unknown | Fault::Timeout | Fault::Compensation,
                Side::Execute | Side::Compensate,
            ) => None,
        }
    }
}
