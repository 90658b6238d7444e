//! The delays between attempts to reach the servers.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

const MIN: Duration = Duration::from_millis(100);
const MAX: Duration = Duration::from_secs(2);

/// An unlimited sequence of delays. Each is twice as long as the one before, up to a maximum.
#[derive(Debug)]
pub(crate) struct ConnectBackoff {
    delays: ExponentialBackoff,
    /// Whether no delay was returned yet.
    is_first: bool,
}

impl ConnectBackoff {
    /// Creates a backoff that starts with the shortest delay.
    pub(crate) fn new() -> Self {
        let builder = ExponentialBuilder::new().with_min_delay(MIN).with_max_delay(MAX).with_factor(2.0);
        Self { delays: builder.without_max_times().build(), is_first: true }
    }

    /// Whether the next delay is the first one.
    pub(crate) fn is_first(&self) -> bool {
        self.is_first
    }

    /// Returns the next delay.
    pub(crate) fn next_delay(&mut self) -> Duration {
        self.is_first = false;
        self.delays.next().unwrap_or(MAX)
    }
}
