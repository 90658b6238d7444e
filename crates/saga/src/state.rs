//! The state of a workflow, which is the fold of [`crate::evolve`] over its history.

use crate::present::present;
use crate::progress::is_zero;
use crate::{
    Failure, Json, LockState, Parent, Progress, RerunState, RollbackCause, RulesVersion, Side, Signals,
    StepIndex, Timestamp, TraceContext, WorkflowId,
};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The format of stored states. It is raised when an older release could not read the new format.
pub const STATE_FORMAT: u16 = 1;

/// The state of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The value of [`STATE_FORMAT`] when the state was written.
    pub format: u16,
    /// The id of the workflow.
    pub id: WorkflowId,
    /// The namespace of the workflow.
    pub namespace: String,
    /// The name of the definition.
    pub definition: String,
    /// The version of the definition that the workflow follows: that of its start, until an operator migrates it.
    pub version: u32,
    /// The rules that the workflow follows.
    #[serde(default, skip_serializing_if = "RulesVersion::is_first")]
    pub rules: RulesVersion,
    /// The number of the last event.
    pub seq: u64,
    /// The phase, without what delays it.
    pub phase: Phase,
    /// Whether the workflow is paused.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub paused: bool,
    /// Time at which the time limits of the workflow were suspended. It is set while the workflow is paused, unless its rules let
    /// the clocks run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_at: Option<Timestamp>,
    /// Why the rollback began, or will begin once the outcome of the pivot is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<RollbackCause>,
    /// Whether a cancel or an expired time limit waits for the outcome of the pivot.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub rollback_pending: bool,
    /// The input of the start.
    pub input: Arc<Json>,
    /// The output, while the workflow is completed.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub output: Option<Arc<Json>>,
    /// The first failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// Labels, by which workflows can be searched.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signals that the workflow has received.
    #[serde(default, skip_serializing_if = "Signals::is_empty")]
    pub signals: Signals,
    /// When the start was accepted.
    pub created_at: Timestamp,
    /// When the workflow reached a final status. The rollback of a completed workflow and a re-run clear it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// When the time limit of the forward part expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The span that started the workflow. Every later span of the workflow is a child of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Arc<TraceContext>>,
    /// The step that started the workflow as its child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// The locks of the definition, once they were requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Box<LockState>>,
    /// The re-run whose steps are undone, until they are executed again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun: Option<Box<RerunState>>,
    /// The steps, in the order of the definition.
    pub steps: Vec<StepState>,
    /// The encrypted payload, in a stored state whose inputs, outputs and failures are placeholders. It is `None` in a
    /// state that is decided upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}

/// The phase of a workflow, which ignores pauses and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The start was accepted, and no step has begun.
    Queued,
    /// Steps are executed.
    InProgress,
    /// Steps are compensated.
    RollingBack,
    /// Every step has completed or was skipped.
    Completed,
    /// Every step that needed compensation was compensated.
    RolledBack,
    /// An operator ended the workflow without a rollback.
    Terminated,
}

impl Phase {
    /// Returns whether the workflow has ended. Only a re-run, or the rollback of a completed workflow, can follow.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::RolledBack | Self::Terminated => true,
            Self::Queued | Self::InProgress | Self::RollingBack => false,
        }
    }

    /// Returns whether steps may begin.
    #[must_use]
    pub fn is_forward(self) -> bool {
        match self {
            Self::Queued | Self::InProgress => true,
            Self::RollingBack | Self::Completed | Self::RolledBack | Self::Terminated => false,
        }
    }
}

/// The status of a workflow, as users see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// The start was accepted, and no step has begun.
    Queued,
    /// Steps are executed.
    InProgress,
    /// Steps are compensated.
    RollingBack,
    /// An operator paused the workflow.
    Paused,
    /// The workflow cannot continue without an operator.
    Error,
    /// Every step has completed or was skipped.
    Completed,
    /// Every step that needed compensation was compensated.
    RolledBack,
    /// An operator ended the workflow without a rollback.
    Terminated,
}

