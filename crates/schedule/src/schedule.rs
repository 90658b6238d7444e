//! The stored state of a schedule, and what to do with it.

use crate::overlap::{Overlap, OverlapDecision, decide};
use crate::spec::{Spec, SpecError};
use crate::timing::Timing;
use serde::{Deserialize, Serialize};

/// Number of the newest workflows that a schedule keeps: of those that were due, among which overlaps are recognized, and
/// of those that were triggered or backfilled.
pub const MAX_RECENT: usize = 10;
/// Maximum number of due times that one call of [`Schedule::next`] settles without an action.
const MAX_SETTLED: u32 = 10_000;
/// How often the end of a running workflow is looked for while a due time waits for it, in microseconds.
const BUFFER_POLL: i64 = 500_000;

/// A schedule. All times are microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The definition and the due times.
    pub spec: Spec,
    /// Whether a request or a definition created it.
    #[serde(default, skip_serializing_if = "ScheduleOrigin::is_api")]
    pub origin: ScheduleOrigin,
    /// Rises by one with each change by a user.
    pub generation: u64,
    /// When it was created.
    pub created_at: i64,
    /// When a user last changed it.
    pub updated_at: i64,
    /// The user who last changed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Set while it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
    /// The progress.
    pub progress: ScheduleProgress,
}

/// The origin of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleOrigin {
    /// A request.
    #[default]
    Api,
    /// The key `schedule` of a definition.
    Definition,
}

impl ScheduleOrigin {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    const fn is_api(&self) -> bool {
        matches!(self, Self::Api)
    }

    /// Returns the name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Definition => "definition",
        }
    }
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// The reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// When it began.
    pub since: i64,
    /// Whether the definition was archived. Applying it again ends the pause.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_archive: bool,
}

/// The progress of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScheduleProgress {
    /// The due times up to this time are settled.
    pub settled_until: i64,
    /// The newest due time whose workflow was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_due: Option<i64>,
    /// A due time that waits for the end of a running workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffered: Option<i64>,
    /// The backfill in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Backfill>,
    /// The newest workflows, newest first: at most [`MAX_RECENT`] that were due, and as many others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<ScheduledRun>,
    /// Number of started workflows.
    #[serde(default)]
    pub started: u64,
    /// Number of due times that were skipped because of an overlap.
    #[serde(default)]
    pub skipped: u64,
    /// Number of due times that were older than the catch-up window when they were found.
    #[serde(default)]
    pub missed: u64,
    /// Number of due times whose start was refused.
    #[serde(default)]
    pub failed: u64,
    /// The last refused start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<StartFailure>,
}

/// A range of past due times to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// The due times up to this time are started.
    pub done_until: i64,
    /// The end of the range.
    pub until: i64,
}

/// Why a workflow was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// It was due.
    Due,
    /// It was due, and waited for the end of another workflow.
    Buffered,
    /// A backfill.
    Backfill,
    /// A user triggered it.
    Trigger,
}

impl RunKind {
    /// Returns the name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Buffered => "buffered",
            Self::Backfill => "backfill",
            Self::Trigger => "trigger",
        }
    }

    /// Returns whether the workflow was due. The overlap policy is about these workflows only.
    #[must_use]
    pub const fn is_due(self) -> bool {
        match self {
            Self::Due | Self::Buffered => true,
            Self::Backfill | Self::Trigger => false,
        }
    }
}

/// A workflow of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledRun {
    /// The id of the workflow.
    pub workflow: String,
    /// The due time, or the time of the trigger.
    pub due: i64,
    /// Why it was started.
    pub kind: RunKind,
}

/// A start that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// The due time.
    pub due: i64,
    /// The reason.
    pub reason: String,
}

/// Something that the caller must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScheduleAction {
    /// Start a workflow, and report it with [`Schedule::started`] or [`Schedule::failed`].
    Start {
        /// The due time.
        due: i64,
        /// Why it is started.
        kind: RunKind,
    },
    /// Cancel the running workflows, and report it with [`Schedule::cancelled`].
    Cancel {
        /// The due time that starts after their end.
        due: i64,
    },
}

impl Schedule {
    /// Creates a schedule. Its first due time is after `now`.
    #[must_use]
    pub fn new(spec: Spec, origin: ScheduleOrigin, actor: Option<String>, now: i64) -> Self {
        Self {
            spec,
            origin,
            generation: 1,
            created_at: now,
            updated_at: now,
            actor,
            pause: None,
            progress: ScheduleProgress { settled_until: now, ..ScheduleProgress::default() },
        }
    }

    /// Replaces the specification. If the due times change, those before `now` are settled.
    pub fn replace(&mut self, spec: Spec, origin: ScheduleOrigin, actor: Option<String>, now: i64) {
        if spec.timing != self.spec.timing {
            self.settle_until(now);
        }
        (self.spec, self.origin) = (spec, origin);
        self.changed(actor, now);
    }

    /// Pauses the schedule. The reason of a paused schedule is replaced.
    pub fn pause(&mut self, pause: Pause, now: i64) {
        let actor = pause.actor.clone();
        self.pause = Some(pause);
        self.changed(actor, now);
    }

    /// Ends a pause. Due times during the pause are skipped. Returns whether it was paused.
    pub fn resume(&mut self, actor: Option<String>, now: i64) -> bool {
        if self.pause.take().is_none() {
            return false;
        }
        self.settle_until(now);
        self.changed(actor, now);
        true
    }

    fn settle_until(&mut self, now: i64) {
        self.progress.settled_until = self.progress.settled_until.max(now);
        self.progress.buffered = None;
    }

    fn changed(&mut self, actor: Option<String>, now: i64) {
        self.generation = self.generation.saturating_add(1);
        (self.actor, self.updated_at) = (actor, now);
    }

