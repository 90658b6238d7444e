//! The only place that reads the clocks. All other code takes the time as a parameter.
//!
//! The time of workflows is the wall clock plus an offset. The offset is zero and never changes, except in a test server
//! whose clock is virtual: there, a test moves it forward.

use goconductor_saga::Timestamp;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The delay until a claimed row of the ledger is due again while the clock is virtual: longer than the clock can be
/// moved, so that a move makes no command due that is in flight. The queue of such a server loses no command.
pub const HELD: Duration = Duration::from_secs(150 * 365 * 24 * 3600);
/// The longest time by which the virtual clock can be ahead of the wall clock.
pub const MAX_OFFSET: Duration = Duration::from_secs(50 * 365 * 24 * 3600);

/// Microseconds by which the time of workflows is ahead of the wall clock.
static OFFSET: AtomicI64 = AtomicI64::new(0);
/// Whether the clock is virtual.
static VIRTUAL: AtomicBool = AtomicBool::new(false);

/// Returns the current time of workflows: of their events, timers and schedules.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp(wall().0.saturating_add(OFFSET.load(Ordering::Relaxed)))
}

/// Returns the current time of the wall clock, which credentials and other machines follow.
#[must_use]
pub fn wall() -> Timestamp {
    #[allow(clippy::disallowed_methods, reason = "the only place that reads the wall clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Converts a time of workflows to the time of the wall clock.
#[must_use]
pub fn to_wall(at: Timestamp) -> Timestamp {
    Timestamp(at.0.saturating_sub(OFFSET.load(Ordering::Relaxed)))
}

/// Makes the clock of this process virtual. Call it before the first workflow is loaded.
pub fn make_virtual() {
    VIRTUAL.store(true, Ordering::Relaxed);
}

/// Returns whether the clock of this process is virtual.
#[must_use]
pub fn is_virtual() -> bool {
    VIRTUAL.load(Ordering::Relaxed)
}

/// Returns the time by which the virtual clock is ahead of the wall clock.
#[must_use]
pub fn offset() -> Duration {
    Duration::from_micros(u64::try_from(OFFSET.load(Ordering::Relaxed)).unwrap_or(0))
}

/// Moves the virtual clock forward. Returns `false`, and does not move it, if it would be more than [`MAX_OFFSET`] ahead
/// of the wall clock.
#[must_use]
pub fn advance(by: Duration) -> bool {
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    let moved = |offset: i64| offset.checked_add(micros(by)).filter(|offset| *offset <= micros(MAX_OFFSET));
    OFFSET.fetch_update(Ordering::Relaxed, Ordering::Relaxed, moved).is_ok()
}

/// Returns the current instant, to measure durations within this process.
#[must_use]
pub fn monotonic() -> std::time::Instant {
    #[allow(clippy::disallowed_methods, reason = "the only place that reads the monotonic clock")]
    std::time::Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because the offset is that of the process.
    #[test]
    fn clock_moves_forward_up_to_its_limit() {
        const DAYS: Duration = Duration::from_secs(30 * 24 * 3600);
        let before = now();
        assert!(advance(DAYS));
        assert_eq!(offset(), DAYS);
        assert!(now() >= before.after(DAYS));
        assert!(wall() < before.after(DAYS));
        assert_eq!(to_wall(Timestamp(0).after(DAYS)), Timestamp(0));
        assert!(!advance(MAX_OFFSET));
        assert!(!advance(Duration::MAX));
        assert_eq!(offset(), DAYS);
    }
}
