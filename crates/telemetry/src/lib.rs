//! Definitions of metrics, and the trace context of spans.
//!
//! Each crate that measures something declares its metrics in one place, its `metrics` module, with
//! [`metrics!`](crate::metrics!). A definition holds the name, the unit, the labels and the description, so that
//! neither the exporter nor the documentation can differ from what is recorded.
//!
//! [`trace`] connects the spans of this process with those of other processes.
//!
//! This crate does not know who records or exports the values: `service-kit` installs the recorder and the exporter.

pub mod trace;

pub use metrics::{SharedString, Unit};

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sum that only rises.
    Counter,
    /// A value that rises and falls.
    Gauge,
    /// A distribution of observations. A name that ends in `_seconds` gets buckets for durations.
    Histogram,
}

impl Kind {
    /// The name of the kind in Prometheus' exposition format.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The definition of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricDefinition {
    /// The name: `goconductor_…`, with the unit last.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The unit of a value.
    pub unit: Unit,
    /// The names of the labels, in the order in which values are passed.
    pub labels: &'static [&'static str],
    /// The measured quantity, in one sentence.
    pub description: &'static str,
}

/// Registers the descriptions of metrics with the recorder of this process, and the counters without labels. A counter
/// that first appeared with its first increment would hide this increment from the rates that a monitoring system
/// computes. Repeated calls have no effect.
pub fn describe(definitions: &[MetricDefinition]) {
    for definition in definitions {
        let MetricDefinition { name, kind, unit, labels, description } = *definition;
        match kind {
            Kind::Counter => {
                metrics::describe_counter!(name, unit, description);
                if labels.is_empty() {
                    metrics::counter!(name).increment(0);
                }
            }
            Kind::Gauge => metrics::describe_gauge!(name, unit, description),
            Kind::Histogram => metrics::describe_histogram!(name, unit, description),
        }
    }
}

macro_rules! kind {
    ($(#[$doc:meta])* $kind:ident, $handle:ident, $macro:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $kind<const LABELS: usize> {
            definition: MetricDefinition,
        }

        impl<const LABELS: usize> $kind<LABELS> {
            /// Creates a metric. Use [`metrics!`](crate::metrics!), which also lists its definition.
            #[must_use]
            pub const fn new(definition: MetricDefinition) -> Self {
                Self { definition }
            }

            /// The name of the metric.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                self.definition.name
            }

            /// The series with these label values, in the order of the definition.
            pub fn with(&self, values: [SharedString; LABELS]) -> metrics::$handle {
                let names = self.definition.labels.iter().copied();
                let labels: Vec<metrics::Label> =
                    names.zip(values).map(|(name, value)| metrics::Label::new(name, value)).collect();
                metrics::$macro!(self.definition.name, labels)
            }
        }
    };
}

kind!(
    /// A sum that only rises, with `LABELS` labels.
    Counter, Counter, counter
);
kind!(
    /// A value that rises and falls, with `LABELS` labels.
    Gauge, Gauge, gauge
);
kind!(
    /// A distribution of observations, with `LABELS` labels.
    Histogram, Histogram, histogram
);

impl Counter<0> {
    /// Adds `value`.
    pub fn increment(&self, value: u64) {
        metrics::counter!(self.definition.name).increment(value);
    }
}

impl Gauge<0> {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        metrics::gauge!(self.definition.name).set(value);
    }
}

impl Histogram<0> {
    /// Records one observation.
    pub fn record(&self, value: impl metrics::IntoF64) {
        metrics::histogram!(self.definition.name).record(value);
    }
}

/// Declares the metrics of a crate, and `ALL`, the list of their definitions.
///
/// ```
/// mod metrics {
///     goconductor_telemetry::metrics! {
///         counter PUBLISHED("goconductor_queue_published_total", Count, ["topic"], "Messages published.");
///         histogram PUBLISH_TIME("goconductor_queue_publish_seconds", Seconds, [], "Duration of a publish.");
///     }
/// }
///
/// metrics::PUBLISHED.with(["default/payments".into()]).increment(2);
/// metrics::PUBLISH_TIME.record(0.003);
/// assert_eq!(metrics::ALL.len(), 2);
/// ```
#[macro_export]
macro_rules! metrics {
    ($($kind:ident $name:ident($text:literal, $unit:ident, [$($label:literal),*], $description:literal);)+) => {
        $($crate::metric!($kind $name($text, $unit, [$($label),*], $description));)+

        /// The definitions of all metrics of this crate.
        pub const ALL: &[$crate::MetricDefinition] =
            &[$($crate::definition!($kind($text, $unit, [$($label),*], $description))),+];
    };
}

/// Declares one metric.
#[doc(hidden)]
#[macro_export]
macro_rules! metric {
    (counter $name:ident($text:literal, $unit:ident, [$($label:literal),*], $description:literal)) => {
        $crate::metric!(@ Counter counter $name($text, $unit, [$($label),*], $description));
    };
    (gauge $name:ident($text:literal, $unit:ident, [$($label:literal),*], $description:literal)) => {
        $crate::metric!(@ Gauge gauge $name($text, $unit, [$($label),*], $description));
    };
    (histogram $name:ident($text:literal, $unit:ident, [$($label:literal),*], $description:literal)) => {
        $crate::metric!(@ Histogram histogram $name($text, $unit, [$($label),*], $description));
    };
    (@ $type:ident $kind:ident $name:ident($text:literal, $unit:ident, [$($label:literal),*], $description:literal)) => {
        #[doc = $description]
        pub(crate) static $name: $crate::$type<{ <[&str]>::len(&[$($label),*]) }> =
            $crate::$type::new($crate::definition!($kind($text, $unit, [$($label),*], $description)));
    };
}

/// One definition.
#[doc(hidden)]
#[macro_export]
macro_rules! definition {
    (counter($($rest:tt)*)) => { $crate::definition!(@ Counter $($rest)*) };
    (gauge($($rest:tt)*)) => { $crate::definition!(@ Gauge $($rest)*) };
    (histogram($($rest:tt)*)) => { $crate::definition!(@ Histogram $($rest)*) };
    (@ $kind:ident $text:literal, $unit:ident, [$($label:literal),*], $description:literal) => {
        $crate::MetricDefinition {
            name: $text,
            kind: $crate::Kind::$kind,
            unit: $crate::Unit::$unit,
            labels: &[$($label),*],
            description: $description,
        }
    };
}

#[cfg(test)]
#[allow(unreachable_pub, reason = "the macro declares `ALL` public, and no other crate uses these metrics")]
mod tests {
    use super::*;

    metrics! {
        counter STARTED("goconductor_test_started_total", Count, ["namespace", "cause"], "Starts in a test.");
        gauge DEPTH("goconductor_test_depth", Count, [], "Depth in a test.");
        histogram TIME("goconductor_test_seconds", Seconds, [], "Duration of a test.");
    }

    #[test]
    fn all_lists_every_metric_in_order() {
        let listed: Vec<_> = ALL.iter().map(|each| (each.name, each.kind.name(), each.labels)).collect();
        let labels: &[&str] = &["namespace", "cause"];
        assert_eq!(
            listed,
            [
                (STARTED.name(), "counter", labels),
                (DEPTH.name(), "gauge", &[]),
                (TIME.name(), "histogram", &[]),
            ]
        );
    }

    #[test]
    fn recording_without_a_recorder_does_nothing() {
        describe(ALL);
        STARTED.with(["default".into(), "test".into()]).increment(1);
        DEPTH.set(2.0);
        TIME.record(0.1);
    }
}
