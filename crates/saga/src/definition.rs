//! A definition as the rules see it: blocks are already expanded to edges and conditions.

use crate::{Json, Retry, StepIndex, Template};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// The format that definitions are stored in; raised when an older reader could not read a newer one.
pub const DEFINITION_FORMAT: u16 = 1;

/// A named, immutable graph of steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// [`DEFINITION_FORMAT`] when it was written.
    pub format: u16,
    /// The name that workflows are started by.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Given to each workflow unless its start says otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// JSON Schema that a start's input has to fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
    /// The workflow's result; none: null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Template>,
    /// A limit on the forward part.
    #[serde(with = "crate::millis::option", default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// In the order in which they are written, branches of blocks one after the other.
    pub steps: Vec<Step>,
}

/// A node of the graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// `[a-z][a-z0-9_]*`, unique in its definition.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What it waits for; empty: it starts at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<StepIndex>,
    /// How it waits for more than one.
    #[serde(default)]
    pub join: Join,
    /// All have to hold, looked at in this order, or the step is skipped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Condition>,
    /// The blocks it was written in, outermost first, as `block` or `block.branch`: for drawing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<String>,
    /// What it does.
    pub action: Action,
    /// Its place in the saga.
    pub kind: Kind,
    /// What the action gets; none: the workflow's input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Template>,
    /// How it is undone; none: there is nothing to undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Compensation>,
    /// How often it is tried.
    pub retry: Retry,
    /// How long it may take.
    pub timeout: Timeouts,
}

/// How a step is undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compensation {
    /// What undoes it.
    pub action: Action,
    /// What the action gets; none: `{"input": …, "output": …}` of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Template>,
    /// How often it is tried.
    pub retry: Retry,
    /// A limit on one attempt.
    #[serde(with = "crate::millis", rename = "timeout_ms")]
    pub timeout: Duration,
}

/// What a step or a compensation does. Further kinds (sleep, signal, child, call) are further variants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A microservice is asked.
    Run {
        /// Its name is its task queue.
        service: String,
        /// What it is asked to do.
        action: String,
    },
}

/// A step's place in the saga.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Can be undone, or has nothing to undo.
    Compensatable,
    /// The point of no return.
    Pivot,
    /// After the pivot: tried until it succeeds.
    Retriable,
}

/// How a step waits for more than one dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// For all; skipped if all were skipped.
    #[default]
    All,
    /// For the first that completed; skipped if all were skipped.
    Any,
    /// For all; runs even if all were skipped.
    Settled,
}

/// A condition of a step: its own, a block's, or a branch's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// A CEL expression that yields a boolean.
    pub expression: String,
    /// What it has to yield: a branch of a switch also needs the branches above it to be false.
    pub holds: bool,
}

/// How long a step may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// One attempt.
    #[serde(with = "crate::millis", rename = "attempt_ms")]
    pub attempt: Duration,
    /// From being queued to its first start.
    #[serde(
        with = "crate::millis::option",
        default,
        skip_serializing_if = "Option::is_none",
        rename = "queue_ms"
    )]
    pub queue: Option<Duration>,
    /// All attempts together, from being queued.
    #[serde(
        with = "crate::millis::option",
        default,
        skip_serializing_if = "Option::is_none",
        rename = "total_ms"
    )]
    pub total: Option<Duration>,
    /// Between two heartbeats of an attempt, for participants that can send some.
    #[serde(
        with = "crate::millis::option",
        default,
        skip_serializing_if = "Option::is_none",
        rename = "heartbeat_ms"
    )]
    pub heartbeat: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { attempt: Duration::from_secs(30), queue: None, total: None, heartbeat: None }
    }
}

impl Timeouts {
    /// Whether a start has to be written before the attempt is sent: a limit that counts until the
    /// start, or over all attempts, can only be judged by a start that is on record.
    #[must_use]
    pub fn start_is_recorded_first(&self) -> bool {
        self.queue.is_some() || self.total.is_some()
    }
}

impl Step {
    /// The action of one side.
    #[must_use]
    pub fn action(&self, side: crate::Side) -> Option<&Action> {
        match side {
            crate::Side::Execute => Some(&self.action),
            crate::Side::Compensate => self.compensate.as_ref().map(|undo| &undo.action),
        }
    }

    /// The limit on one attempt of one side.
    #[must_use]
    pub fn attempt_timeout(&self, side: crate::Side) -> Duration {
        match (side, &self.compensate) {
            (crate::Side::Compensate, Some(undo)) => undo.timeout,
            (crate::Side::Execute | crate::Side::Compensate, _) => self.timeout.attempt,
        }
    }
}
