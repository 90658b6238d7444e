//! Logs to stderr, and metrics in the form that Prometheus reads.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::Unit;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Telemetry};

/// The bounds of every histogram of durations: an idle step takes milliseconds, a long poll half a minute.
const SECONDS: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// How often what was observed is folded into the histograms: between two scrapes it would pile up.
const UPKEEP: Duration = Duration::from_secs(5);

/// What this crate measures itself.
const OWN: [Metric; 1] = [Metric {
    name: "goconductor_build_info",
    kind: MetricKind::Gauge,
    unit: Unit::Count,
    help: "Always 1; the label says which release this is.",
}];

/// Why logs or metrics are not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log's filter can't be read.
    #[error("log filter {filter} can't be read")]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody else records this process's metrics.
    #[error("the metrics of this process are recorded by somebody else")]
    RecorderTaken,
    /// The histograms can't be set up.
    #[error("the histograms can't be set up")]
    Buckets(#[source] metrics_exporter_prometheus::BuildError),
}

/// Which of the three kinds a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts observations by size; one whose name ends in `_seconds` has bounds made for durations.
    Histogram,
}

/// A metric, told to whoever reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name: `goconductor_…`, with the unit last.
    pub name: &'static str,
    /// Which kind.
    pub kind: MetricKind,
    /// What is counted.
    pub unit: Unit,
    /// What it says, in a sentence.
    pub help: &'static str,
}

/// Describes metrics, so that a scrape says what they are. A second time changes nothing.
pub fn describe(described: &[Metric]) {
    for metric in described {
        let Metric { name, kind, unit, help } = *metric;
        match kind {
            MetricKind::Counter => metrics::describe_counter!(name, unit, help),
            MetricKind::Gauge => metrics::describe_gauge!(name, unit, help),
            MetricKind::Histogram => metrics::describe_histogram!(name, unit, help),
        }
    }
}

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Everything that was measured, in the text form that Prometheus scrapes.
    #[must_use]
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds what was observed into the histograms, for ever: spawn it beside what serves `/metrics`.
    /// Safe to cancel.
    pub async fn keep_up(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Starts logging and measuring for this process. A second call, as tests make it, leaves the log as it is
/// and gives the same metrics.
///
/// # Errors
/// When the filter can't be read, or metrics are recorded by somebody else.
pub fn init(telemetry: &Telemetry) -> Result<Metrics, Error> {
    static METRICS: Mutex<Option<Metrics>> = Mutex::new(None);
    let mut installed = METRICS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(metrics) = &*installed {
        return Ok(metrics.clone());
    }
    let filter = EnvFilter::builder().parse(&telemetry.log_level);
    let filter = filter.map_err(|source| Error::Filter { filter: telemetry.log_level.clone(), source })?;
    let metrics = install_recorder()?;
    install_log(filter, telemetry.log_format);
    describe(&OWN);
    metrics::gauge!("goconductor_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    *installed = Some(metrics.clone());
    Ok(metrics)
}

fn install_recorder() -> Result<Metrics, Error> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let builder =
        PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS).map_err(Error::Buckets)?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|_| Error::RecorderTaken)?;
    Ok(Metrics { handle })
}

/// A log that is there already, such as a test's, stays.
fn install_log(filter: EnvFilter, format: LogFormat) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let installed = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    if let Err(error) = installed {
        tracing::debug!(%error, "the log was set up before");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_gives_the_same_metrics() {
        let telemetry =
            Telemetry { log_level: "info,goconductor=debug".to_owned(), log_format: LogFormat::Json };
        let first = init(&telemetry).expect("installed");
        let second = init(&telemetry).expect("given again");
        describe(&[Metric {
            name: "goconductor_test_seconds",
            kind: MetricKind::Histogram,
            unit: Unit::Seconds,
            help: "How long a test takes.",
        }]);
        metrics::histogram!("goconductor_test_seconds").record(0.003);
        for metrics in [first, second] {
            let text = metrics.render();
            for line in [
                "# HELP goconductor_test_seconds How long a test takes.",
                "goconductor_test_seconds_bucket{le=\"0.002\"} 0",
                "goconductor_test_seconds_bucket{le=\"0.005\"} 1",
                "goconductor_build_info{version=",
            ] {
                assert!(text.contains(line), "{line} is not in\n{text}");
            }
        }
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        let telemetry = Telemetry { log_level: "loud=very".to_owned(), log_format: LogFormat::Text };
        // The other test may have been first: then the filter is not looked at.
        match init(&telemetry) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.to_string(), "log filter loud=very can't be read"),
        }
    }
}
