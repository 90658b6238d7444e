//! The recorder of metrics: the values of all series, which `/metrics` and the export by OTLP read.
//!
//! A recorded value changes a few atomic numbers. No history is kept: a histogram counts the observations of each bucket.
//! If the process exports traces, a histogram of durations also keeps an exemplar for each bucket: a recent observation
//! with the ids of its span. Otherwise an observation costs one branch more.

mod histogram;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_util::registry::{Registry, Storage};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) use histogram::{HistogramCells, HistogramValue, TraceExemplar};

/// The values of all metrics of this process.
#[derive(Clone)]
pub(super) struct MetricRegistry {
    series: Arc<Registry<Key, CellStorage>>,
    descriptions: Arc<RwLock<BTreeMap<String, Description>>>,
}

#[derive(Clone)]
struct Description {
    unit: Option<Unit>,
    text: SharedString,
}

/// A metric with the values of its series, sorted by their labels.
pub(super) struct MetricFamily {
    pub(super) unit: Option<Unit>,
    pub(super) description: SharedString,
    pub(super) points: FamilyPoints,
}

/// The names and values of labels.
pub(super) type Labels = Vec<(String, String)>;

/// The values of a metric.
pub(super) enum FamilyPoints {
    Counters(BTreeMap<Labels, u64>),
    Gauges(BTreeMap<Labels, f64>),
    Histograms(BTreeMap<Labels, HistogramValue>),
}

/// Creates the cells of a series.
struct CellStorage;

impl Storage<Key> for CellStorage {
    type Counter = Arc<AtomicU64>;
    type Gauge = Arc<AtomicU64>;
    type Histogram = Arc<HistogramCells>;

    fn counter(&self, _: &Key) -> Self::Counter {
        Arc::default()
    }

    fn gauge(&self, _: &Key) -> Self::Gauge {
        Arc::default()
    }

    fn histogram(&self, key: &Key) -> Self::Histogram {
        Arc::new(HistogramCells::new(key.name()))
    }
}

impl std::fmt::Debug for MetricRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MetricRegistry")
    }
}

impl MetricRegistry {
    pub(super) fn new() -> Self {
        Self { series: Arc::new(Registry::new(CellStorage)), descriptions: Arc::default() }
    }

    /// Returns all metrics that have a value, by name. A gauge that is not a number has no value.
    pub(super) fn families(&self) -> BTreeMap<String, MetricFamily> {
        let mut families = BTreeMap::new();
        let descriptions = self.descriptions.read().clone();
        let mut family = |key: &Key, empty: fn() -> FamilyPoints, add: &dyn Fn(&mut FamilyPoints, Labels)| {
            let family = families.entry(key.name().to_owned()).or_insert_with_key(|name: &String| {
                let described = descriptions.get(name);
                let unit = described.and_then(|described| described.unit);
                let description =
                    described.map_or(SharedString::const_str(""), |described| described.text.clone());
                MetricFamily { unit, description, points: empty() }
            });
            let labels = key.labels().map(|label| (label.key().to_owned(), label.value().to_owned()));
            add(&mut family.points, labels.collect());
        };
        self.series.visit_counters(|key, value| {
            let value = value.load(Ordering::Acquire);
            family(key, || FamilyPoints::Counters(BTreeMap::new()), &|points, labels| {
                if let FamilyPoints::Counters(points) = points {
                    points.insert(labels, value);
                }
            });
        });
        self.series.visit_gauges(|key, value| {
            let value = f64::from_bits(value.load(Ordering::Acquire));
            if value.is_nan() {
                return;
            }
            family(key, || FamilyPoints::Gauges(BTreeMap::new()), &|points, labels| {
                if let FamilyPoints::Gauges(points) = points {
                    points.insert(labels, value);
                }
            });
        });
        self.series.visit_histograms(|key, cells| {
            family(key, || FamilyPoints::Histograms(BTreeMap::new()), &|points, labels| {
                if let FamilyPoints::Histograms(points) = points {
                    points.insert(labels, cells.value());
                }
            });
        });
        families
    }

    fn describe(&self, key: &KeyName, unit: Option<Unit>, text: SharedString) {
        self.descriptions.write().insert(key.as_str().to_owned(), Description { unit, text });
    }
}

impl Recorder for MetricRegistry {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&key, unit, description);
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe(&key, unit, description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.series.get_or_create_counter(key, |cell| Counter::from_arc(Arc::clone(cell)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.series.get_or_create_gauge(key, |cell| Gauge::from_arc(Arc::clone(cell)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.series.get_or_create_histogram(key, |cells| Histogram::from_arc(Arc::clone(cells)))
    }
}
