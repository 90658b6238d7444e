//! Statistics of measurements: percentiles, ratios, slopes.

use serde::Serialize;
use std::time::Duration;

/// Latencies of sagas, from the first byte of the start request to the response with the outcome.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies {
    micros: Vec<u32>,
}

/// Percentiles in milliseconds, by the nearest-rank method: each is a measured value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50_ms: f64,
    /// The 95th percentile.
    pub p95_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The maximum.
    pub max_ms: f64,
}

impl Latencies {
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { micros: Vec::with_capacity(count) }
    }

    /// Combines several sets of latencies.
    pub(crate) fn merged(some: &[Self]) -> Self {
        Self { micros: some.iter().flat_map(|each| each.micros.iter().copied()).collect() }
    }

    /// Adds a latency. The maximum is about 71 minutes.
    pub(crate) fn add(&mut self, took: Duration) {
        self.micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn count(&self) -> u64 {
        to_u64(self.micros.len())
    }

    /// Returns the percentiles, which are 0 if there are no latencies.
    pub(crate) fn percentiles(&mut self) -> Percentiles {
        self.micros.sort_unstable();
        Percentiles {
            p50_ms: self.at(500),
            p95_ms: self.at(950),
            p99_ms: self.at(990),
            max_ms: self.at(1000),
        }
    }

    /// Returns the smallest latency that `permille` of 1,000 latencies do not exceed.
    fn at(&self, permille: usize) -> f64 {
        let rank = (self.micros.len() * permille).div_ceil(1000).max(1);
        let micros = self.micros.get(rank - 1).copied().unwrap_or(0);
        rounded(f64::from(micros) / 1000.0, 3)
    }
}

/// Returns `value / reference`, or `None` if the reference is 0.
#[must_use]
pub fn ratio(value: f64, reference: f64) -> Option<f64> {
    (reference > 0.0).then(|| rounded(value / reference, 4))
}

/// Returns the slope per hour of points of (seconds, value), by least squares. Returns `None` for fewer than three points
/// or points without a spread in time.
pub(crate) fn slope_per_hour(points: &[(f64, f64)]) -> Option<f64> {
    let count = to_f64(to_u64(points.len()));
    if points.len() < 3 {
        return None;
    }
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    (variance > 0.0).then(|| rounded(covariance / variance * 3600.0, 2))
}

/// Rounds to a number of decimals. Further decimals would be noise.
pub(crate) fn rounded(value: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    (value * scale).round() / scale
}

/// Returns the rate per second, or 0 for no time.
pub(crate) fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { rounded(to_f64(count) / seconds, 1) } else { 0.0 }
}

#[allow(clippy::cast_precision_loss, reason = "the figures are far below 2^53")]
pub(crate) fn to_f64(count: u64) -> f64 {
    count as f64
}

pub(crate) fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(millis: impl IntoIterator<Item = u64>) -> Latencies {
        let mut all = Latencies::default();
        for each in millis {
            all.add(Duration::from_millis(each));
        }
        all
    }

    #[test]
    fn percentiles_use_the_nearest_rank() {
        let hundred = latencies((1..=100).rev()).percentiles();
        let expected = Percentiles { p50_ms: 50.0, p95_ms: 95.0, p99_ms: 99.0, max_ms: 100.0 };
        assert_eq!(hundred, expected);
        let three = latencies([30, 10, 20]).percentiles();
        assert_eq!(three, Percentiles { p50_ms: 20.0, p95_ms: 30.0, p99_ms: 30.0, max_ms: 30.0 });
        let one = latencies([7]).percentiles();
        assert_eq!(one, Percentiles { p50_ms: 7.0, p95_ms: 7.0, p99_ms: 7.0, max_ms: 7.0 });
        let none = latencies([]).percentiles();
        assert_eq!(none, Percentiles { p50_ms: 0.0, p95_ms: 0.0, p99_ms: 0.0, max_ms: 0.0 });
    }

    #[test]
    fn latency_beyond_the_range_is_the_maximum() {
        let mut all = latencies([1]);
        all.add(Duration::from_secs(100_000));
        assert_eq!(all.count(), 2);
        assert!(all.percentiles().max_ms > 3_600_000.0);
    }

    #[test]
    fn ratio_to_zero_is_none() {
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(ratio(1.0, 4.0), Some(0.25));
        assert_eq!(ratio(2.0, 3.0), Some(0.6667));
    }

    #[test]
    fn slope_is_per_hour() {
        let rising: Vec<(f64, f64)> = (0..10).map(|n| (f64::from(n) * 60.0, 100.0 + f64::from(n))).collect();
        assert_eq!(slope_per_hour(&rising), Some(60.0));
        assert_eq!(slope_per_hour(&[(0.0, 5.0), (1.0, 5.0), (2.0, 5.0)]), Some(0.0));
        assert_eq!(slope_per_hour(&[(0.0, 5.0), (1.0, 6.0)]), None);
        assert_eq!(slope_per_hour(&[(1.0, 5.0), (1.0, 6.0), (1.0, 7.0)]), None);
    }
}
