//! The retention of ended workflows, by their final status.

use goconductor_saga::Timestamp;
use std::time::Duration;

/// Minimum times for which workflows are kept after their end. `None` keeps them without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The time for completed workflows.
    pub completed: Option<Duration>,
    /// The time for workflows that were rolled back.
    pub rolled_back: Option<Duration>,
    /// The time for workflows that an operator terminated.
    pub terminated: Option<Duration>,
}

/// The times before which workflows must have ended to be removed, by final status. `None` if none is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndedBy {
    pub(crate) completed: Option<Timestamp>,
    pub(crate) rolled_back: Option<Timestamp>,
    pub(crate) terminated: Option<Timestamp>,
}

impl Retention {
    /// Returns a retention that is the same for every status. `None` keeps all workflows.
    #[must_use]
    pub fn uniform(keep: Option<Duration>) -> Self {
        Self { completed: keep, rolled_back: keep, terminated: keep }
    }

    /// Returns the longest of the times, or `None` if any of them is without limit.
    #[must_use]
    pub fn longest(self) -> Option<Duration> {
        Some(self.completed?.max(self.rolled_back?).max(self.terminated?))
    }

    /// Returns the times before which workflows must have ended to be removed.
    pub(crate) fn ended_by(self, now: Timestamp) -> EndedBy {
        let before = |keep: Option<Duration>| {
            let keep = i64::try_from(keep?.as_micros()).unwrap_or(i64::MAX);
            Some(Timestamp(now.0.saturating_sub(keep)))
        };
        EndedBy {
            completed: before(self.completed),
            rolled_back: before(self.rolled_back),
            terminated: before(self.terminated),
        }
    }
}

impl From<Option<Duration>> for Retention {
    fn from(keep: Option<Duration>) -> Self {
        Self::uniform(keep)
    }
}

impl EndedBy {
    /// Returns the latest of the times, or `None` if no workflow is removed.
    pub(crate) fn latest(self) -> Option<Timestamp> {
        self.completed.max(self.rolled_back).max(self.terminated)
    }

    /// Returns the times in microseconds: for completed workflows, those that were rolled back, and terminated ones.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn micros(self) -> [Option<i64>; 3] {
        [self.completed, self.rolled_back, self.terminated].map(|at| at.map(|at| at.0))
    }

    /// Returns the time if it is the same for every status.
    pub(crate) fn uniform(self) -> Option<Timestamp> {
        self.completed.filter(|_| self.rolled_back == self.completed && self.terminated == self.completed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn retention_without_limit_is_the_longest() {
        let mut retention = Retention::uniform(Some(HOUR));
        retention.rolled_back = Some(2 * HOUR);
        assert_eq!(retention.longest(), Some(2 * HOUR));
        let ended_by = retention.ended_by(Timestamp(10_000_000_000));
        assert_eq!(ended_by.latest(), Some(Timestamp(6_400_000_000)));
        assert_eq!(ended_by.uniform(), None);
        retention.terminated = None;
        assert_eq!(retention.longest(), None);
        assert_eq!(retention.ended_by(Timestamp(0)).terminated, None);
        let uniform = Retention::uniform(Some(HOUR)).ended_by(Timestamp(3_600_000_000));
        assert_eq!(uniform.uniform(), Some(Timestamp(0)));
        assert_eq!(Retention::default().ended_by(Timestamp(0)).latest(), None);
    }
}