    /// Returns the due times of the schedule.
    ///
    /// # Errors
    /// Returns a [`SpecError`] if the time zone is no longer known.
    pub fn timing(&self) -> Result<Timing, SpecError> {
        self.spec.timing.timing()
    }

    /// Returns what must be done now. `is_running` is whether one of [`due_runs`](Self::due_runs) is running. Due times
    /// that need no action are settled.
    pub fn next(&mut self, timing: &Timing, now: i64, is_running: bool) -> Option<ScheduleAction> {
        if self.pause.is_some() {
            return None;
        }
        let overlap = self.spec.overlap;
        if let Some(due) = self.progress.buffered.filter(|_| !is_running || overlap == Overlap::Allow) {
            return Some(ScheduleAction::Start { due, kind: RunKind::Buffered });
        }
        self.miss(timing, now);
        for _ in 0..MAX_SETTLED {
            let Some(due) = timing.next_after(self.progress.settled_until).filter(|due| *due <= now) else {
                return self.next_of_backfill(timing);
            };
            match decide(overlap, is_running, self.progress.buffered.is_some()) {
                OverlapDecision::Start => return Some(ScheduleAction::Start { due, kind: RunKind::Due }),
                OverlapDecision::Cancel => return Some(ScheduleAction::Cancel { due }),
                OverlapDecision::Skip => self.progress.skipped += 1,
                OverlapDecision::Buffer => self.progress.buffered = Some(due),
            }
            self.progress.settled_until = due;
        }
        None
    }

    /// Settles the due times that are older than the catch-up window.
    fn miss(&mut self, timing: &Timing, now: i64) {
        let oldest = now.saturating_sub(self.spec.catch_up_micros());
        // The due time of this moment is never missed.
        let oldest = oldest.min(now.saturating_sub(BUFFER_POLL.saturating_mul(4)));
        let missed = timing.count(self.progress.settled_until, oldest);
        if missed > 0 {
            self.progress.missed = self.progress.missed.saturating_add(missed);
            self.progress.settled_until = oldest.saturating_sub(1);
        }
    }

    fn next_of_backfill(&mut self, timing: &Timing) -> Option<ScheduleAction> {
        let backfill = self.progress.backfill?;
        let due = timing.next_after(backfill.done_until).filter(|due| *due <= backfill.until);
        if due.is_none() {
            self.progress.backfill = None;
        }
        due.map(|due| ScheduleAction::Start { due, kind: RunKind::Backfill })
    }

    /// Reports that a workflow was started, by this call or by an earlier one that was not recorded.
    pub fn started(&mut self, run: ScheduledRun) {
        self.settle(run.due, run.kind);
        self.progress.started = self.progress.started.saturating_add(1);
        if run.kind.is_due() {
            self.progress.last_due = self.progress.last_due.max(Some(run.due));
        }
        self.keep(run);
    }

    /// Keeps a workflow. Triggers and backfills displace none that was due, because one of those may still be running.
    fn keep(&mut self, run: ScheduledRun) {
        let recent = &mut self.progress.recent;
        // A backfill can reach a due time whose workflow is known. The workflow is still one that was due.
        if recent.iter().any(|known| known.workflow == run.workflow && known.kind.is_due()) {
            return;
        }
        recent.retain(|known| known.workflow != run.workflow);
        let is_due = run.kind.is_due();
        recent.insert(0, run);
        let mut count = 0;
        recent.retain(|known| {
            let is_same = known.kind.is_due() == is_due;
            count += usize::from(is_same);
            !is_same || count <= MAX_RECENT
        });
    }

    /// Returns the kept workflows that were due. The overlap policy applies if one of them is running.
    pub fn due_runs(&self) -> impl Iterator<Item = &ScheduledRun> {
        self.progress.recent.iter().filter(|run| run.kind.is_due())
    }

    /// Reports that a start was refused. It is not repeated.
    pub fn failed(&mut self, due: i64, kind: RunKind, reason: String) {
        self.settle(due, kind);
        self.progress.failed = self.progress.failed.saturating_add(1);
        self.progress.last_failure = Some(StartFailure { due, reason });
    }

    /// Reports that the running workflows were cancelled for a due time. It starts after their end.
    pub fn cancelled(&mut self, due: i64) {
        if self.progress.buffered.replace(due).is_some() {
            self.progress.skipped = self.progress.skipped.saturating_add(1);
        }
        self.settle(due, RunKind::Due);
    }

    fn settle(&mut self, due: i64, kind: RunKind) {
        let progress = &mut self.progress;
        match kind {
            RunKind::Due => progress.settled_until = progress.settled_until.max(due),
            RunKind::Buffered => progress.buffered = None,
            RunKind::Backfill => {
                if let Some(backfill) = &mut progress.backfill {
                    backfill.done_until = backfill.done_until.max(due);
                }
            }
            RunKind::Trigger => {}
        }
    }

    /// Returns when the schedule needs attention: at its next due time, or earlier if something waits. `None` while it is
    /// paused.
    #[must_use]
    pub fn next_wake(&self, timing: &Timing, now: i64) -> Option<i64> {
        if self.pause.is_some() {
            return None;
        }
        let due = timing.next_after(self.progress.settled_until);
        let buffered = self.progress.buffered.map(|_| now.saturating_add(BUFFER_POLL));
        let backfill = self.progress.backfill.map(|_| now);
        [due, buffered, backfill].into_iter().flatten().min()
    }

    /// Returns the next `count` due times after `now`.
    #[must_use]
    pub fn upcoming(&self, timing: &Timing, now: i64, count: usize) -> Vec<i64> {
        timing.between(self.progress.settled_until.max(now), i64::MAX, count)
    }
}
