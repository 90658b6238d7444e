//! What a history says of its steps, told again without the product's own rules: a fault in those must not
//! hide itself.

use goconductor_saga::{Event, EventKind, Side, StepIndex};

/// How far doing a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Forward {
    #[default]
    Pending,
    Open,
    Completed,
    Skipped,
    Failed,
    Unknown,
}

/// How far undoing a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Undo {
    #[default]
    No,
    Open,
    Done,
    Failed,
    /// An operator let it be.
    Waived,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Step {
    pub(super) forward: Forward,
    pub(super) undo: Undo,
    /// An operator skipped it: what waits for it goes on.
    pub(super) waived: bool,
    /// An operator said by hand how one of its sides ended.
    pub(super) by_hand: bool,
    /// An attempt ended unknown; until then it may still take effect.
    pub(super) doubt_until: Option<i64>,
    /// The attempts that ended, to do it and to undo it.
    pub(super) ended: [u32; 2],
}

impl Step {
    pub(super) fn may_have_happened(&self) -> bool {
        self.forward == Forward::Completed || self.doubt_until.is_some()
    }

    pub(super) fn is_undone(&self) -> bool {
        matches!(self.undo, Undo::Done | Undo::Waived)
    }

    pub(super) fn is_settled(&self) -> bool {
        matches!(self.forward, Forward::Completed | Forward::Skipped)
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

/// A workflow as its events up to some point leave it.
#[derive(Debug, Clone, Default)]
pub(super) struct Replay {
    pub(super) steps: Vec<Step>,
    /// A roll-back began.
    pub(super) rolling: bool,
    /// A roll-back is asked for, and waits for the pivot's answer.
    pub(super) pending: bool,
    /// Nothing may follow.
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
            take_step(step, &event.kind);
        }
        match &event.kind {
            EventKind::RollbackRequested { .. } => self.pending = true,
            EventKind::RollbackRefused { .. } => self.pending = false,
            EventKind::RollbackStarted { .. } => self.rolling = true,
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
            | EventKind::WorkflowPaused { .. }
            | EventKind::WorkflowResumed { .. } => {}
        }
    }
}

fn take_step(step: &mut Step, kind: &EventKind) {
    match kind {
        EventKind::StepQueued { .. } => step.forward = Forward::Open,
        EventKind::StepSkipped { why, doubt_until, .. } => {
            step.forward = Forward::Skipped;
            step.waived = why == "OPERATOR";
            step.by_hand |= step.waived;
            step.doubt(doubt_until.map(|until| until.0));
        }
        EventKind::AttemptFailed { side, attempt, doubt_until, .. } => {
            step.ended(*side, *attempt);
            step.doubt(doubt_until.map(|until| until.0));
        }
        EventKind::StepCompleted { attempt, reason, doubt_until, .. } => {
            step.forward = Forward::Completed;
            step.by_hand |= reason.is_some();
            step.ended(Side::Execute, *attempt);
            step.doubt(doubt_until.map(|until| until.0));
        }
        EventKind::StepFailed { attempt, reason, .. } => {
            step.forward = Forward::Failed;
            step.by_hand |= reason.is_some();
            step.ended(Side::Execute, *attempt);
            step.doubt_until = None;
        }
        EventKind::StepUnknown { attempt, doubt_until, .. } => {
            step.forward = Forward::Unknown;
            step.ended(Side::Execute, *attempt);
            step.doubt(Some(doubt_until.0));
        }
        EventKind::StepWithdrawn { .. } => step.forward = Forward::Pending,
        EventKind::StepRetried { side: Side::Execute, .. } => step.forward = Forward::Open,
        EventKind::StepRetried { side: Side::Compensate, .. } | EventKind::CompensationQueued { .. } => {
            step.undo = Undo::Open;
        }
        EventKind::StepCompensated { attempt, reason, .. } => {
            step.undo = Undo::Done;
            step.by_hand |= reason.is_some();
            step.ended(Side::Compensate, *attempt);
        }
        EventKind::CompensationFailed { attempt, .. } => {
            step.undo = Undo::Failed;
            step.ended(Side::Compensate, *attempt);
        }
        EventKind::CompensationSkipped { .. } => {
            step.undo = Undo::Waived;
            step.by_hand = true;
        }
        EventKind::AttemptStarted { .. }
        | EventKind::WorkflowStarted { .. }
        | EventKind::RollbackRequested { .. }
        | EventKind::RollbackRefused { .. }
        | EventKind::RollbackStarted { .. }
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::WorkflowCompleted { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => {}
    }
}

/// The side of a step that an event is about, if it is about an attempt at it.
pub(super) fn attempt_of(kind: &EventKind) -> Option<(StepIndex, Side, u32)> {
    match kind {
        EventKind::AttemptStarted { step, side, attempt, .. }
        | EventKind::AttemptFailed { step, side, attempt, .. } => Some((*step, *side, *attempt)),
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
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::WorkflowCompleted { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => None,
    }
}
