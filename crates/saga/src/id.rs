//! Identifiers: one type for each.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a workflow: a UUIDv7, so that ids sort by start time.
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

/// The index of a step in the definition's list of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepIndex(pub u32);

impl StepIndex {
    /// Returns the index as a `usize`, to index a list.
    #[must_use]
    pub fn at(self) -> usize {
        self.0 as usize
    }
}

/// A side of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The operation of the step.
    Execute,
    /// The operation that undoes the step.
    Compensate,
}

impl Side {
    /// Returns `execute` or `compensate`, as in the idempotency key.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Execute => "execute",
            Self::Compensate => "compensate",
        }
    }
}

/// The purpose of a timer in the dispatch ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerKind {
    /// Ends the time limit of the workflow's forward part.
    Workflow,
    /// Ends the `timeout.queue` of a step: the time until its first attempt starts. During a rollback, ends that of its
    /// compensation: the time until an attempt starts.
    StepQueue(StepIndex),
    /// Ends the `timeout.total` of a step, or of its compensation: the time for all attempts.
    StepTotal(StepIndex),
    /// Ends a sleep, or the time limit of a wait for a signal.
    StepWake(StepIndex),
    /// Starts, observes, cancels or rolls back the child workflow of a step.
    StepChild(StepIndex),
    /// Waits for the locks of the definition.
    WorkflowLock,
    /// Waits for the lock of a step.
    StepLock(StepIndex),
}

/// The key of a row in the dispatch ledger, unique within its workflow.
///
/// The attempt is not part of the key, because every attempt at one side of a step is the same work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwedKey {
    /// A command to execute or compensate a step.
    Command(StepIndex, Side),
    /// A timer.
    Timer(TimerKind),
}

impl fmt::Display for OwedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(step, side) => write!(f, "{}/{}", step.0, side.as_str()),
            Self::Timer(TimerKind::Workflow) => f.write_str("timer/workflow"),
            Self::Timer(TimerKind::StepQueue(step)) => write!(f, "{}/timer/queue", step.0),
            Self::Timer(TimerKind::StepTotal(step)) => write!(f, "{}/timer/total", step.0),
            Self::Timer(TimerKind::StepWake(step)) => write!(f, "{}/timer/wake", step.0),
            Self::Timer(TimerKind::StepChild(step)) => write!(f, "{}/timer/child", step.0),
            Self::Timer(TimerKind::WorkflowLock) => f.write_str("timer/lock"),
            Self::Timer(TimerKind::StepLock(step)) => write!(f, "{}/timer/lock", step.0),
        }
    }
}

/// An error: the text is not the key of a ledger row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid ledger key: expected `<step>/execute`, `<step>/compensate`, `<step>/timer/queue`, `<step>/timer/total`, `<step>/timer/wake`, `<step>/timer/child`, `<step>/timer/lock`, `timer/lock` or `timer/workflow`"
)]
pub struct ParseOwedKeyError;

impl FromStr for OwedKey {
    type Err = ParseOwedKeyError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "timer/workflow" {
            return Ok(Self::Timer(TimerKind::Workflow));
        }
        if text == "timer/lock" {
            return Ok(Self::Timer(TimerKind::WorkflowLock));
        }
        let (step, rest) = text.split_once('/').ok_or(ParseOwedKeyError)?;
        let step = StepIndex(step.parse().map_err(|_| ParseOwedKeyError)?);
        match rest {
            "execute" => Ok(Self::Command(step, Side::Execute)),
            "compensate" => Ok(Self::Command(step, Side::Compensate)),
            "timer/queue" => Ok(Self::Timer(TimerKind::StepQueue(step))),
            "timer/lock" => Ok(Self::Timer(TimerKind::StepLock(step))),
            "timer/total" => Ok(Self::Timer(TimerKind::StepTotal(step))),
            "timer/wake" => Ok(Self::Timer(TimerKind::StepWake(step))),
            "timer/child" => Ok(Self::Timer(TimerKind::StepChild(step))),
            _ => Err(ParseOwedKeyError),
        }
    }
}
