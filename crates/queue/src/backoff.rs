//! Exponential backoff.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// An unlimited sequence of delays. Each is twice as long as the one before, up to a maximum.
#[derive(Debug)]
pub(crate) struct ReconnectBackoff {
    builder: ExponentialBuilder,
    delays: ExponentialBackoff,
    max: Duration,
}

impl ReconnectBackoff {
    /// Creates a backoff with delays from `min` to `max`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(min)
            .with_max_delay(max)
            .with_factor(2.0)
            .without_max_times();
        Self { builder, delays: builder.build(), max }
    }

    /// Adds jitter: each delay is extended by a random fraction of itself, which depends on `seed`.
    pub(crate) fn with_jitter(mut self, seed: u64) -> Self {
        self.builder = self.builder.with_jitter_seed(seed).with_jitter();
        self.reset();
        self
    }

    /// Starts again with the shortest delay.
    pub(crate) fn reset(&mut self) {
        self.delays = self.builder.build();
    }

    /// Returns the next delay.
    pub(crate) fn next(&mut self) -> Duration {
        self.delays.next().unwrap_or(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_millis(400);

    #[test]
    fn delays_double_up_to_the_maximum() {
        let mut backoff = ReconnectBackoff::new(MIN, MAX);
        // In milliseconds, because `backon` multiplies delays as floating-point numbers.
        let delays: Vec<u128> = (0..5).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(delays, [100, 200, 400, 400, 400]);
        backoff.reset();
        assert_eq!(backoff.next(), MIN);
    }

    #[test]
    fn jitter_depends_on_the_seed_and_at_most_doubles_a_delay() {
        let delays = |seed| {
            let mut backoff = ReconnectBackoff::new(MIN, MAX).with_jitter(seed);
            (0..20).map(|_| backoff.next()).collect::<Vec<Duration>>()
        };
        assert!(delays(1).iter().all(|delay| (MIN..=MAX * 2).contains(delay)), "{:?}", delays(1));
        assert_ne!(delays(1), delays(2));
    }
}
