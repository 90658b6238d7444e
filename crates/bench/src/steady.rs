//! What happens over a longer time: latency by interval, memory by process, the database's size.

use crate::database::{Database, Size};
use crate::figures::{Latencies, Percentiles, per_second, ratio, rounded, slope_per_hour};
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
/// The parts of a measurement whose latencies are compared, the first and the last: sixths.
const ENDS: usize = 6;
/// Between looks at memory, at most: an allocator gives back at its own pace, so that a single look says little. But to
/// look costs time: the system counts the pages of each process. A family, of which that takes it long, is looked at
/// once in an interval.
const LOOK: Duration = Duration::from_secs(10);

/// A longer time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Steady {
    /// Its parts, in order.
    pub intervals: Vec<Interval>,
    /// By how much each process's memory rises in an hour, after the first fifth.
    pub memory_slopes: Vec<Slope>,
    /// The median of the last sixth, of that of the first.
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
    /// Memory of each process: the mean of several looks, of a family one.
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
    seen: &mut Seen,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let look = LOOK.min(every);
    let mut ticks = tokio::time::interval_at(begun + look, look);
    let mut last = begun;
    let mut looked = vec![(0_u64, 0_u64); targets.len()];
    loop {
        ticks.tick().await;
        let now = Instant::now();
        // The last of an interval's looks may come a moment early.
        let is_last = now.duration_since(last) + look / 2 >= every;
        for ((looks, sum), target) in looked.iter_mut().zip(targets) {
            if is_last || !target.family {
                *looks += 1;
                *sum += target.memory().pss_kib;
            }
        }
        if !is_last {
            continue;
        }
        let mut latencies = running.take_interval();
        let took = now.duration_since(last).as_secs_f64();
        last = now;
        let mean = |(target, (looks, sum)): (&Target, &(u64, u64))| Resident {
            name: target.name.clone(),
            pss_mib: mib(sum / looks),
        };
        let memory = targets.iter().zip(&looked).map(mean).collect();
        looked.fill((0, 0));
        seen.intervals.push(Interval {
            at_seconds: rounded(now.duration_since(begun).as_secs_f64(), 1),
            sagas_per_second: per_second(latencies.count(), took),
            latency: latencies.percentiles(),
            memory,
            sizes: database.sizes().await?,
        });
        seen.latencies.push(latencies);
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    intervals: Vec<Interval>,
    /// Of each interval.
    latencies: Vec<Latencies>,
}

/// What that comes to; none: nothing was seen.
pub(crate) fn summary(seen: Seen) -> Option<Steady> {
    let Seen { intervals, latencies } = seen;
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
    let part = latencies.len() / ENDS;
    let together = |some: &[Latencies]| Latencies::together(some).percentiles();
    let ends = (part > 0).then(|| {
        let last = latencies.get(latencies.len() - part..).unwrap_or_default();
        (together(latencies.get(..part).unwrap_or_default()), together(last))
    });
    let compared = |of: fn(&Percentiles) -> f64| ends.and_then(|(first, last)| ratio(of(&last), of(&first)));
    let p50_last_of_first = compared(|latency| latency.p50_ms);
    let p99_last_of_first = compared(|latency| latency.p99_ms);
    (!intervals.is_empty()).then_some(Steady {
        memory_slopes,
        p50_last_of_first,
        p99_last_of_first,
        intervals,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Minutes, each with how long its one saga took, and with its memory.
    fn seen(minutes: &[(u64, f64)]) -> Seen {
        let mut seen = Seen::default();
        for (minute, (millis, memory)) in (1_u32..).zip(minutes) {
            let mut latencies = Latencies::with_capacity(1);
            latencies.add(Duration::from_millis(*millis));
            seen.intervals.push(Interval {
                at_seconds: f64::from(minute) * 60.0,
                sagas_per_second: 1.0,
                latency: latencies.percentiles(),
                memory: vec![Resident { name: "dev".to_owned(), pss_mib: *memory }],
                sizes: Vec::new(),
            });
            seen.latencies.push(latencies);
        }
        seen
    }

    #[test]
    fn memory_of_the_first_fifth_does_not_count_and_the_ends_are_compared() {
        let mut minutes = vec![(50, 10.0), (20, 70.0)];
        minutes.extend((3_u32..=12).map(|minute| (u64::from(minute), 100.0 + f64::from(minute))));
        let steady = summary(seen(&minutes)).unwrap();
        assert_eq!(steady.memory_slopes, [Slope { name: "dev".to_owned(), mib_per_hour: 60.0 }]);
        // 11 and 12 ms after 20 and 50.
        assert_eq!((steady.p50_last_of_first, steady.p99_last_of_first), (Some(0.55), Some(0.24)));
    }

    #[test]
    fn too_short_a_time_says_nothing() {
        let steady = summary(seen(&[(1, 1.0)])).unwrap();
        assert_eq!((steady.memory_slopes, steady.p50_last_of_first), (Vec::new(), None));
        assert_eq!(summary(Seen::default()), None);
    }

    #[test]
    fn an_interval_is_neither_too_short_nor_too_long() {
        let seconds = Duration::from_secs;
        for (span, expected) in [(10, 1), (60, 2), (1800, 60), (36_000, 60)] {
            assert_eq!(interval(seconds(span)), seconds(expected), "{span}");
        }
    }
}
