//! What a run has met: one in which nothing happened holds every promise.

use super::effects::late;
use super::evidence::{Case, Clocks, Evidence};
use super::is_final;
use super::run::{Run, Took};
use goconductor_saga::{EventKind, Side, StepIndex};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of so many workflows in a hundred, at least, the end is demanded.
const ENDED_PERCENT: u64 = 99;

/// How often a run met what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Workflows.
    pub workflows: u64,
    /// Those that ended.
    pub ended: u64,
    /// Those that ended by being completed.
    pub completed: u64,
    /// Those in which a roll-back began.
    pub roll_backs: u64,
    /// Roll-backs that were asked for by somebody.
    pub cancels: u64,
    /// Attempts that were followed by another.
    pub retries: u64,
    /// Ends of attempts that nobody could tell.
    pub unknowns: u64,
    /// Attempts that were lost with their executor, or by it.
    pub lost: u64,
    /// Lost attempts after which another executor than the one on record had the work done.
    pub take_overs: u64,
    /// Requests that a participant recognised as repeats.
    pub duplicates: u64,
    /// Requests that a participant refused.
    pub refused: u64,
    /// Requests that reached a participant, or were answered by it, when their attempt had been given up.
    pub late: u64,
    /// Compensates that found nothing to undo.
    pub null_compensations: u64,
    /// Executes that a participant refused as their compensate had come before them.
    pub zombies_at_participants: u64,
    /// Writes of those who had been replaced that were refused.
    pub refused_writes: u64,
}

/// Something that a run is made to meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// [`Coverage::roll_backs`]
    RollBack,
    /// [`Coverage::cancels`]
    Cancel,
    /// [`Coverage::retries`]
    Retry,
    /// [`Coverage::unknowns`]
    Unknown,
    /// [`Coverage::lost`]
    LostAttempt,
    /// [`Coverage::take_overs`]
    TakeOver,
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
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::RollBack,
        Self::Cancel,
        Self::Retry,
        Self::Unknown,
        Self::LostAttempt,
        Self::TakeOver,
        Self::Duplicate,
        Self::Refused,
        Self::Late,
        Self::NullCompensation,
        Self::Zombie,
    ];
}

impl Coverage {
    /// What a run has met.
    #[must_use]
    pub fn of(run: &Run, clocks: Clocks) -> Self {
        let evidence = Evidence::new(run, clocks);
        let mut coverage = Self { refused_writes: run.refused_writes, ..Self::default() };
        for case in evidence.cases.values() {
            coverage.count(&evidence, case);
        }
        coverage
    }

    /// How often a fault was met.
    #[must_use]
    pub fn seen(&self, fault: Fault) -> u64 {
        match fault {
            Fault::RollBack => self.roll_backs,
            Fault::Cancel => self.cancels,
            Fault::Retry => self.retries,
            Fault::Unknown => self.unknowns,
            Fault::LostAttempt => self.lost,
            Fault::TakeOver => self.take_overs,
            Fault::Duplicate => self.duplicates,
            Fault::Refused => self.refused,
            Fault::Late => self.late,
            Fault::NullCompensation => self.null_compensations,
            Fault::Zombie => self.zombies_at_participants.saturating_add(self.refused_writes),
        }
    }

    /// What a run lacks to prove anything: a fault that showed no effect, workflows that did not end.
    #[must_use]
    pub fn demand(&self, wanted: &[Fault]) -> Vec<String> {
        let mut lacks = Vec::new();
        if self.workflows == 0 {
            lacks.push("there is no workflow: the run proves nothing".to_owned());
        }
        if self.ended.saturating_mul(100) < self.workflows.saturating_mul(ENDED_PERCENT) {
            let Self { ended, workflows, .. } = self;
            lacks.push(format!("{ended} of {workflows} workflows ended, {ENDED_PERCENT} % are demanded"));
        }
        for fault in wanted.iter().filter(|fault| self.seen(**fault) == 0) {
            lacks.push(format!("{fault:?} was wanted and never met: the run proves nothing about it"));
        }
        lacks
    }

    fn count(&mut self, evidence: &Evidence<'_>, case: &Case<'_>) {
        let status = case.history.view.status.as_str();
        self.workflows += 1;
        self.ended += u64::from(is_final(status));
        self.completed += u64::from(status == "COMPLETED");
        self.roll_backs += u64::from(case.after.rolling);
        self.late += late(evidence, case);
        self.count_events(case);
        for seen in &case.seen {
            match seen.effect.effect {
                Some(Took::Duplicate) => self.duplicates += 1,
                Some(Took::Null) => self.null_compensations += 1,
                Some(Took::Refused) => {
                    self.refused += 1;
                    let came_after = |undo: &&super::evidence::Seen<'_>| {
                        undo.instance == seen.instance
                            && undo.undone()
                            && evidence.before(undo.effect, seen.effect)
                    };
                    let zombie = seen.side == Side::Execute && case.seen.iter().any(|undo| came_after(&undo));
                    self.zombies_at_participants += u64::from(zombie);
                }
                Some(Took::Applied) | None => {}
            }
        }
    }

    fn count_events(&mut self, case: &Case<'_>) {
        // Who is on record for the attempt that is open, and who lost one and awaits who comes next.
        let mut open: BTreeMap<(StepIndex, Side), &str> = BTreeMap::new();
        let mut losers: BTreeMap<(StepIndex, Side), &str> = BTreeMap::new();
        for event in &case.events {
            match &event.kind {
                EventKind::RollbackRequested { .. } => self.cancels += 1,
                EventKind::AttemptStarted { step, side, executor, .. } => {
                    open.insert((*step, *side), executor);
                    let loser = losers.remove(&(*step, *side));
                    self.take_overs += u64::from(loser.is_some_and(|loser| loser != executor));
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
                | EventKind::WorkflowPaused { .. }
                | EventKind::WorkflowResumed { .. }
                | EventKind::WorkflowCompleted { .. }
                | EventKind::WorkflowRolledBack {}
                | EventKind::WorkflowTerminated { .. } => {}
            }
        }
    }
}

/// The code of an attempt whose executor is gone, or lost it.
const LOST: &str = "ATTEMPT_LOST";
