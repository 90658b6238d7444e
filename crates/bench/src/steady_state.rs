//! Results over time: latency by interval, memory by process, size of the database.

use crate::database::{Database, DatabaseSize};
use crate::figures::{Latencies, Percentiles, per_second, ratio, rounded, slope_per_hour};
use crate::load::LoadRun;
use crate::meter::{MeteredProcess, mib};
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// The number of intervals of a measurement, and their minimum and maximum duration.
const INTERVALS: u32 = 30;
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(60);
/// The first fifth of a measurement is a warm-up, in which caches fill.
const WARM_UP_FRACTION: usize = 5;
/// The latencies of the first and the last sixth of a measurement are compared.
const COMPARED_FRACTION: usize = 6;
/// The maximum time between two memory samples. An allocator returns memory with a delay, so a single sample means little.
/// But each sample costs CPU time, because the kernel counts the pages of the process. A process with children, for which
/// that takes long, is sampled once per interval.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);

/// The results of a run over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SteadyState {
    /// The intervals in order.
    pub intervals: Vec<Interval>,
    /// The growth of the memory of each process, after the first fifth.
    pub memory_slopes: Vec<Slope>,
    /// The ratio of the median latency of the last sixth to that of the first sixth.
    pub p50_last_of_first: Option<f64>,
    /// The ratio of the 99th percentile of the last sixth to that of the first sixth.
    pub p99_last_of_first: Option<f64>,
}

/// The results of one interval.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Interval {
    /// The end of the interval in seconds since the start.
    pub at_seconds: f64,
    /// Ended sagas per second.
    pub sagas_per_second: f64,
    /// The latency of the ended sagas.
    pub latency: Percentiles,
    /// The memory of each process: the mean of several samples, or one sample for a process with children.
    pub memory: Vec<ResidentMemory>,
    /// The size of the database at the end.
    pub sizes: Vec<DatabaseSize>,
}

/// The memory of a process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResidentMemory {
    /// The name of the process.
    pub name: String,
    /// The proportional set size, in which shared pages count in part.
    pub pss_mib: f64,
}

/// The growth of the memory of a process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Slope {
    /// The name of the process.
    pub name: String,
    /// The growth per hour.
    pub mib_per_hour: f64,
}

/// Returns the duration of the intervals of a measurement.
pub(crate) fn interval(duration: Duration) -> Duration {
    (duration / INTERVALS).clamp(MIN_INTERVAL, MAX_INTERVAL)
}

/// Records the results of each interval until it is dropped.
pub(crate) async fn watch(
    every: Duration,
    running: &LoadRun<'_>,
    targets: &[MeteredProcess],
    database: &Database,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let sample_interval = SAMPLE_INTERVAL.min(every);
    let mut ticks = tokio::time::interval_at(begun + sample_interval, sample_interval);
    let mut last = begun;
    let mut sums = vec![(0_u64, 0_u64); targets.len()];
    loop {
        ticks.tick().await;
        let now = Instant::now();
        // The last sample of an interval can be slightly early.
        let is_last = now.duration_since(last) + sample_interval / 2 >= every;
        for ((count, sum), target) in sums.iter_mut().zip(targets) {
            if is_last || !target.family {
                *count += 1;
                *sum += target.memory().pss_kib;
            }
        }
        if !is_last {
            continue;
        }
        let mut latencies = running.take_interval();
        let took = now.duration_since(last).as_secs_f64();
        last = now;
        let mean = |(target, (count, sum)): (&MeteredProcess, &(u64, u64))| ResidentMemory {
            name: target.name.clone(),
            pss_mib: mib(sum / count),
        };
        let memory = targets.iter().zip(&sums).map(mean).collect();
        sums.fill((0, 0));
        samples.intervals.push(Interval {
            at_seconds: rounded(now.duration_since(begun).as_secs_f64(), 1),
            sagas_per_second: per_second(latencies.count(), took),
            latency: latencies.percentiles(),
            memory,
            sizes: database.sizes().await?,
        });
        samples.latencies.push(latencies);
    }
}

/// The samples of a run.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    intervals: Vec<Interval>,
    /// The latencies of each interval.
    latencies: Vec<Latencies>,
}

/// Returns the results, or `None` if there are no intervals.
pub(crate) fn summary(samples: Samples) -> Option<SteadyState> {
    let Samples { intervals, latencies } = samples;
    let warm = intervals.get(intervals.len().div_ceil(WARM_UP_FRACTION)..).unwrap_or_default();
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
    let part = latencies.len() / COMPARED_FRACTION;
    let merged = |some: &[Latencies]| Latencies::merged(some).percentiles();
    let ends = (part > 0).then(|| {
        let last = latencies.get(latencies.len() - part..).unwrap_or_default();
        (merged(latencies.get(..part).unwrap_or_default()), merged(last))
    });
    let compared = |of: fn(&Percentiles) -> f64| ends.and_then(|(first, last)| ratio(of(&last), of(&first)));
    let p50_last_of_first = compared(|latency| latency.p50_ms);
    let p99_last_of_first = compared(|latency| latency.p99_ms);
    (!intervals.is_empty()).then_some(SteadyState {
        memory_slopes,
        p50_last_of_first,
        p99_last_of_first,
        intervals,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns samples of one saga per minute, with its latency and the memory of the process.
    fn samples(minutes: &[(u64, f64)]) -> Samples {
        let mut samples = Samples::default();
        for (minute, (millis, memory)) in (1_u32..).zip(minutes) {
            let mut latencies = Latencies::with_capacity(1);
            latencies.add(Duration::from_millis(*millis));
            samples.intervals.push(Interval {
                at_seconds: f64::from(minute) * 60.0,
                sagas_per_second: 1.0,
                latency: latencies.percentiles(),
                memory: vec![ResidentMemory { name: "dev".to_owned(), pss_mib: *memory }],
                sizes: Vec::new(),
            });
            samples.latencies.push(latencies);
        }
        samples
    }

    #[test]
    fn slope_skips_the_warm_up_and_ends_are_compared() {
        let mut minutes = vec![(50, 10.0), (20, 70.0)];
        minutes.extend((3_u32..=12).map(|minute| (u64::from(minute), 100.0 + f64::from(minute))));
        let steady = summary(samples(&minutes)).unwrap();
        assert_eq!(steady.memory_slopes, [Slope { name: "dev".to_owned(), mib_per_hour: 60.0 }]);
        // The last sixth took 11 and 12 ms, the first sixth 20 and 50 ms.
        assert_eq!((steady.p50_last_of_first, steady.p99_last_of_first), (Some(0.55), Some(0.24)));
    }

    #[test]
    fn short_run_has_no_slope() {
        let steady = summary(samples(&[(1, 1.0)])).unwrap();
        assert_eq!((steady.memory_slopes, steady.p50_last_of_first), (Vec::new(), None));
        assert_eq!(summary(Samples::default()), None);
    }

    #[test]
    fn interval_is_within_its_bounds() {
        let seconds = Duration::from_secs;
        for (duration, expected) in [(10, 1), (60, 2), (1800, 60), (36_000, 60)] {
            assert_eq!(interval(seconds(duration)), seconds(expected), "{duration}");
        }
    }
}
