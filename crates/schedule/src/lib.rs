//! Schedules: when a workflow is due, and what happens at each due time.
//!
//! [`Timing`] computes due times of cron patterns with time zones, and of intervals. [`decide`] is the overlap policy.
//! [`Schedule`] is the stored state of a schedule: its specification and its progress. [`Schedule::next`] returns what
//! must be done now, and the caller reports what it did.
//!
//! The crate reads no clock and does no IO, except for the time zone database of the system. Times are microseconds since
//! 1970-01-01T00:00:00Z.
//!
//! Invariants:
//!
//! - The due times that a schedule settles only rise, also if the clock is set back.
//! - Each due time is settled once: started, buffered, skipped, failed or missed.

mod cron;
mod input;
mod overlap;
mod schedule;
mod spec;
mod start;
mod timing;

pub use input::{render, unknown_placeholder};
pub use overlap::{Overlap, OverlapDecision, decide};
pub use schedule::{
    Backfill, MAX_RECENT, Pause, RunKind, Schedule, ScheduleAction, ScheduleOrigin, ScheduleProgress,
    ScheduledRun, StartFailure,
};
pub use spec::{MAX_CATCH_UP, MIN_INTERVAL, Spec, SpecError, TimingSpec};
pub use start::{KEY_PREFIX, NAME_LABEL, ScheduledStart, TIME_LABEL};
pub use timing::{Timing, rfc3339};
