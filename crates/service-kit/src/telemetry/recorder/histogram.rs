//! The cells of a histogram.

use goconductor_telemetry::trace;
use metrics::HistogramFn;
use parking_lot::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Bucket bounds of histograms of durations, in seconds: an idle step takes milliseconds, a long poll half a minute.
const SECONDS: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];
/// Bucket bounds of the duration of workflows, in seconds: from an idle workflow to days.
const LONG_SECONDS: [f64; 16] = [
    0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0,
    604_800.0,
];
/// Bucket bounds of histograms of counts.
const COUNTS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];
/// The metric with the bounds [`LONG_SECONDS`].
const LONG: &str = "goconductor_workflow_duration_seconds";
/// An exemplar is replaced after this time. Replacing it costs more than an observation.
const EXEMPLAR_AGE: Duration = Duration::from_secs(1);

/// The counts of a histogram.
pub(in crate::telemetry) struct HistogramCells {
    /// Upper bounds of all buckets but the last, which has none.
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    /// The bits of the sum.
    sum: AtomicU64,
    /// One for each bucket. Allocated by the first exemplar.
    exemplars: OnceLock<Box<[Mutex<Option<TraceExemplar>>]>>,
}

/// The value of a histogram.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::telemetry) struct HistogramValue {
    pub(in crate::telemetry) bounds: &'static [f64],
    /// The number of observations of each bucket. The last bucket has no bound.
    pub(in crate::telemetry) counts: Vec<u64>,
    pub(in crate::telemetry) sum: f64,
    /// The exemplar of each bucket. Empty if none was kept.
    pub(in crate::telemetry) exemplars: Vec<Option<TraceExemplar>>,
}

/// An observation that was made in a span that is exported.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::telemetry) struct TraceExemplar {
    pub(in crate::telemetry) value: f64,
    pub(in crate::telemetry) at: SystemTime,
    /// 32 hexadecimal digits.
    pub(in crate::telemetry) trace_id: String,
    /// 16 hexadecimal digits.
    pub(in crate::telemetry) span_id: String,
}

impl HistogramCells {
    /// Creates the cells of a metric. Its name determines the bounds.
    pub(in crate::telemetry) fn new(name: &str) -> Self {
        let bounds: &'static [f64] = match name {
            LONG => &LONG_SECONDS,
            name if name.ends_with("_seconds") => &SECONDS,
            _ => &COUNTS,
        };
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self { bounds, counts, sum: AtomicU64::new(0.0_f64.to_bits()), exemplars: OnceLock::new() }
    }

    pub(in crate::telemetry) fn value(&self) -> HistogramValue {
        let exemplars = self.exemplars.get().into_iter().flatten();
        HistogramValue {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Acquire)).collect(),
            sum: f64::from_bits(self.sum.load(Ordering::Acquire)),
            exemplars: exemplars.map(|exemplar| exemplar.lock().clone()).collect(),
        }
    }

    fn observe(&self, value: f64) {
        if value.is_nan() {
            return;
        }
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Release);
        }
        let mut sum = self.sum.load(Ordering::Acquire);
        let add = |sum| (f64::from_bits(sum) + value).to_bits();
        while let Err(changed) =
            self.sum.compare_exchange_weak(sum, add(sum), Ordering::AcqRel, Ordering::Acquire)
        {
            sum = changed;
        }
        if trace::current_is_recorded() {
            self.keep_exemplar(bucket, value);
        }
    }

    /// Keeps an observation of a sampled span, unless a recent one is kept.
    fn keep_exemplar(&self, bucket: usize, value: f64) {
        let empty = || self.counts.iter().map(|_| Mutex::new(None)).collect();
        let Some(mut kept) = self.exemplars.get_or_init(empty).get(bucket).and_then(Mutex::try_lock) else {
            return; // another thread keeps its observation
        };
        #[allow(clippy::disallowed_methods, reason = "an exemplar carries the time of day")]
        let at = SystemTime::now();
        let is_recent = |kept: &TraceExemplar| at.duration_since(kept.at).is_ok_and(|age| age < EXEMPLAR_AGE);
        if kept.as_ref().is_some_and(is_recent) {
            return;
        }
        let Some(span) = trace::current() else { return };
        let (trace_id, span_id) = (span.trace_id().to_owned(), span.span_id().to_owned());
        *kept = Some(TraceExemplar { value, at, trace_id, span_id });
    }
}

impl HistogramFn for HistogramCells {
    fn record(&self, value: f64) {
        self.observe(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observation_counts_in_the_bucket_whose_bound_it_does_not_exceed() {
        let cells = HistogramCells::new("goconductor_test_seconds");
        for value in [0.0, 0.001, 0.0011, 30.0, 31.0, f64::NAN] {
            cells.record(value);
        }
        let value = cells.value();
        assert_eq!((value.counts[0], value.counts[1], value.counts[13], value.counts[14]), (2, 1, 1, 1));
        assert_eq!(value.counts.iter().sum::<u64>(), 5);
        assert!((value.sum - 61.0021).abs() < 1e-9, "{}", value.sum);
        assert!(value.exemplars.is_empty(), "no span is exported");
    }

    #[test]
    fn name_determines_the_bounds() {
        for (name, first, last) in [
            ("goconductor_store_write_seconds", 0.001, 30.0),
            ("goconductor_workflow_duration_seconds", 0.01, 604_800.0),
            ("goconductor_store_group_size", 1.0, 500.0),
        ] {
            let bounds = HistogramCells::new(name).bounds;
            assert_eq!((bounds.first(), bounds.last()), (Some(&first), Some(&last)), "{name}");
            assert!(bounds.is_sorted(), "{name}");
        }
    }
}
