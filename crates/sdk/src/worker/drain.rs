//! The progress of the drain of a stream.

use std::time::Duration;
use tokio::time::Instant;

/// How long tasks are accepted after the drain of either side, if the executor is of a release that does not acknowledge
/// drains. Such tasks were sent before the drain was received.
const GRACE: Duration = Duration::from_millis(200);

/// Whether tasks can still arrive on a stream. A task that arrives after the worker has closed the stream has an unknown
/// outcome, so that the worker closes it only when no task is on the way.
#[derive(Debug)]
pub(super) struct DrainProgress {
    /// The executor acknowledges the drain of the worker, and sends no task after its own.
    acknowledges: bool,
    has_begun: bool,
    /// The time from which no task arrives; `None` if it is not known.
    ends_at: Option<Instant>,
}

impl DrainProgress {
    pub(super) fn new(acknowledges: bool) -> Self {
        Self { acknowledges, has_begun: false, ends_at: None }
    }

    /// Returns whether a side drains.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Records that the worker has sent its drain.
    pub(super) fn worker_drains(&mut self, now: Instant) {
        self.has_begun = true;
        if !self.acknowledges {
            self.ends_at = self.ends_at.or(Some(now + GRACE));
        }
    }

    /// Records the drain of the executor.
    pub(super) fn executor_drains(&mut self, now: Instant) {
        self.has_begun = true;
        let ends_at = if self.acknowledges { now } else { now + GRACE };
        self.ends_at = self.ends_at.or(Some(ends_at));
    }

    /// Records that the executor has acknowledged the drain of the worker.
    pub(super) fn acknowledged(&mut self, now: Instant) {
        if self.has_begun {
            self.ends_at = Some(now);
        }
    }

    /// Returns the time from which no task arrives, if it is known.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.ends_at
    }

    /// Returns whether no task arrives any more.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        self.ends_at.is_some_and(|ends_at| now >= ends_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drain_of_the_worker_is_complete_when_it_is_acknowledged() {
        let now = Instant::now();
        let later = now + 10 * GRACE;
        let mut drain = DrainProgress::new(true);
        drain.acknowledged(now);
        assert!(!drain.is_complete(later), "no side drains");
        drain.worker_drains(now);
        assert!(drain.has_begun() && !drain.is_complete(later));
        assert_eq!(drain.ends_at(), None);
        drain.acknowledged(later);
        assert!(drain.is_complete(later));
    }

    #[test]
    fn drain_of_the_executor_follows_its_last_task() {
        let now = Instant::now();
        let mut drain = DrainProgress::new(true);
        drain.worker_drains(now);
        drain.executor_drains(now);
        assert!(drain.has_begun() && drain.is_complete(now));
    }

    #[test]
    fn earlier_executor_may_send_tasks_for_a_while() {
        let now = Instant::now();
        for by_executor in [false, true] {
            let mut drain = DrainProgress::new(false);
            if by_executor {
                drain.executor_drains(now);
            } else {
                drain.worker_drains(now);
            }
            // A second drain does not prolong the wait.
            drain.worker_drains(now + GRACE / 2);
            drain.executor_drains(now + GRACE / 2);
            assert!(drain.has_begun() && !drain.is_complete(now + GRACE / 2));
            assert_eq!(drain.ends_at(), Some(now + GRACE));
            assert!(drain.is_complete(now + GRACE));
        }
    }
}