impl Status {
    /// All statuses.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::InProgress,
        Self::RollingBack,
        Self::Paused,
        Self::Error,
        Self::Completed,
        Self::RolledBack,
        Self::Terminated,
    ];

    /// Returns the name that the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::InProgress => "IN_PROGRESS",
            Self::RollingBack => "ROLLING_BACK",
            Self::Paused => "PAUSED",
            Self::Error => "ERROR",
            Self::Completed => "COMPLETED",
            Self::RolledBack => "ROLLED_BACK",
            Self::Terminated => "TERMINATED",
        }
    }

    /// Returns whether the workflow has ended. Only a re-run, or the rollback of a completed workflow, can follow.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::RolledBack | Self::Terminated => true,
            Self::Queued | Self::InProgress | Self::RollingBack | Self::Paused | Self::Error => false,
        }
    }
}

/// The status of a step, as users see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StepStatus {
    /// The step waits for its dependencies.
    #[default]
    Pending,
    /// The execute command was issued.
    Queued,
    /// The start of an attempt was recorded.
    InProgress,
    /// The last attempt failed, and the next one waits for its delay.
    Retrying,
    /// An attempt succeeded.
    Completed,
    /// No attempt had an effect, and no attempt is left.
    Failed,
    /// An attempt may have taken effect, and its outcome could not be determined.
    Unknown,
    /// The step belongs to a branch that was not taken, or an operator skipped it.
    Skipped,
    /// The compensate command was issued.
    CompensationQueued,
    /// The start of a compensation attempt was recorded.
    Compensating,
    /// The last compensation attempt failed, and the next one waits for its delay.
    CompensationRetrying,
    /// The step was compensated.
    Compensated,
    /// The compensation failed, and no attempt is left.
    CompensationFailed,
}

impl StepStatus {
    /// Returns the name that the API uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Queued => "QUEUED",
            Self::InProgress => "IN_PROGRESS",
            Self::Retrying => "RETRYING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Unknown => "UNKNOWN",
            Self::Skipped => "SKIPPED",
            Self::CompensationQueued => "COMPENSATION_QUEUED",
            Self::Compensating => "COMPENSATING",
            Self::CompensationRetrying => "COMPENSATION_RETRYING",
            Self::Compensated => "COMPENSATED",
            Self::CompensationFailed => "COMPENSATION_FAILED",
        }
    }

    /// Returns whether a command is in flight or waits for its delay.
    #[must_use]
    pub fn is_open(self) -> bool {
        match self {
            Self::Queued
            | Self::InProgress
            | Self::Retrying
            | Self::CompensationQueued
            | Self::Compensating
            | Self::CompensationRetrying => true,
            Self::Pending
            | Self::Completed
            | Self::Failed
            | Self::Unknown
            | Self::Skipped
            | Self::Compensated
            | Self::CompensationFailed => false,
        }
    }
}

/// The state of a step in a workflow.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepState {
    /// The status of the execute side.
    #[serde(rename = "forward")]
    pub execution: StepStatus,
    /// The status of the compensate side, once its command was issued.
    #[serde(rename = "undo", default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<StepStatus>,
    /// The attempts to execute the step.
    #[serde(default, skip_serializing_if = "Progress::is_untouched")]
    pub execute: Progress,
    /// The attempts to compensate the step.
    #[serde(default, skip_serializing_if = "Progress::is_untouched")]
    pub compensate: Progress,
    /// The output of the participant.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub output: Option<Arc<Json>>,
    /// The last failure of either side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The time until which an attempt of unknown outcome may still take effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt_until: Option<Timestamp>,
    /// Whether an operator skipped the step, or its failed compensation. A skipped step counts as completed for
    /// the steps that depend on it.
    #[serde(rename = "waived", default, skip_serializing_if = "core::ops::Not::not")]
    pub skipped_by_operator: bool,
    /// Whether the failure of the step, or of its compensation, is accepted, so that the workflow continues.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub tolerated: bool,
    /// Whether there is nothing to undo, by the condition of the compensation.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub compensation_unneeded: bool,
    /// The number of probes that had no answer, while the participant is asked for the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// The last payload of each signal when the step was queued, if its input refers to signals. A later signal must not
    /// change the input of a further attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signals: Option<BTreeMap<String, Arc<Json>>>,
    /// The child workflow of the current attempt, once its start was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<WorkflowId>,
    /// The lock of the step, from its request to its release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Box<LockState>>,
    /// The number of re-runs that executed the step again. Each has idempotency keys of its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub generation: u32,
    /// The number of the last execute attempt that earlier generations made or could have made. Attempts are counted over
    /// all generations, so that a late report or command of an earlier one is recognized.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub earlier_attempts: u32,
}

