//! The only place that reads the clocks. All other code takes the time as a parameter.

use goconductor_saga::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the current time.
#[must_use]
pub fn now() -> Timestamp {
    #[allow(clippy::disallowed_methods, reason = "the only place that reads the wall clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Returns the current instant, to measure durations within this process.
#[must_use]
pub fn monotonic() -> std::time::Instant {
    #[allow(clippy::disallowed_methods, reason = "the only place that reads the monotonic clock")]
    std::time::Instant::now()
}
