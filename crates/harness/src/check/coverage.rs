//! The faults that a run exhibited. A run without faults meets every guarantee and proves nothing.

use super::effects::late;
use super::evidence::{Case, Clocks, Evidence};
use super::is_final;
use super::run::{EffectKind, Run};
use goconductor_saga::{EventKind, Side, StepIndex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The share of workflows that must end, in percent.
const ENDED_PERCENT: u64 = 99;

/// The number of occurrences of each kind of fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Workflows.
    pub workflows: u64,
    /// Workflows that ended.
    pub ended: u64,
    /// Workflows that completed.
    pub completed: u64,
    /// Workflows that began a rollback.
    pub rollbacks: u64,
    /// Rollbacks that a client requested.
    pub cancels: u64,
    /// Attempts that were followed by another attempt.
    pub retries: u64,
    /// Attempts of unknown outcome.
    pub unknowns: u64,
    /// Attempts whose executor ended or lost them.
    pub lost: u64,
    /// Lost attempts that another executor took over.
    pub takeovers: u64,
    /// Requests that a participant recognised as duplicates.
    pub duplicates: u64,
    /// Requests that a participant refused.
    pub refused: u64,
    /// Requests that arrived or were answered after the engine had given up their attempt.
    pub late: u64,
    /// Compensates without a preceding execute.
    pub null_compensations: u64,
    /// Executes that a participant refused because their compensate had arrived first.
    pub zombies_at_participants: u64,
    /// Refused writes of stale holders.
    pub refused_writes: u64,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// [`Coverage::rollbacks`]
    Rollback,
    /// [`Coverage::cancels`]
    Cancel,
    /// [`Coverage::retries`]
    Retry,
    /// [`Coverage::unknowns`]
    Unknown,
    /// [`Coverage::lost`]
    LostAttempt,
    /// [`Coverage::takeovers`]
    Takeover,
    /// [`Coverage::duplicates`]
    Duplicate,
    /// [`Coverage::refused`]
    Refused,
    /// [`Coverage::late`]
    Late,
    /// [`Coverage::null_compensations`]
    NullCompensation,
    /// [`Coverage::zombies_at_participants`] or [`Coverage::refused_writes`]
    Zombie,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Rollback,
        Self::Cancel,
        Self::Retry,
        Self::Unknown,
        Self::LostAttempt,
        Self::Takeover,
        Self::Duplicate,
        Self::Refused,
        Self::Late,
        Self::NullCompensation,
        Self::Zombie,
    ];
}

impl Coverage {
    /// Counts the faults of a run.
    #[must_use]
    pub fn of(run: &Run, clocks: Clocks) -> Self {
        let evidence = Evidence::new(run, clocks);
        let mut coverage = Self { refused_writes: run.refused_writes, ..Self::default() };
        for case in evidence.cases.values() {
            coverage.count(&evidence, case);
        }
        coverage
    }

    /// The number of occurrences of a fault.
    #[must_use]
    pub fn seen(&self, fault: Fault) -> u64 {
        match fault {
            Fault::Rollback => self.rollbacks,
            Fault::Cancel => self.cancels,
            Fault::Retry => self.retries,
            Fault::Unknown => self.unknowns,
            Fault::LostAttempt => self.lost,
            Fault::Takeover => self.takeovers,
            Fault::Duplicate => self.duplicates,
            Fault::Refused => self.refused,
            Fault::Late => self.late,
            Fault::NullCompensation => self.null_compensations,
            Fault::Zombie => self.zombies_at_participants.saturating_add(self.refused_writes),
        }
    }

    /// Returns the deficiencies of the run: wanted faults without an effect, and too few ended workflows.
    #[must_use]
    pub fn deficiencies(&self, wanted: &[Fault]) -> Vec<String> {
        let mut deficiencies = Vec::new();
        if self.workflows == 0 {
            deficiencies.push("the run has no workflow and proves nothing".to_owned());
        }
        if self.ended.saturating_mul(100) < self.workflows.saturating_mul(ENDED_PERCENT) {
            let Self { ended, workflows, .. } = self;
            deficiencies
                .push(format!("{ended} of {workflows} workflows ended; {ENDED_PERCENT} % are required"));
        }
        for fault in wanted.iter().filter(|fault| self.seen(**fault) == 0) {
            deficiencies.push(format!("{fault:?} was wanted but did not occur"));
        }
        deficiencies
    }

    fn count(&mut self, evidence: &Evidence<'_>, case: &Case<'_>) {
        let status = case.history.view.status.as_str();
        self.workflows += 1;
        self.ended += u64::from(is_final(status));
        self.completed += u64::from(status == "COMPLETED");
        self.rollbacks += u64::from(case.after.rolling);
        self.late += late(evidence, case);
        self.count_events(case);
        for seen in case.own() {
            match seen.effect.effect {
                Some(EffectKind::Duplicate) => self.duplicates += 1,
                Some(EffectKind::Null) => self.null_compensations += 1,
                Some(EffectKind::Refused) => {
                    self.refused += 1;
                    let came_after = |undo: &&super::evidence::Seen<'_>| {
                        undo.instance == seen.instance
                            && undo.undone()
                            && evidence.before(undo.effect, seen.effect)
                    };
                    let zombie = seen.side == Side::Execute && case.seen.iter().any(|undo| came_after(&undo));
                    self.zombies_at_participants += u64::from(zombie);
                }
                Some(EffectKind::Applied) | None => {}
            }
        }
    }

    fn count_events(&mut self, case: &Case<'_>) {
        // The executor of each open attempt, and the executor of each lost attempt that awaits its successor.
        let mut open: BTreeMap<(StepIndex, Side), &str> = BTreeMap::new();
        let mut losers: BTreeMap<(StepIndex, Side), &str> = BTreeMap::new();
        for event in &case.events {
            match &event.kind {
                EventKind::RollbackRequested { .. } => self.cancels += 1,
                EventKind::AttemptStarted { step, side, executor, .. } => {
                    open.insert((*step, *side), executor);
                    let loser = losers.remove(&(*step, *side));
                    self.takeovers += u64::from(loser.is_some_and(|loser| loser != executor));
                }
                EventKind::AttemptFailed { step, side, failure, doubt_until, .. } => {
                    self.retries += 1;
                    self.unknowns += u64::from(doubt_until.is_some());
                    let was = open.remove(&(*step, *side));
                    if failure.code == LOST {
                        self.lost += 1;
                        losers.extend(was.map(|was| ((*step, *side), was)));
                    }
                }
                EventKind::StepUnknown { failure, .. } => {
                    self.unknowns += 1;
                    self.lost += u64::from(failure.code == LOST);
                }
                EventKind::WorkflowStarted { .. }
                | EventKind::StepQueued { .. }
                | EventKind::StepSkipped { .. }
                | EventKind::StepCompleted { .. }
                | EventKind::StepFailed { .. }
                | EventKind::StepWithdrawn { .. }
                | EventKind::RollbackRefused { .. }
                | EventKind::RollbackStarted { .. }
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
                | EventKind::WorkflowTerminated { .. } => {}
            }
        }
    }
}

/// The code of an attempt whose executor ended or lost it.
const LOST: &str = "ATTEMPT_LOST";
