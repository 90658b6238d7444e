//! The state of the steps according to a history, computed without the product's own rules, so that a fault in those
//! rules cannot hide itself.

use goconductor_saga::{Event, EventKind, Side, StepIndex};

/// The progress of a step's execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Execution {
    #[default]
    Pending,
    Open,
    Completed,
    Skipped,
    Failed,
    Unknown,
}

/// The progress of a step's compensation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum CompensationProgress {
    #[default]
    No,
    Open,
    Done,
    Failed,
    /// An operator skipped it.
    Skipped,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    pub(super) execution: Execution,
    pub(super) compensation: CompensationProgress,
    /// An operator skipped the step. Steps that depend on it may start.
    pub(super) skipped_by_operator: bool,
    /// The step waits for a time or a signal, and has no effect.
    pub(super) is_wait: bool,
    /// The step started another workflow, which has the effects.
    pub(super) has_child: bool,
    /// The definition accepts the failure of the step, or of its compensation.
    pub(super) tolerated: bool,
    /// There is nothing to undo, by the condition of the compensation.
    pub(super) compensation_unneeded: bool,
    /// An operator supplied the outcome of one side by hand.
    pub(super) by_hand: bool,
    /// The time until which an attempt of unknown outcome may still take effect.
    pub(super) doubt_until: Option<i64>,
    /// The number of ended attempts to execute and to compensate the step.
    pub(super) ended: [u32; 2],
}

impl Step {
    pub(super) fn may_have_happened(&self) -> bool {
        (self.execution == Execution::Completed || self.doubt_until.is_some()) && !self.compensation_unneeded
    }

    pub(super) fn is_undone(&self) -> bool {
        matches!(self.compensation, CompensationProgress::Done | CompensationProgress::Skipped)
            || (self.compensation == CompensationProgress::Failed && self.tolerated)
    }

    pub(super) fn is_settled(&self) -> bool {
        matches!(self.execution, Execution::Completed | Execution::Skipped)
            || (self.tolerated && matches!(self.execution, Execution::Failed | Execution::Unknown))
    }

    fn doubt(&mut self, until: Option<i64>) {
        self.doubt_until = self.doubt_until.max(until);
    }

    fn ended(&mut self, side: Side, attempt: u32) {
        if let Some(ended) = self.ended.get_mut(at(side)) {
            *ended = attempt.max(*ended);
        }
    }

    pub(super) fn attempts_ended(&self, side: Side) -> u32 {
        self.ended.get(at(side)).copied().unwrap_or_default()
    }
}

fn at(side: Side) -> usize {
    match side {
        Side::Execute => 0,
        Side::Compensate => 1,
    }
}

/// The state of a workflow after some of its events.
#[derive(Debug, Clone, Default)]
pub(super) struct Replay {
    pub(super) steps: Vec<Step>,
    /// A rollback began.
    pub(super) rolling: bool,
    /// A rollback was requested and waits for the outcome of the pivot.
    pub(super) pending: bool,
    /// The workflow has ended.
    pub(super) ended: bool,
}

impl Replay {
    pub(super) fn of(steps: usize) -> Self {
        Self { steps: vec![Step::default(); steps], ..Self::default() }
    }

    pub(super) fn step(&self, index: usize) -> Option<&Step> {
        self.steps.get(index)
    }

    pub(super) fn take(&mut self, event: &Event) {
        if let Some(index) = event.kind.step()
            && let Some(step) = self.steps.get_mut(index.at())
        {
            apply_to_step(step, &event.kind);
        }
        match &event.kind {
            EventKind::RollbackRequested { .. } => self.pending = true,
            EventKind::RollbackRefused { .. } => self.pending = false,
            EventKind::RollbackStarted { .. } => {
                self.rolling = true;
                // A completed workflow that is rolled back has not ended.
                self.ended = false;
            }
            EventKind::WorkflowCompleted { .. }
            | EventKind::WorkflowRolledBack {}
            | EventKind::WorkflowTerminated { .. } => self.ended = true,
            EventKind::WorkflowStarted { .. }
            | EventKind::StepQueued { .. }
            | EventKind::StepSkipped { .. }
            | EventKind::AttemptStarted { .. }
            | EventKind::AttemptFailed { .. }
            | EventKind::StepCompleted { .. }
            | EventKind::StepFailed { .. }
            | EventKind::StepUnknown { .. }
            | EventKind::StepWithdrawn { .. }
            | EventKind::CompensationQueued { .. }
            | EventKind::StepCompensated { .. }
            | EventKind::CompensationFailed { .. }
            | EventKind::CompensationSkipped { .. }
            | EventKind::StepRetried { .. }
            | EventKind::StepWaiting { .. }
            | EventKind::ChildStarted { .. }
            | EventKind::SignalReceived { .. }
            | EventKind::SignalDelivered { .. }
            | EventKind::StepProbing { .. }
            | EventKind::FailureTolerated { .. }
            | EventKind::CompensationUnneeded { .. }
            | EventKind::LocksRequested { .. }
            | EventKind::LocksAcquired { .. }
            | EventKind::LocksFailed { .. }
            | EventKind::RerunStarted { .. }
            | EventKind::StepsReset { .. }
            | EventKind::WorkflowMigrated { .. }
            | EventKind::WorkflowPaused { .. }
            | EventKind::WorkflowResumed { .. } => {}
        }
    }
}

