//! What happens over a longer time: latency by interval, memory by process, the database's size.

use crate::database::{Database, Size};
use crate::figures::{Percentiles, per_second, ratio, rounded, slope_per_hour};
use crate::load::Running;
use crate::meter::{Target, mib};
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// Intervals that a measurement is divided into, and how long one is at least and at most.
const INTERVALS: u32 = 30;
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// The part of a measurement in which caches still fill: a fifth.
const WARM_UP: usize = 5;

/// A longer time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Steady {
    /// Its parts, in order.
    pub intervals: Vec<Interval>,
    /// By how much each process's memory rises in an hour, after the first fifth.
    pub memory_slopes: Vec<Slope>,
    /// The median of the last interval, of that of the first one after the first fifth.
    pub p50_last_of_first: Option<f64>,
    /// The same of the 99th of 100.
    pub p99_last_of_first: Option<f64>,
}

/// A part of a longer time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Interval {
    /// When it ended, since the beginning.
    pub at_seconds: f64,
    /// Sagas that ended in it, each second.
    pub sagas_per_second: f64,
    /// How long they took.
    pub latency: Percentiles,
    /// Memory of each process at its end.
    pub memory: Vec<Resident>,
    /// The database at its end.
    pub sizes: Vec<Size>,
}

/// A process's memory.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resident {
    /// The process.
    pub name: String,
    /// In which what is shared with others counts in part.
    pub pss_mib: f64,
}

/// How a process's memory rises.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Slope {
    /// The process.
    pub name: String,
    /// In an hour.
    pub mib_per_hour: f64,
}

/// How long the intervals of so long a time are.
pub(crate) fn interval(span: Duration) -> Duration {
    (span / INTERVALS).clamp(SHORTEST, LONGEST)
}

/// Looks at each interval's end, for as long as it is polled.
pub(crate) async fn watch(
    every: Duration,
    running: &Running<'_>,
    targets: &[Target],
    database: &Database,
    seen: &mut Vec<Interval>,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval_at(begun + every, every);
    let mut last = begun;
    loop {
        ticks.tick().await;
        let mut latencies = running.take_interval();
        let now = Instant::now();
        let took = now.duration_since(last).as_secs_f64();
        last = now;
        let resident =
            |target: &Target| Resident { name: target.name.clone(), pss_mib: mib(target.memory().pss_kib) };
        seen.push(Interval {
            at_seconds: rounded(now.duration_since(begun).as_secs_f64(), 1),
            sagas_per_second: per_second(latencies.count(), took),
            latency: latencies.percentiles(),
            memory: targets.iter().map(resident).collect(),
            sizes: database.sizes().await?,
        });
    }
}

/// What the intervals come to.
pub(crate) fn summary(intervals: Vec<Interval>) -> Steady {
    let warm = intervals.get(intervals.len().div_ceil(WARM_UP)..).unwrap_or_default();
    let names =
        warm.first().map(|first| first.memory.iter().map(|each| each.name.clone()).collect::<Vec<_>>());
    let slope = |name: String| {
        let at = |interval: &Interval| {
            let memory = interval.memory.iter().find(|each| each.name == name)?;
            Some((interval.at_seconds, memory.pss_mib))
        };
        let points: Vec<(f64, f64)> = warm.iter().filter_map(at).collect();
        let mib_per_hour = slope_per_hour(&points)?;
        Some(Slope { name, mib_per_hour })
    };
    let memory_slopes = names.into_iter().flatten().filter_map(slope).collect();
    let compared = |of: fn(&Percentiles) -> f64| {
        let (first, last) = (warm.first()?, warm.last()?);
        ratio(of(&last.latency), of(&first.latency))
    };
    let p50_last_of_first = compared(|latency| latency.p50_ms);
    let p99_last_of_first = compared(|latency| latency.p99_ms);
    Steady { memory_slopes, p50_last_of_first, p99_last_of_first, intervals }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: u32, p50: f64, memory: f64) -> Interval {
        Interval {
            at_seconds: f64::from(minute) * 60.0,
            sagas_per_second: 1.0,
            latency: Percentiles { p50_ms: p50, p95_ms: p50, p99_ms: 2.0 * p50, max_ms: 9.0 },
            memory: vec![Resident { name: "dev".to_owned(), pss_mib: memory }],
            sizes: Vec::new(),
        }
    }

    #[test]
    fn what_rises_in_the_first_fifth_does_not_count() {
        let mut intervals = vec![at(1, 50.0, 10.0), at(2, 20.0, 70.0)];
        intervals.extend((3..=10).map(|minute| at(minute, f64::from(minute), 100.0 + f64::from(minute))));
        let steady = summary(intervals);
        assert_eq!(steady.memory_slopes, [Slope { name: "dev".to_owned(), mib_per_hour: 60.0 }]);
        assert_eq!((steady.p50_last_of_first, steady.p99_last_of_first), (Some(3.3333), Some(3.3333)));
    }

    #[test]
    fn too_short_a_time_says_nothing() {
        let steady = summary(vec![at(1, 1.0, 1.0)]);
        assert_eq!((steady.memory_slopes, steady.p50_last_of_first), (Vec::new(), None));
        assert_eq!(summary(Vec::new()).intervals, []);
    }

    #[test]
    fn an_interval_is_neither_too_short_nor_too_long() {
        let seconds = Duration::from_secs;
        for (span, expected) in [(10, 1), (60, 2), (1800, 60), (36_000, 60)] {
            assert_eq!(interval(seconds(span)), seconds(expected), "{span}");
        }
    }
}
