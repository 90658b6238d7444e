//! What happened: the lines of a workflow's history.

use crate::{Failure, Json, Side, StepIndex, Timestamp, WorkflowId};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};

/// One line of a history; never changed once it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// From 1, without a gap.
    pub seq: u64,
    /// When it was decided.
    pub time: Timestamp,
    /// Who asked for it, where a person did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Why a roll-back began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RollbackCause {
    /// A step ended failed or unknown.
    StepFailed,
    /// Somebody cancelled it.
    Cancelled,
    /// Its time was up.
    TimedOut,
    /// An operator said that a step did not happen.
    Operator,
}

impl RollbackCause {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StepFailed => "STEP_FAILED",
            Self::Cancelled => "CANCELLED",
            Self::TimedOut => "TIMED_OUT",
            Self::Operator => "OPERATOR",
        }
    }
}

/// What happened. Stored as JSON with its `type` beside its fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventKind {
    /// The start was accepted. Always the first event, and only it.
    WorkflowStarted {
        /// The workflow.
        id: WorkflowId,
        /// Where it lives.
        namespace: String,
        /// The definition's name.
        definition: String,
        /// The definition's version.
        version: u32,
        /// How many steps the definition has.
        steps: u32,
        /// What it was started with.
        input: Arc<Json>,
        /// To find it by.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
        /// When the time of its forward part is up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
    },
    /// The command to execute a step was issued.
    StepQueued {
        /// Which.
        step: StepIndex,
    },
    /// A branch was not taken, or an operator skipped the step.
    StepSkipped {
        /// Which.
        step: StepIndex,
        /// `CONDITION`, `DEPENDENCIES` or `OPERATOR`.
        why: String,
        /// An operator's reason.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// An attempt may be under way, and may take effect until then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        doubt_until: Option<Timestamp>,
    },
    /// An attempt is under way; written only for one that takes longer than the start grace.
    AttemptStarted {
        /// Of which step.
        step: StepIndex,
        /// Of which side.
        side: Side,
        /// From 1.
        attempt: u32,
        /// When it started.
        started_at: Timestamp,
        /// When its time is up.
        deadline: Timestamp,
        /// Who runs it.
        executor: String,
    },
    /// An attempt did not succeed, and another follows.
    AttemptFailed {
        /// Of which step.
        step: StepIndex,
        /// Of which side.
        side: Side,
        /// From 1.
        attempt: u32,
        /// When it started, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// Why.
        failure: Failure,
        /// It ended unknown, and may take effect until then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        doubt_until: Option<Timestamp>,
        /// When the next is due.
        retry_at: Timestamp,
    },
    /// A step is done.
    StepCompleted {
        /// Which.
        step: StepIndex,
        /// The attempt that did it.
        attempt: u32,
        /// When that started, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// What it answered.
        output: Arc<Json>,
        /// Given by an operator: why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// An attempt may be under way, and may take effect until then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        doubt_until: Option<Timestamp>,
    },
    /// A step is not done, and every attempt said so.
    StepFailed {
        /// Which.
        step: StepIndex,
        /// The last attempt; 0: none was made.
        attempt: u32,
        /// When that started, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// Why.
        failure: Failure,
        /// Said by an operator: why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Nobody could say whether a step is done.
    StepUnknown {
        /// Which.
        step: StepIndex,
        /// The last attempt.
        attempt: u32,
        /// When that started, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// Why.
        failure: Failure,
        /// It may take effect until then.
        doubt_until: Timestamp,
    },
    /// A command that was never sent was taken back, as the workflow is to be rolled back.
    StepWithdrawn {
        /// Of which step.
        step: StepIndex,
    },
    /// Somebody asked for a cancel, or its time is up; the pivot's answer is awaited first.
    RollbackRequested {
        /// Why.
        cause: RollbackCause,
        /// In words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The pivot completed: what was asked for meanwhile can't be done any more.
    RollbackRefused {
        /// What was asked for.
        cause: RollbackCause,
    },
    /// The roll-back began.
    RollbackStarted {
        /// Why.
        cause: RollbackCause,
        /// The step that brought it about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepIndex>,
        /// In words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The command to compensate a step was issued.
    CompensationQueued {
        /// Which.
        step: StepIndex,
        /// Not sent before: an execute that ended unknown may take effect until then.
        due_at: Timestamp,
    },
    /// A step is undone.
    StepCompensated {
        /// Which.
        step: StepIndex,
        /// The attempt that did it.
        attempt: u32,
        /// When that started, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// Said by an operator: why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A step could not be undone: an operator has to help.
    CompensationFailed {
        /// Which.
        step: StepIndex,
        /// The last attempt; 0: none was made.
        attempt: u32,
        /// When that started, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// Why.
        failure: Failure,
    },
    /// An operator let a compensation be that could not be done.
    CompensationSkipped {
        /// Of which step.
        step: StepIndex,
        /// Why.
        reason: String,
    },
    /// An operator had one side of a step tried again, now.
    StepRetried {
        /// Which.
        step: StepIndex,
        /// Of which side.
        side: Side,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// An operator holds the workflow: nothing new is issued.
    WorkflowPaused {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It goes on.
    WorkflowResumed {
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// All is done.
    WorkflowCompleted {
        /// Its result.
        output: Arc<Json>,
        /// Why it has no result, though all is done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// All is undone.
    WorkflowRolledBack {},
    /// An operator ended it without a roll-back.
    WorkflowTerminated {
        /// Why.
        reason: String,
    },
}

impl EventKind {
    /// Whether nothing follows it.
    #[must_use]
    pub fn ends(&self) -> bool {
        matches!(
            self,
            Self::WorkflowCompleted { .. } | Self::WorkflowRolledBack {} | Self::WorkflowTerminated { .. }
        )
    }

    /// The step that it is about.
    #[must_use]
    pub fn step(&self) -> Option<StepIndex> {
        match self {
            Self::StepQueued { step }
            | Self::StepSkipped { step, .. }
            | Self::AttemptStarted { step, .. }
            | Self::AttemptFailed { step, .. }
            | Self::StepCompleted { step, .. }
            | Self::StepFailed { step, .. }
            | Self::StepUnknown { step, .. }
            | Self::StepWithdrawn { step }
            | Self::CompensationQueued { step, .. }
            | Self::StepCompensated { step, .. }
            | Self::CompensationFailed { step, .. }
            | Self::CompensationSkipped { step, .. }
            | Self::StepRetried { step, .. } => Some(*step),
            Self::RollbackStarted { step, .. } => *step,
            Self::WorkflowStarted { .. }
            | Self::RollbackRequested { .. }
            | Self::RollbackRefused { .. }
            | Self::WorkflowPaused { .. }
            | Self::WorkflowResumed { .. }
            | Self::WorkflowCompleted { .. }
            | Self::WorkflowRolledBack {}
            | Self::WorkflowTerminated { .. } => None,
        }
    }
}
