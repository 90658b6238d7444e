//! The state of a workflow: the fold of [`crate::evolve`] over its history.

use crate::{Json, RollbackCause, Side, StepIndex, Timestamp, WorkflowId};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The format that states are stored in; raised when an older reader could not read a newer one.
pub const STATE_FORMAT: u16 = 1;

/// A workflow as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// [`STATE_FORMAT`] when it was written.
    pub format: u16,
    /// The workflow.
    pub id: WorkflowId,
    /// Where it lives.
    pub namespace: String,
    /// The definition's name.
    pub definition: String,
    /// The definition's version: the one that it started with.
    pub version: u32,
    /// The number of its last event.
    pub seq: u64,
    /// How far it is.
    pub phase: Phase,
    /// Whether an operator holds it.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub paused: bool,
    /// Why the roll-back began, or will begin once the pivot's answer is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<RollbackCause>,
    /// A cancel, or the end of its time, that waits for the pivot's answer.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub rollback_pending: bool,
    /// What it was started with.
    pub input: Arc<Json>,
    /// Its result.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub output: Option<Arc<Json>>,
    /// What went wrong first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// To find it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When its start was accepted.
    pub created_at: Timestamp,
    /// When it became final.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// When the time of its forward part is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// One for each step of the definition, in its order.
    pub steps: Vec<StepState>,
}

/// A value that is there, be it null: an answer of null is an answer.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// How far a workflow is, apart from what holds it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Accepted; no step has begun.
    Queued,
    /// Forward.
    InProgress,
    /// Undoing.
    RollingBack,
    /// All done.
    Completed,
    /// All undone.
    RolledBack,
    /// Ended by an operator who wanted no roll-back.
    Terminated,
}

impl Phase {
    /// Whether nothing can follow.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::RolledBack | Self::Terminated => true,
            Self::Queued | Self::InProgress | Self::RollingBack => false,
        }
    }

    /// Whether steps may be begun.
    #[must_use]
    pub fn is_forward(self) -> bool {
        match self {
            Self::Queued | Self::InProgress => true,
            Self::RollingBack | Self::Completed | Self::RolledBack | Self::Terminated => false,
        }
    }
}

/// A workflow's status as the world sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Accepted; no step has begun.
    Queued,
    /// Forward.
    InProgress,
    /// Undoing.
    RollingBack,
    /// An operator holds it.
    Paused,
    /// Only an operator can help.
    Error,
    /// All done.
    Completed,
    /// All undone.
    RolledBack,
    /// Ended by an operator who wanted no roll-back.
    Terminated,
}

impl Status {
    /// Every status.
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

    /// As the API writes it.
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

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::RolledBack | Self::Terminated => true,
            Self::Queued | Self::InProgress | Self::RollingBack | Self::Paused | Self::Error => false,
        }
    }
}

/// A step's status as the world sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StepStatus {
    /// Waits for others.
    #[default]
    Pending,
    /// Its command is issued.
    Queued,
    /// An attempt is on record as started.
    InProgress,
    /// Between attempts.
    Retrying,
    /// Done.
    Completed,
    /// Not done, and every attempt said so.
    Failed,
    /// Nobody could say whether it was done.
    Unknown,
    /// A branch not taken.
    Skipped,
    /// The command to undo it is issued.
    CompensationQueued,
    /// An attempt to undo it is on record as started.
    Compensating,
    /// Between attempts to undo it.
    CompensationRetrying,
    /// Undone.
    Compensated,
    /// Not undone: an operator has to help.
    CompensationFailed,
}

impl StepStatus {
    /// As the API writes it.
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

    /// Whether a command is out, or will be out after a delay.
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

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The participant's own code, or one of ours: `TIMED_OUT`, `CONNECTION_BROKEN`, …
    pub code: String,
    /// For people.
    pub message: String,
    /// Whatever else the participant said.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub detail: Option<Json>,
}

