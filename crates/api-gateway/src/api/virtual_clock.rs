//! The virtual clock of a test server, `goconductor dev --virtual-time`.
//!
//! The clock decides when timers, retries, deadlines of workflows, schedules and waits for locks are due. An attempt in
//! flight keeps its own timeout, which is measured in real time, and so do leases and credentials.

use super::Api;
use crate::error::{ApiResult, NO_ROUTE, Problem, WRONG_SHAPE};
use crate::time::Time;
use goconductor_saga::Timestamp;
use goconductor_store::LedgerWaits;
use goconductor_transition::clock;
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// How long a move to the next due time waits until nothing is due or in flight.
const IDLE_WAIT: Duration = Duration::from_secs(5);
/// The interval at which it checks that.
const IDLE_POLL: Duration = Duration::from_millis(1);

/// The time of the virtual clock.
#[derive(Debug, Serialize)]
pub(crate) struct ClockView {
    /// The time of workflows.
    pub(crate) now: Time,
    /// Microseconds by which it is ahead of the wall clock.
    pub(crate) offset_us: u64,
}

/// The result of a move.
#[derive(Debug, Serialize)]
pub(crate) struct ClockMove {
    #[serde(flatten)]
    pub(crate) clock: ClockView,
    /// Microseconds by which the clock was moved.
    pub(crate) advanced_us: u64,
    pub(crate) result: ClockMoveResult,
    /// The rows of the ledger and the schedules that are due and wait for an executor.
    pub(crate) due: u64,
    /// The commands in flight, and the timers that fire.
    pub(crate) in_flight: u64,
}

/// Whether the clock was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClockMoveResult {
    /// It was moved.
    Advanced,
    /// It was not moved, because work is due or in flight.
    Busy,
    /// It was not moved, because nothing waits for a time.
    NothingDue,
}

/// A request to move the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockAdvance {
    /// Move it at once, also while attempts are in flight.
    By(Duration),
    /// Move it to the next due time when nothing is due or in flight, but no further than by `at_most`. If nothing is due
    /// within that time, it is moved by `at_most`.
    ToNext {
        /// The longest move. `None` if it has no limit.
        at_most: Option<Duration>,
    },
}

impl Api {
    /// Returns the time of the virtual clock.
    pub(crate) fn virtual_clock(&self) -> ApiResult<ClockView> {
        check_virtual()?;
        Ok(view())
    }

    /// Moves the virtual clock forward.
    pub(crate) async fn advance_clock(&self, advance: ClockAdvance) -> ApiResult<ClockMove> {
        check_virtual()?;
        match advance {
            ClockAdvance::By(by) => self.move_clock(by),
            ClockAdvance::ToNext { at_most } => self.move_to_next(at_most).await,
        }
    }

    fn move_clock(&self, by: Duration) -> ApiResult<ClockMove> {
        if !clock::advance(by) {
            let limit = clock::MAX_OFFSET.as_secs() / (24 * 3600);
            let detail = format!("the clock would be more than {limit} days ahead of the wall clock");
            return Err(Problem::new(WRONG_SHAPE, detail));
        }
        self.engine.notify_clock_moved();
        Ok(moved(ClockMoveResult::Advanced, by, LedgerWaits::default()))
    }

    async fn move_to_next(&self, at_most: Option<Duration>) -> ApiResult<ClockMove> {
        let _moving = self.clock_moves.lock().await;
        let deadline = Instant::now() + IDLE_WAIT;
        let mut before = None;
        loop {
            let was_idle = self.engine.is_idle();
            let now = clock::now();
            let waits = self.waits(now).await?;
            let is_idle = waits.due == 0 && waits.claimed == 0 && was_idle && self.engine.is_idle();
            // Twice, because a transition that was committed before the first read may have had effects since then.
            if is_idle && before == Some(waits) {
                let next = waits.next_due.map(|due| due.since(now));
                return match next.into_iter().chain(at_most).min() {
                    Some(by) => self.move_clock(by),
                    None => Ok(moved(ClockMoveResult::NothingDue, Duration::ZERO, waits)),
                };
            }
            if Instant::now() >= deadline {
                return Ok(moved(ClockMoveResult::Busy, Duration::ZERO, waits));
            }
            before = is_idle.then_some(waits);
            tokio::time::sleep(IDLE_POLL).await;
        }
    }

    /// Returns what the ledger and the schedules wait for.
    async fn waits(&self, now: Timestamp) -> ApiResult<LedgerWaits> {
        let mut waits = self.store().waits(now, now.after(clock::MAX_OFFSET)).await?;
        let next = self.store().due_schedules(Timestamp(i64::MAX), 1).await?;
        match next.first().and_then(|schedule| schedule.next_due) {
            Some(due) if due <= now => waits.due = waits.due.saturating_add(1),
            Some(due) => waits.next_due = Some(waits.next_due.map_or(due, |next| next.min(due))),
            None => {}
        }
        Ok(waits)
    }
}

fn check_virtual() -> ApiResult<()> {
    if clock::is_virtual() {
        return Ok(());
    }
    let detail =
        "the clock of this server cannot be moved; start `goconductor dev --ephemeral --virtual-time`";
    Err(Problem::new(NO_ROUTE, detail))
}

fn view() -> ClockView {
    ClockView { now: Time(clock::now()), offset_us: micros(clock::offset()) }
}

fn moved(result: ClockMoveResult, by: Duration, waits: LedgerWaits) -> ClockMove {
    ClockMove { clock: view(), advanced_us: micros(by), result, due: waits.due, in_flight: waits.claimed }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
