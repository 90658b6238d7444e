//! Rates and durations of the newest workflows.

use goconductor_saga::{Status, Timestamp};
use goconductor_store::Summary;
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

/// The age of the oldest workflow of a sample.
pub(super) const WINDOW: Duration = Duration::from_secs(3600);

/// Figures about the workflows that were started within the last hour, or about the newest ones if there are many.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct RecentView {
    /// Length of the time that the sample covers.
    window_seconds: u64,
    /// Number of workflows in the sample.
    sampled: u64,
    /// Whether the sample has all workflows of the last hour.
    is_complete: bool,
    /// Number of workflows of the sample that ended.
    ended: u64,
    completed: u64,
    rolled_back: u64,
    /// Number of workflows of the sample in `ERROR`.
    errors: u64,
    starts_per_minute: f64,
    /// Share of the ended and failed workflows that rolled back or are in `ERROR`. Null without such workflows.
    failure_ratio: Option<f64>,
    /// Share of the ended workflows that rolled back. Null without ended workflows.
    undo_ratio: Option<f64>,
    /// Median of the time from the start to the end.
    duration_p50_ms: Option<u64>,
    /// 99th percentile of the time from the start to the end.
    duration_p99_ms: Option<u64>,
}

/// Computes the figures of a sample, which has the newest workflows first.
pub(super) fn recent(sample: &[Summary], is_complete: bool, now: Timestamp) -> RecentView {
    let with = |status: Status| count(sample.iter().filter(|each| each.status == status).count());
    let (completed, rolled_back) = (with(Status::Completed), with(Status::RolledBack));
    let (errors, terminated) = (with(Status::Error), with(Status::Terminated));
    let ended = completed + rolled_back + terminated;
    let oldest = sample.last().map(|summary| now.since(summary.created_at));
    let window = if is_complete { WINDOW } else { oldest.unwrap_or(WINDOW).max(Duration::from_secs(1)) };
    let mut durations: Vec<Duration> =
        sample.iter().filter_map(|each| Some(each.ended_at?.since(each.created_at))).collect();
    durations.sort_unstable();
    let sampled = count(sample.len());
    RecentView {
        window_seconds: window.as_secs(),
        sampled,
        is_complete,
        ended,
        completed,
        rolled_back,
        errors,
        starts_per_minute: float(sampled) / (window.as_secs_f64() / 60.0),
        failure_ratio: ratio(rolled_back + errors, ended + errors),
        undo_ratio: ratio(rolled_back, ended),
        duration_p50_ms: percentile(&durations, 50),
        duration_p99_ms: percentile(&durations, 99),
    }
}

/// Returns a percentile of sorted durations by the nearest rank.
fn percentile(sorted: &[Duration], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    let duration = sorted.get(rank.checked_sub(1)?)?;
    Some(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| float(part) / float(whole))
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[allow(clippy::cast_precision_loss, reason = "the counts are those of a sample")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_saga::WorkflowId;

    const NOW: Timestamp = Timestamp(7_200_000_000);

    /// A workflow that started `age` seconds ago and ended after `millis`.
    fn summary(status: Status, age: i64, millis: Option<i64>) -> Summary {
        let created_at = Timestamp(NOW.0 - age * 1_000_000);
        Summary {
            id: WorkflowId(uuid::Uuid::nil()),
            definition: "order".to_owned(),
            version: 1,
            status,
            cause: None,
            seq: 1,
            created_at,
            ended_at: millis.map(|millis| Timestamp(created_at.0 + millis * 1000)),
            labels: std::collections::BTreeMap::new(),
            idempotency_key: None,
            error: None,
        }
    }

    #[test]
    fn figures_are_those_of_the_sample() {
        let sample = [
            summary(Status::InProgress, 1, None),
            summary(Status::Completed, 2, Some(10)),
            summary(Status::Completed, 3, Some(30)),
            summary(Status::RolledBack, 4, Some(20)),
            summary(Status::Error, 5, None),
            summary(Status::Terminated, 60, Some(500)),
        ];
        let found = recent(&sample, true, NOW);
        assert_eq!((found.sampled, found.ended, found.completed, found.rolled_back), (6, 4, 2, 1));
        assert_eq!((found.failure_ratio, found.undo_ratio), (Some(0.4), Some(0.25)));
        assert_eq!((found.duration_p50_ms, found.duration_p99_ms), (Some(20), Some(500)));
        assert_eq!((found.window_seconds, found.starts_per_minute), (3600, 0.1));
        let cut = recent(&sample, false, NOW);
        assert_eq!((cut.window_seconds, cut.starts_per_minute), (60, 6.0), "the sample covers a minute");
    }

    #[test]
    fn empty_sample_has_no_ratios() {
        let found = recent(&[], true, NOW);
        assert_eq!((found.failure_ratio, found.undo_ratio, found.duration_p99_ms), (None, None, None));
        assert_eq!(found.starts_per_minute, 0.0);
    }
}
