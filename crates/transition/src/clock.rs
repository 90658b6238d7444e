//! The one home of the wall clock: everything else takes the time as a parameter.

use goconductor_saga::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// The present time.
#[must_use]
pub fn now() -> Timestamp {
    #[allow(clippy::disallowed_methods, reason = "the one home of the wall clock")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The present instant, for measuring how long something takes in this process.
#[must_use]
pub fn monotonic() -> std::time::Instant {
    #[allow(clippy::disallowed_methods, reason = "the one home of the monotonic clock")]
    std::time::Instant::now()
}