/// A step of a workflow as it stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepState {
    /// The status of its execute side.
    #[serde(rename = "forward")]
    pub execution: StepStatus,
    /// The status of its compensate side, once that is issued.
    #[serde(rename = "undo", default, skip_serializing_if = "Option::is_none")]
    pub compensation: Option<StepStatus>,
    /// The attempts to do it.
    #[serde(default, skip_serializing_if = "Progress::is_untouched")]
    pub execute: Progress,
    /// The attempts to undo it.
    #[serde(default, skip_serializing_if = "Progress::is_untouched")]
    pub compensate: Progress,
    /// What it answered.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub output: Option<Arc<Json>>,
    /// Its last failure, of either side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// An attempt ended unknown; until this time it may still take effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt_until: Option<Timestamp>,
    /// An operator skipped it: those who wait for it go on, and an undo that failed is let be.
    #[serde(rename = "waived", default, skip_serializing_if = "core::ops::Not::not")]
    pub skipped_by_operator: bool,
}

/// The attempts at one side of a step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Attempts that ended, or were lost.
    pub ended: u32,
    /// Attempts that no longer count against the limit, because an operator's retry reset it.
    #[serde(rename = "forgiven", default, skip_serializing_if = "is_zero")]
    pub reset_attempts: u32,
    /// When its first command was issued, or an operator had it tried again: its limits count from then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_at: Option<Timestamp>,
    /// When its first attempt started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it was settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// When its open command is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// The attempt that is on record as started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
}

/// An attempt that is on record as started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// When it started.
    pub started_at: Timestamp,
    /// When its time is up.
    pub deadline: Timestamp,
    /// Who runs it.
    pub executor: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference to the field")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Progress {
    fn is_untouched(&self) -> bool {
        *self == Self::default()
    }

    /// The attempt that is open, or comes next; from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.ended.saturating_add(1)
    }

    /// Attempts that began, as far as is known.
    #[must_use]
    pub fn begun(&self) -> u32 {
        self.ended.saturating_add(u32::from(self.running.is_some()))
    }

    /// Attempts that count against the limit.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.ended.saturating_sub(self.reset_attempts)
    }
}

impl StepState {
    /// The step's status: that of its compensate side once there is one.
    #[must_use]
    pub fn status(&self) -> StepStatus {
        self.compensation.unwrap_or(self.execution)
    }

    /// The status of one side; none: never issued.
    #[must_use]
    pub fn side_status(&self, side: Side) -> Option<StepStatus> {
        match side {
            Side::Execute => Some(self.execution),
            Side::Compensate => self.compensation,
        }
    }

    /// The attempts at one side.
    #[must_use]
    pub fn progress(&self, side: Side) -> &Progress {
        match side {
            Side::Execute => &self.execute,
            Side::Compensate => &self.compensate,
        }
    }

    /// The attempts at one side, to change.
    pub(crate) fn progress_mut(&mut self, side: Side) -> &mut Progress {
        match side {
            Side::Execute => &mut self.execute,
            Side::Compensate => &mut self.compensate,
        }
    }

    /// Whether it may have had an effect: it completed, or any attempt of it ended unknown.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        self.execution == StepStatus::Completed || self.doubt_until.is_some()
    }

    /// Whether its undo is settled, or was let be by an operator.
    #[must_use]
    pub fn is_undone(&self) -> bool {
        self.compensation == Some(StepStatus::Compensated)
            || (self.compensation == Some(StepStatus::CompensationFailed) && self.skipped_by_operator)
    }

    /// Whether only an operator can help it, in this phase.
    #[must_use]
    pub fn needs_operator(&self, phase: Phase) -> bool {
        if phase.is_forward() {
            return matches!(self.execution, StepStatus::Failed | StepStatus::Unknown);
        }
        phase == Phase::RollingBack
            && self.compensation == Some(StepStatus::CompensationFailed)
            && !self.skipped_by_operator
    }
}

impl State {
    /// The status as the world sees it.
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

    /// A step.
    #[must_use]
    pub fn step(&self, index: StepIndex) -> Option<&StepState> {
        self.steps.get(index.at())
    }
}
