//! The one place that asks for the time of day.

use std::time::SystemTime;

/// Milliseconds since 1970: for people, nothing is decided by it.
#[allow(clippy::disallowed_methods, reason = "the one place: a time for people, nothing is decided by it")]
pub(crate) fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