fn apply_to_step(step: &mut Step, kind: &EventKind) {
    match kind {
        EventKind::StepQueued { .. } | EventKind::LocksRequested { .. } => step.execution = Execution::Open,
        EventKind::StepWaiting { .. } => {
            step.execution = Execution::Open;
            step.is_wait = true;
        }
        EventKind::StepSkipped { why, doubt_until, .. } => {
            step.execution = Execution::Skipped;
            step.skipped_by_operator = why == "OPERATOR";
            step.by_hand |= step.skipped_by_operator;
            step.doubt(doubt_until.map(|until| until.0));
        }
        EventKind::AttemptFailed { side, attempt, doubt_until, .. } => {
            step.ended(*side, *attempt);
            step.doubt(doubt_until.map(|until| until.0));
        }
        EventKind::StepCompleted { attempt, reason, doubt_until, .. } => {
            step.execution = Execution::Completed;
            step.by_hand |= reason.is_some();
            step.ended(Side::Execute, *attempt);
            step.doubt(doubt_until.map(|until| until.0));
        }
        EventKind::StepFailed { attempt, reason, .. } => {
            step.execution = Execution::Failed;
            step.by_hand |= reason.is_some();
            step.ended(Side::Execute, *attempt);
            step.doubt_until = None;
        }
        EventKind::StepUnknown { attempt, doubt_until, .. } => {
            step.execution = Execution::Unknown;
            step.ended(Side::Execute, *attempt);
            step.doubt(Some(doubt_until.0));
        }
        EventKind::StepWithdrawn { .. } => step.execution = Execution::Pending,
        EventKind::StepProbing { attempt, doubt_until, .. } => {
            step.doubt(Some(doubt_until.0));
            step.ended(Side::Execute, *attempt);
        }
        EventKind::ChildStarted { .. } => step.has_child = true,
        EventKind::FailureTolerated { .. } => step.tolerated = true,
        EventKind::CompensationUnneeded { .. } => step.compensation_unneeded = true,
        EventKind::StepRetried { side: Side::Execute, .. } => step.execution = Execution::Open,
        EventKind::StepRetried { side: Side::Compensate, .. }
        | EventKind::CompensationQueued { .. }
        | EventKind::StepCompensated { .. }
        | EventKind::CompensationFailed { .. }
        | EventKind::CompensationSkipped { .. } => apply_to_compensation(step, kind),
        EventKind::AttemptStarted { .. }
        | EventKind::WorkflowStarted { .. }
        | EventKind::SignalReceived { .. }
        | EventKind::SignalDelivered { .. }
        | EventKind::RollbackRequested { .. }
        | EventKind::RollbackRefused { .. }
        | EventKind::RollbackStarted { .. }
        | EventKind::RerunStarted { .. }
        | EventKind::StepsReset { .. }
        | EventKind::WorkflowMigrated { .. }
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::WorkflowCompleted { .. }
        | EventKind::LocksAcquired { .. }
        | EventKind::LocksFailed { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => {}
    }
}

/// Applies the events of the compensate side, and ignores the others.
fn apply_to_compensation(step: &mut Step, kind: &EventKind) {
    if let EventKind::StepRetried { side: Side::Compensate, .. } | EventKind::CompensationQueued { .. } = kind
    {
        step.tolerated = false;
        step.compensation = CompensationProgress::Open;
    } else if let EventKind::StepCompensated { attempt, reason, .. } = kind {
        step.compensation = CompensationProgress::Done;
        step.by_hand |= reason.is_some();
        step.ended(Side::Compensate, *attempt);
    } else if let EventKind::CompensationFailed { attempt, .. } = kind {
        step.tolerated = false;
        step.compensation = CompensationProgress::Failed;
        step.ended(Side::Compensate, *attempt);
    } else if let EventKind::CompensationSkipped { .. } = kind {
        step.compensation = CompensationProgress::Skipped;
        step.by_hand = true;
    }
}

/// The step, side and attempt of an event about an attempt.
pub(super) fn attempt_of(kind: &EventKind) -> Option<(StepIndex, Side, u32)> {
    match kind {
        EventKind::AttemptStarted { step, side, attempt, .. }
        | EventKind::AttemptFailed { step, side, attempt, .. } => Some((*step, *side, *attempt)),
        EventKind::StepProbing { step, attempt, .. } => Some((*step, Side::Execute, *attempt)),
        EventKind::StepCompleted { step, attempt, .. }
        | EventKind::StepFailed { step, attempt, .. }
        | EventKind::StepUnknown { step, attempt, .. } => Some((*step, Side::Execute, *attempt)),
        EventKind::StepCompensated { step, attempt, .. }
        | EventKind::CompensationFailed { step, attempt, .. } => Some((*step, Side::Compensate, *attempt)),
        EventKind::StepQueued { .. }
        | EventKind::StepSkipped { .. }
        | EventKind::StepWithdrawn { .. }
        | EventKind::CompensationQueued { .. }
        | EventKind::CompensationSkipped { .. }
        | EventKind::StepRetried { .. }
        | EventKind::WorkflowStarted { .. }
        | EventKind::RollbackRequested { .. }
        | EventKind::RollbackRefused { .. }
        | EventKind::RollbackStarted { .. }
        | EventKind::StepWaiting { .. }
        | EventKind::ChildStarted { .. }
        | EventKind::SignalReceived { .. }
        | EventKind::SignalDelivered { .. }
        | EventKind::FailureTolerated { .. }
        | EventKind::CompensationUnneeded { .. }
        | EventKind::RerunStarted { .. }
        | EventKind::StepsReset { .. }
        | EventKind::WorkflowMigrated { .. }
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::WorkflowCompleted { .. }
        | EventKind::LocksRequested { .. }
        | EventKind::LocksAcquired { .. }
        | EventKind::LocksFailed { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => None,
    }
}
