//! Events: the entries of a workflow's history.

use crate::{
    Failure, Json, KeyLock, LockScope, Parent, RollbackCause, RulesVersion, Side, Status, StepIndex,
    Timestamp, TraceContext, WorkflowId,
};
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// An entry of a history. It never changes once it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The number of the event, counted from 1 without gaps.
    pub seq: u64,
    /// When the event was decided.
    pub time: Timestamp,
    /// The person who requested the change, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The encrypted payload, in a stored event whose input, output or failure is a placeholder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// The kind of the event and its fields.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The kind of an event and its fields. It is stored as a JSON object with the additional key `type`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventKind {
    /// The start was accepted. This is always the first event, and occurs only once.
    WorkflowStarted {
        /// The id of the workflow.
        id: WorkflowId,
        /// The namespace of the workflow.
        namespace: String,
        /// The name of the definition.
        definition: String,
        /// The version of the definition.
        version: u32,
        /// The rules that the workflow follows.
        #[serde(default, skip_serializing_if = "RulesVersion::is_first")]
        rules: RulesVersion,
        /// The number of steps in the definition.
        steps: u32,
        /// The input of the start.
        input: Arc<Json>,
        /// Labels, by which workflows can be searched.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
        /// When the time limit of the forward part expires.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
        /// The span that started the workflow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<Arc<TraceContext>>,
        /// The step that started the workflow as its child.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<Parent>,
    },
    /// The command to execute a step was issued.
    StepQueued {
        /// The step.
        step: StepIndex,
        /// Whether the step keeps the signals as they are now, because its input refers to them.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        keeps_signals: bool,
    },
    /// The step began to wait for a time or a signal.
    StepWaiting {
        /// The step.
        step: StepIndex,
        /// When the wait ends, or `None` if it has no time limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// Whether the end is a point in time, which a pause does not move.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        is_time: bool,
    },
    /// A signal arrived. It is kept until a step waits for it.
    SignalReceived {
        /// The name of the signal.
        name: String,
        /// The payload.
        payload: Arc<Json>,
        /// The idempotency key, if the sender chose one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// A kept signal was delivered to a step, which completes with it.
    SignalDelivered {
        /// The step.
        step: StepIndex,
        /// The name of the signal.
        name: String,
    },
    /// A branch was not taken, or an operator skipped the step.
    StepSkipped {
        /// The step.
        step: StepIndex,
        /// The cause: `CONDITION`, `DEPENDENCIES`, `OPERATOR`, or `ABANDONED` if the workflow rolls back and its child
        /// continues.
        why: String,
        /// The reason that an operator stated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The time until which an attempt that may be in flight can take effect.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        doubt_until: Option<Timestamp>,
    },
    /// An attempt started. This is written only for an attempt that takes longer than the start grace.
    AttemptStarted {
        /// The step.
        step: StepIndex,
        /// The side of the step.
        side: Side,
        /// The number of the attempt, counted from 1.
        attempt: u32,
        /// When the attempt started.
        started_at: Timestamp,
        /// When the attempt times out.
        deadline: Timestamp,
        /// The executor that runs the attempt.
        executor: String,
        /// The span of the attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<Arc<TraceContext>>,
    },
    /// The child workflow of a step was started.
    ChildStarted {
        /// The step.
        step: StepIndex,
        /// The number of the attempt, counted from 1. Each attempt has a child of its own.
        attempt: u32,
        /// The id of the child.
        child: WorkflowId,
    },
    /// An attempt did not succeed, and another one follows.
    AttemptFailed {
        /// The step.
        step: StepIndex,
        /// The side of the step.
        side: Side,
        /// The number of the attempt, counted from 1.
        attempt: u32,
        /// When the attempt started, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// The failure.
        failure: Failure,
        /// The time until which the attempt can take effect, if its outcome is unknown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        doubt_until: Option<Timestamp>,
        /// When the next attempt is due.
        retry_at: Timestamp,
        /// Whether the command was not sent because the executor lacked a resource of its own or was suspended. Such
        /// an attempt does not count against the limit.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        not_sent: bool,
    },
    /// A step completed.
    StepCompleted {
        /// The step.
        step: StepIndex,
        /// The attempt that succeeded.
        attempt: u32,
        /// When that attempt started, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// The output of the participant.
        output: Arc<Json>,
        /// The reason of an operator who supplied the output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The time until which an attempt that may be in flight can take effect.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        doubt_until: Option<Timestamp>,
    },
    /// A step ended without an effect.
    StepFailed {
        /// The step.
        step: StepIndex,
        /// The last attempt, or 0 if there was no attempt.
        attempt: u32,
        /// When that attempt started, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// The failure.
        failure: Failure,
        /// The reason of an operator who supplied the result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A step ended, and it is unknown whether it took effect.
    StepUnknown {
        /// The step.
        step: StepIndex,
        /// The last attempt.
        attempt: u32,
        /// When that attempt started, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// The failure.
        failure: Failure,
        /// The time until which the step can take effect.
        doubt_until: Timestamp,
    },
    /// The outcome of an attempt is unknown, and the participant is asked whether the operation happened.
    StepProbing {
        /// The step.
        step: StepIndex,
        /// The last attempt.
        attempt: u32,
        /// When that attempt started, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// The failure.
        failure: Failure,
        /// The time until which an attempt can take effect.
        doubt_until: Timestamp,
        /// The earliest time to ask.
        due_at: Timestamp,
    },
    /// The failure of a step or of its compensation is accepted, as the definition says. The workflow continues.
    FailureTolerated {
        /// The step.
        step: StepIndex,
    },
    /// The condition of a compensation is false, so there is nothing to undo.
    CompensationUnneeded {
        /// The step.
        step: StepIndex,
    },
    /// A command that was never sent was withdrawn, because the workflow rolls back.
    StepWithdrawn {
        /// The step.
        step: StepIndex,
    },
    /// A cancel was requested, or the time limit expired. A pivot in flight must settle before the rollback begins.
    RollbackRequested {
        /// The cause.
        cause: RollbackCause,
        /// The reason, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The pivot completed, so the requested rollback is no longer possible.
    RollbackRefused {
        /// The cause of the requested rollback.
        cause: RollbackCause,
    },
    /// The rollback began.
    RollbackStarted {
        /// The cause.
        cause: RollbackCause,
        /// The step that caused the rollback.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepIndex>,
        /// The reason, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The command to compensate a step was issued.
    CompensationQueued {
        /// The step.
        step: StepIndex,
        /// The earliest time to send the command: an execute of unknown outcome can take effect until then.
        due_at: Timestamp,
        /// Whether the compensation has a limit on its wait or on all its attempts, which counts from `due_at`.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        limited: bool,
    },
    /// A step was compensated.
    StepCompensated {
        /// The step.
        step: StepIndex,
        /// The attempt that succeeded.
        attempt: u32,
        /// When that attempt started, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// The reason of an operator who supplied the result.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A compensation failed, and only an operator can continue it.
    CompensationFailed {
        /// The step.
        step: StepIndex,
        /// The last attempt, or 0 if there was no attempt.
        attempt: u32,
        /// When that attempt started, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_at: Option<Timestamp>,
        /// The failure.
        failure: Failure,
    },
    /// An operator skipped a failed compensation.
    CompensationSkipped {
        /// The step.
        step: StepIndex,
        /// The reason of the operator.
        reason: String,
    },
    /// An operator retried one side of a step.
    StepRetried {
        /// The step.
        step: StepIndex,
        /// The side of the step.
        side: Side,
        /// The reason of the operator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Whether the side is a compensation with a limit, as in `CompensationQueued`.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        limited: bool,
    },
    /// Locks were requested: those of the definition, or that of a step that is ready.
    LocksRequested {
        /// The step, or `None` for the locks of the definition.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepIndex>,
        /// The locks, by ascending key.
        locks: Vec<KeyLock>,
        /// When the locks are released.
        hold: LockScope,
        /// When the wait ends without the locks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
        /// Whether the step keeps the last payload of each signal, as in `StepQueued`.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        keeps_signals: bool,
    },
    /// All locks of a request were acquired. The command of the step is issued.
    LocksAcquired {
        /// The step, or `None` for the locks of the definition.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepIndex>,
        /// The fencing tokens, in the order of the locks.
        tokens: Vec<u64>,
    },
    /// The locks of the definition were not acquired, so no step begins.
    LocksFailed {
        /// The failure.
        failure: Failure,
    },
    /// An operator re-runs the workflow from a step. The effects of the steps are undone first.
    RerunStarted {
        /// The step that the re-run begins with, or `None` for all steps.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepIndex>,
        /// The steps that are executed again.
        steps: Vec<StepIndex>,
        /// The steps among them whose effects stay, as the operator stated.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        keeps: Vec<StepIndex>,
        /// The status of the workflow before.
        from: Status,
        /// The cause of the rollback before, if there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_cause: Option<RollbackCause>,
        /// The reason of the operator.
        reason: String,
    },
    /// The effects of the steps of a re-run are undone. The steps are pending again, in a new generation.
    StepsReset {
        /// When the time limit of the forward part expires.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline: Option<Timestamp>,
    },
    /// An operator migrated the workflow to another version of its definition.
    WorkflowMigrated {
        /// The version that the workflow followed before.
        from: u32,
        /// The version that the workflow follows from now on.
        version: u32,
        /// The number of steps in that version.
        steps: u32,
        /// The reason of the operator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// An operator paused the workflow, so no new command is issued.
    WorkflowPaused {
        /// The reason of the operator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// An operator resumed the workflow.
    WorkflowResumed {
        /// The reason of the operator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The workflow completed.
    WorkflowCompleted {
        /// The output of the workflow.
        output: Arc<Json>,
        /// Why the output could not be computed, although every step completed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// The rollback completed.
    WorkflowRolledBack {},
    /// An operator ended the workflow without a rollback.
    WorkflowTerminated {
        /// The reason of the operator.
        reason: String,
    },
}

impl EventKind {
    /// Returns whether this event gives the workflow a final status. Only a re-run, or the rollback of a completed
    /// workflow, can follow it, see [`reopens`](Self::reopens).
    #[must_use]
    pub fn ends(&self) -> bool {
        matches!(
            self,
            Self::WorkflowCompleted { .. } | Self::WorkflowRolledBack {} | Self::WorkflowTerminated { .. }
        )
    }

    /// Returns whether this event begins the re-run of a workflow that had ended, or the rollback of a completed
    /// workflow, given that the workflow had completed. In the first transition of a workflow, the same event withdraws a
    /// child.
    #[must_use]
    pub fn reopens(&self) -> bool {
        if let Self::RerunStarted { from, .. } = self {
            return from.is_final();
        }
        matches!(
            self,
            Self::RollbackStarted { cause: RollbackCause::Operator | RollbackCause::Parent, step: None, .. }
        )
    }

    /// Returns the step that the event concerns.
    #[must_use]
    pub fn step(&self) -> Option<StepIndex> {
        match self {
            Self::StepQueued { step, .. }
            | Self::StepWaiting { step, .. }
            | Self::SignalDelivered { step, .. }
            | Self::StepProbing { step, .. }
            | Self::FailureTolerated { step }
            | Self::CompensationUnneeded { step }
            | Self::StepSkipped { step, .. }
            | Self::AttemptStarted { step, .. }
            | Self::ChildStarted { step, .. }
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
            Self::RollbackStarted { step, .. }
            | Self::RerunStarted { step, .. }
            | Self::LocksRequested { step, .. }
            | Self::LocksAcquired { step, .. } => *step,
            Self::WorkflowStarted { .. }
            | Self::SignalReceived { .. }
            | Self::RollbackRequested { .. }
            | Self::RollbackRefused { .. }
            | Self::LocksFailed { .. }
            | Self::StepsReset { .. }
            | Self::WorkflowMigrated { .. }
            | Self::WorkflowPaused { .. }
            | Self::WorkflowResumed { .. }
            | Self::WorkflowCompleted { .. }
            | Self::WorkflowRolledBack {}
            | Self::WorkflowTerminated { .. } => None,
        }
    }
}
