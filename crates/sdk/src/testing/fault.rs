//! Faults to inject, and where.

use goconductor_saga::{Failure, Outcome, Side};
use goconductor_simulator::{SimulatedCall, SimulatedResponse};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The attempts of one side of a step at which a fault is injected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempts {
    step: String,
    side: Side,
    attempts: RangeInclusive<u32>,
}

impl Attempts {
    /// The first attempt to execute a step.
    #[must_use]
    pub fn execute(step: impl Into<String>) -> Self {
        Self { step: step.into(), side: Side::Execute, attempts: 1..=1 }
    }

    /// The first attempt to compensate a step.
    #[must_use]
    pub fn compensate(step: impl Into<String>) -> Self {
        Self { step: step.into(), side: Side::Compensate, attempts: 1..=1 }
    }

    /// Other attempts, counted from 1.
    #[must_use]
    pub fn numbers(self, attempts: RangeInclusive<u32>) -> Self {
        Self { attempts, ..self }
    }

    /// Every attempt.
    #[must_use]
    pub fn every(self) -> Self {
        self.numbers(1..=u32::MAX)
    }

    pub(super) fn step(&self) -> &str {
        &self.step
    }

    pub(super) fn matches(&self, call: &SimulatedCall) -> bool {
        self.step == call.name && self.side == call.side && self.attempts.contains(&call.attempt)
    }
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The participant refuses. The action is not called.
    Refuse,
    /// The participant reports a retryable failure. The action is not called.
    Fail,
    /// The request is lost with its executor. The action is not called, and the command is delivered again.
    LoseRequest,
    /// The action is called, and its outcome is lost with the executor. The command is delivered again.
    LoseResponse,
    /// The action is called, and the connection breaks before its outcome arrives.
    BreakConnection,
    /// The action is called, and its outcome does not arrive before the deadline.
    TimeOut,
    /// The action is called twice with the same idempotency key, and its outcome is reported twice.
    Duplicate,
    /// The action is called, and the engine crashes before its outcome arrives.
    Crash,
    /// The action takes this virtual time.
    Delay(Duration),
}

impl Fault {
    /// Returns the response of a fault that prevents the call of the action.
    pub(super) fn without_action(self, call: &SimulatedCall) -> Option<SimulatedResponse> {
        let failure = |text: &str| Failure {
            code: "INJECTED".to_owned(),
            message: format!("{text} at attempt {} of {}", call.attempt, call.name),
            detail: None,
        };
        match self {
            Self::Refuse => {
                Some(SimulatedResponse::Outcome(Outcome::Refused { failure: failure("refused") }))
            }
            Self::Fail => {
                let outcome = Outcome::Retryable { failure: failure("failed"), not_before: None };
                Some(SimulatedResponse::Outcome(outcome))
            }
            Self::LoseRequest => Some(SimulatedResponse::Lost),
            Self::LoseResponse
            | Self::BreakConnection
            | Self::TimeOut
            | Self::Duplicate
            | Self::Crash
            | Self::Delay(_) => None,
        }
    }

    /// Returns the response of a fault that replaces the outcome of the action.
    pub(super) fn after_action(self, call: &SimulatedCall) -> Option<SimulatedResponse> {
        match self {
            Self::LoseResponse => Some(SimulatedResponse::Lost),
            Self::TimeOut => Some(SimulatedResponse::TimedOut),
            Self::BreakConnection => Some(SimulatedResponse::Outcome(Outcome::Unknown {
                failure: Failure {
                    code: "CONNECTION_BROKEN".to_owned(),
                    message: format!("the connection broke at attempt {} of {}", call.attempt, call.name),
                    detail: None,
                },
                not_before: None,
                answered: false,
            })),
            Self::Refuse
            | Self::Fail
            | Self::LoseRequest
            | Self::Duplicate
            | Self::Crash
            | Self::Delay(_) => None,
        }
    }

    /// Returns the virtual time of the attempt.
    pub(super) fn latency(self) -> Option<Duration> {
        match self {
            Self::Delay(duration) => Some(duration),
            Self::Refuse
            | Self::Fail
            | Self::LoseRequest
            | Self::LoseResponse
            | Self::BreakConnection
            | Self::TimeOut
            | Self::Duplicate
            | Self::Crash => None,
        }
    }
}

/// A fault and its place.
#[derive(Debug, Clone)]
pub(super) struct Injection {
    pub(super) at: Attempts,
    pub(super) fault: Fault,
}