impl StepState {
    /// Returns the status of the compensate side if its command was issued, and of the execute side otherwise.
    #[must_use]
    pub fn status(&self) -> StepStatus {
        self.compensation.unwrap_or(self.execution)
    }

    /// Returns the status of one side, or `None` if no command was issued for it.
    #[must_use]
    pub fn side_status(&self, side: Side) -> Option<StepStatus> {
        match side {
            Side::Execute => Some(self.execution),
            Side::Compensate => self.compensation,
        }
    }

    /// Returns the attempts at one side.
    #[must_use]
    pub fn progress(&self, side: Side) -> &Progress {
        match side {
            Side::Execute => &self.execute,
            Side::Compensate => &self.compensate,
        }
    }

    /// Returns the attempts at one side, for modification.
    pub(crate) fn progress_mut(&mut self, side: Side) -> &mut Progress {
        match side {
            Side::Execute => &mut self.execute,
            Side::Compensate => &mut self.compensate,
        }
    }

    /// Returns whether the step waits for a time, a signal or another workflow: it is in progress without an attempt.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.execution == StepStatus::InProgress && self.execute.running.is_none() && self.child.is_none()
    }

    /// Returns whether the step may have had an effect: it completed, or the outcome of an attempt is unknown.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        self.execution == StepStatus::Completed || self.doubt_until.is_some()
    }

    /// Returns whether the step was compensated, or an operator skipped its failed compensation.
    #[must_use]
    pub fn is_compensated(&self) -> bool {
        self.compensation == Some(StepStatus::Compensated)
            || (self.compensation == Some(StepStatus::CompensationFailed)
                && (self.skipped_by_operator || self.tolerated))
    }

    /// Returns whether the step cannot continue in this phase without an operator.
    #[must_use]
    pub fn needs_operator(&self, phase: Phase) -> bool {
        if phase.is_forward() {
            return matches!(self.execution, StepStatus::Failed | StepStatus::Unknown) && !self.tolerated;
        }
        phase == Phase::RollingBack
            && self.compensation == Some(StepStatus::CompensationFailed)
            && !self.skipped_by_operator
            && !self.tolerated
    }

    /// Returns whether the steps that depend on this one need not wait for it any longer.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match self.execution {
            StepStatus::Completed | StepStatus::Skipped => true,
            StepStatus::Failed | StepStatus::Unknown => self.tolerated,
            StepStatus::Pending
            | StepStatus::Queued
            | StepStatus::InProgress
            | StepStatus::Retrying
            | StepStatus::CompensationQueued
            | StepStatus::Compensating
            | StepStatus::CompensationRetrying
            | StepStatus::Compensated
            | StepStatus::CompensationFailed => false,
        }
    }
}

impl State {
    /// Returns the status, as users see it.
    #[must_use]
    pub fn status(&self) -> Status {
        let by_phase = match self.phase {
            Phase::Completed => return Status::Completed,
            Phase::RolledBack => return Status::RolledBack,
            Phase::Terminated => return Status::Terminated,
            Phase::Queued => Status::Queued,
            Phase::InProgress => Status::InProgress,
            Phase::RollingBack => Status::RollingBack,
        };
        if self.steps.iter().any(|step| step.needs_operator(self.phase)) {
            return Status::Error;
        }
        if self.paused { Status::Paused } else { by_phase }
    }

    /// Returns the state of a step.
    #[must_use]
    pub fn step(&self, index: StepIndex) -> Option<&StepState> {
        self.steps.get(index.at())
    }
}
