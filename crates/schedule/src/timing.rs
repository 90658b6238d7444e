//! Due times.

use crate::cron::CronTiming;
use jiff::Timestamp;

/// Microseconds in a second.
const SECOND: i64 = 1_000_000;
/// Maximum number of missed due times of a cron pattern that are counted at once.
pub(crate) const MAX_COUNTED: u64 = 10_000;

/// The due times of a schedule. All times are microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone)]
pub struct Timing(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Cron(Box<CronTiming>),
    Every { interval: i64, anchor: i64 },
}

impl Timing {
    pub(crate) fn cron(cron: CronTiming) -> Self {
        Self(Kind::Cron(Box::new(cron)))
    }

    /// The due times `anchor + n * interval`. `interval` must be positive.
    pub(crate) const fn every(interval: i64, anchor: i64) -> Self {
        Self(Kind::Every { interval, anchor })
    }

    /// Returns the first due time after `after`. `None` if there is none.
    #[must_use]
    pub fn next_after(&self, after: i64) -> Option<i64> {
        match &self.0 {
            Kind::Cron(cron) => cron.next_after(after.div_euclid(SECOND))?.checked_mul(SECOND),
            Kind::Every { interval, anchor } => {
                let passed = index(after, *anchor, *interval);
                let due = i128::from(*anchor) + (passed + 1) * i128::from(*interval);
                i64::try_from(due).ok()
            }
        }
    }

    /// Returns up to `limit` due times after `after` and not after `until`.
    #[must_use]
    pub fn between(&self, after: i64, until: i64, limit: usize) -> Vec<i64> {
        let next = |after: &i64| self.next_after(*after);
        std::iter::successors(next(&after), next).take_while(|due| *due <= until).take(limit).collect()
    }

    /// Counts the due times after `after` and before `before`. The count of a cron pattern ends at 10,000.
    pub(crate) fn count(&self, after: i64, before: i64) -> u64 {
        if before <= after {
            return 0;
        }
        match &self.0 {
            Kind::Cron(_) => {
                let limit = usize::try_from(MAX_COUNTED).unwrap_or(usize::MAX);
                u64::try_from(self.between(after, before.saturating_sub(1), limit).len()).unwrap_or(u64::MAX)
            }
            Kind::Every { interval, anchor } => {
                let last = index(before.saturating_sub(1), *anchor, *interval);
                u64::try_from(last - index(after, *anchor, *interval)).unwrap_or(0)
            }
        }
    }
}

/// Returns the number of the last due time at or before a time.
fn index(at: i64, anchor: i64, interval: i64) -> i128 {
    (i128::from(at) - i128::from(anchor)).div_euclid(i128::from(interval.max(1)))
}

/// Formats a time as RFC 3339 in UTC, with the shortest fraction of a second.
#[must_use]
pub fn rfc3339(at: i64) -> String {
    Timestamp::from_microsecond(at).map(|at| at.to_string()).unwrap_or_default()
}
