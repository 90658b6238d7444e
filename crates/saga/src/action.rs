//! The actions of steps and of compensations.

use crate::{
    CALL_OPERATION, CALLS_SERVICE, Call, Child, CompensationLimits, Json, OnTimeout, Retry, Template,
    WaitTime,
};
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The compensate side of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compensation {
    /// The action that undoes the step.
    pub action: Action,
    /// A CEL expression. If it is false, there is nothing to undo. `None` means true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// The input of the action, or `None` for `{"input": …, "output": …}` of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Template>,
    /// The retry policy.
    pub retry: Retry,
    /// The time limit of one attempt.
    #[serde(with = "crate::millis", rename = "timeout_ms")]
    pub timeout: Duration,
    /// The other time limits.
    #[serde(default, skip_serializing_if = "CompensationLimits::is_none")]
    pub limits: CompensationLimits,
}

/// The action of a step or a compensation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Sends a command to a microservice.
    Run {
        /// The name of the service, which is also the name of its task queue.
        service: String,
        /// The operation that the service performs.
        action: String,
    },
    /// Makes a call that the definition spells out. Its command goes to the queue of [`CALLS_SERVICE`].
    Call(Box<Call>),
    /// Waits for a duration or until a time.
    Sleep {
        /// When the wait ends.
        time: WaitTime,
    },
    /// Waits for a signal. Its payload is the output of the step.
    Signal {
        /// The name of the signal.
        name: String,
        /// When the wait ends without a signal, or `None` for no time limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<WaitTime>,
        /// The result of the step when the time limit expires.
        #[serde(default, skip_serializing_if = "OnTimeout::is_fail")]
        on_timeout: OnTimeout,
        /// The JSON Schema of the payload.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schema: Option<Json>,
    },
    /// Starts a child workflow. As the action of a compensation, it rolls the child of the step back.
    Child(Child),
}

impl Action {
    /// Returns the service whose queue receives the command, or `None` if no command is sent.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::Run { service, .. } => Some(service),
            Self::Call(_) => Some(CALLS_SERVICE),
            Self::Sleep { .. } | Self::Signal { .. } => None,
            Self::Child(_) => None,
        }
    }

    /// Returns the operation that the service performs, or `None` if no command is sent.
    #[must_use]
    pub fn operation(&self) -> Option<&str> {
        match self {
            Self::Run { action, .. } => Some(action),
            Self::Call(_) => Some(CALL_OPERATION),
            Self::Sleep { .. } | Self::Signal { .. } | Self::Child(_) => None,
        }
    }

    /// Returns the child workflow, or `None` if the action starts none.
    #[must_use]
    pub fn child(&self) -> Option<&Child> {
        match self {
            Self::Child(child) => Some(child),
            Self::Run { .. } | Self::Sleep { .. } | Self::Signal { .. } | Self::Call(_) => None,
        }
    }

    /// Returns the call, if the action is one.
    #[must_use]
    pub fn call(&self) -> Option<&Call> {
        match self {
            Self::Call(call) => Some(call),
            Self::Run { .. } | Self::Sleep { .. } | Self::Signal { .. } | Self::Child(_) => None,
        }
    }

    /// Returns whether the step waits for a time or a signal, and has no effect.
    #[must_use]
    pub fn is_wait(&self) -> bool {
        match self {
            Self::Sleep { .. } | Self::Signal { .. } => true,
            Self::Run { .. } | Self::Call(_) | Self::Child(_) => false,
        }
    }
}

/// Formats the action for people: `service/action`, the method and the URL of a call, or what the step waits for.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { service, action } => write!(f, "{service}/{action}"),
            Self::Call(call) => call.fmt(f),
            Self::Sleep { .. } => f.write_str("sleep"),
            Self::Signal { name, .. } => write!(f, "signal {name}"),
            Self::Child(child) => write!(f, "child {}", child.workflow),
        }
    }
}
