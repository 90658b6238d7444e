//! Names for things, one type each.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A workflow's id: a UUIDv7, so that ids sort by the time of the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkflowId(pub Uuid);

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for WorkflowId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self)
    }
}

/// A step's place in its definition's list of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepIndex(pub u32);

impl StepIndex {
    /// For indexing a list.
    #[must_use]
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// The two sides of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Doing it.
    Execute,
    /// Undoing it.
    Compensate,
}

impl Side {
    /// `execute` or `compensate`, as in the idempotency key.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Compensate => "compensate",
        }
    }
}

/// What a timer of the ledger is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerKind {
    /// The workflow's forward part has a time limit.
    Workflow,
    /// A step has to start within its `timeout.queue`.
    StepQueue(StepIndex),
    /// A step's attempts together have to end within its `timeout.total`.
    StepTotal(StepIndex),
}

/// What one row of the dispatch ledger is for; unique within its workflow.
///
/// The attempt is deliberately no part of it: every attempt of one side of one step is the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwedKey {
    /// A service has to execute or compensate a step.
    Command(StepIndex, Side),
    /// A time has to be waited for.
    Timer(TimerKind),
}

impl fmt::Display for OwedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(step, side) => write!(f, "{}/{}", step.0, side.as_str()),
            Self::Timer(TimerKind::Workflow) => f.write_str("timer/workflow"),
            Self::Timer(TimerKind::StepQueue(step)) => write!(f, "{}/timer/queue", step.0),
            Self::Timer(TimerKind::StepTotal(step)) => write!(f, "{}/timer/total", step.0),
        }
    }
}

/// A text that names no row of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the key of a ledger row")]
pub struct ParseOwedKeyError;

impl FromStr for OwedKey {
    type Err = ParseOwedKeyError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "timer/workflow" {
            return Ok(Self::Timer(TimerKind::Workflow));
        }
        let (step, rest) = text.split_once('/').ok_or(ParseOwedKeyError)?;
        let step = StepIndex(step.parse().map_err(|_| ParseOwedKeyError)?);
        match rest {
            "execute" => Ok(Self::Command(step, Side::Execute)),
            "compensate" => Ok(Self::Command(step, Side::Compensate)),
            "timer/queue" => Ok(Self::Timer(TimerKind::StepQueue(step))),
            "timer/total" => Ok(Self::Timer(TimerKind::StepTotal(step))),
            _ => Err(ParseOwedKeyError),
        }
    }
}
