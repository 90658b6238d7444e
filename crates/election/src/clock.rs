//! The only place that reads the wall clock.

use std::time::SystemTime;

/// Milliseconds since 1970. The time is for people only; no decision depends on it.
#[allow(clippy::disallowed_methods, reason = "the only place that reads the wall clock, for people only")]
pub(crate) fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
