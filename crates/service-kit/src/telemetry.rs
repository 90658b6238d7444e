//! Logs on stderr, metrics in the text format of Prometheus, and the export by OTLP.

mod exposition;
#[cfg(feature = "otlp")]
mod format;
#[cfg(feature = "otlp")]
mod otlp;
mod recorder;

use crate::config::{LogFormat, TelemetryConfig};
use crate::{log, metrics};
use exposition::TextFormat;
use parking_lot::Mutex;
use recorder::MetricRegistry;
use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, reload};

/// Error of [`init`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log filter is not valid.
    #[error("log filter {filter} is not valid")]
    Filter {
        /// The filter.
        filter: String,
        /// The cause.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// This process already has another recorder of metrics.
    #[error("this process already has another recorder of metrics")]
    RecorderTaken,
}

/// The identity of a process in its telemetry.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The name of the service, such as `saga-executor`.
    pub service: &'a str,
    /// The identity of the process, which no other process has.
    pub instance: &'a str,
}

impl Identity<'_> {
    /// Returns the name of the service with the prefix of all services.
    #[cfg_attr(not(feature = "otlp"), allow(dead_code, reason = "only exported telemetry has the name"))]
    fn service_name(self) -> String {
        format!("goconductor-{}", self.service)
    }
}

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics {
    registry: MetricRegistry,
}

impl Metrics {
    /// Returns all metrics in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        self.render_in(TextFormat::Prometheus)
    }

    /// Returns the content type and the body of a response of `/metrics`, in the format that the client prefers:
    /// OpenMetrics, which has exemplars, or that of Prometheus. `accept` is the client's header `Accept`.
    #[must_use]
    pub fn respond(&self, accept: Option<&str>) -> (&'static str, String) {
        let format = TextFormat::preferred(accept);
        (format.content_type(), self.render_in(format))
    }

    fn render_in(&self, format: TextFormat) -> String {
        record_background_tasks();
        format.render(&self.registry.families())
    }
}

fn record_background_tasks() {
    for (task, count) in goconductor_supervisor::running() {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        metrics::BACKGROUND_TASKS.with([task.into()]).set(f64::from(count));
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Installs the log, the recorder of metrics and the export by OTLP of this process. A repeated call, as in tests, keeps
/// the log and returns the same metrics. Must be called within a Tokio runtime if there is a receiver of OTLP.
///
/// # Errors
/// Returns [`Error::Filter`] if the log filter is not valid, and [`Error::RecorderTaken`] if another recorder is
/// installed.
pub fn init(telemetry: &TelemetryConfig, identity: Identity<'_>) -> Result<Metrics, Error> {
    static METRICS: Mutex<Option<Metrics>> = Mutex::new(None);
    let mut installed = METRICS.lock();
    if let Some(metrics) = &*installed {
        return Ok(metrics.clone());
    }
    let filter = EnvFilter::builder().parse(&telemetry.log_level);
    let filter = filter.map_err(|source| Error::Filter { filter: telemetry.log_level.clone(), source })?;
    let handle = install_recorder()?;
    install_log_and_export(filter, telemetry, identity, &handle);
    goconductor_telemetry::describe(metrics::ALL);
    metrics::BUILD_INFO.with([env!("CARGO_PKG_VERSION").into()]).set(1.0);
    telemetry.log_level.clone_into(&mut LEVEL.lock().0);
    *installed = Some(handle.clone());
    Ok(handle)
}

/// Replaces a filter of the log by that of a new level.
type LevelSetter = Box<dyn Fn(&str) + Send>;

/// The filters of the installed log, and their level.
static LEVEL: Mutex<(String, Vec<LevelSetter>)> = Mutex::new((String::new(), Vec::new()));

/// Changes the level of the log, or its filter by target, while the process runs. A filter that is not valid is ignored.
pub fn set_log_level(level: &str) {
    let mut known = LEVEL.lock();
    if known.0 == level || EnvFilter::builder().parse(level).is_err() {
        return;
    }
    level.clone_into(&mut known.0);
    for set in &known.1 {
        set(level);
    }
}

fn filter_of(level: &str) -> EnvFilter {
    EnvFilter::new(level)
}

/// Lets [`set_log_level`] replace a filter. `filter` creates the filter of a level.
fn keep_filter<S: 'static>(handle: reload::Handle<EnvFilter, S>, filter: fn(&str) -> EnvFilter) {
    LEVEL.lock().1.push(Box::new(move |level| {
        // The log of a test may have been dropped.
        drop(handle.reload(filter(level)));
    }));
}

fn install_recorder() -> Result<Metrics, Error> {
    let registry = MetricRegistry::new();
    ::metrics::set_global_recorder(registry.clone()).map_err(|_| Error::RecorderTaken)?;
    Ok(Metrics { registry })
}

/// Sends the telemetry that was not sent yet, for a limited time, and ends the export. Blocks the thread. Call it before
/// the process ends, while its Tokio runtime still runs.
pub fn shut_down_export() {
    #[cfg(feature = "otlp")]
    if let Some(export) = EXPORT.lock().take() {
        export.shut_down();
    }
}

/// The export of this process, if there is one.
#[cfg(feature = "otlp")]
static EXPORT: Mutex<Option<otlp::Export>> = Mutex::new(None);

#[cfg(not(feature = "otlp"))]
fn install_log_and_export(filter: EnvFilter, telemetry: &TelemetryConfig, _: Identity<'_>, _: &Metrics) {
    install_log(filter, telemetry.log_format);
}

/// Installs the log and, if there is a receiver, the export. An export that cannot be set up must not keep the service
/// from its work.
#[cfg(feature = "otlp")]
fn install_log_and_export(
    filter: EnvFilter,
    telemetry: &TelemetryConfig,
    identity: Identity<'_>,
    metrics: &Metrics,
) {
    let Some(settings) = &telemetry.otlp else { return install_log(filter, telemetry.log_format) };
    match otlp::Export::start(settings, telemetry, identity, &metrics.registry) {
        Ok(export) => {
            install_log_with(&export, filter, telemetry);
            goconductor_telemetry::trace::begin_export(telemetry.sampling);
            *EXPORT.lock() = Some(export);
        }
        Err(error) => {
            install_log(filter, telemetry.log_format);
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, endpoint = %settings.endpoint, "export of telemetry failed to start");
            return;
        }
    }
    tracing::info!(endpoint = %settings.endpoint, sampling = telemetry.sampling, "export of telemetry started");
}

/// Installs the log with the layers of an export.
#[cfg(feature = "otlp")]
fn install_log_with(export: &otlp::Export, filter: EnvFilter, telemetry: &TelemetryConfig) {
    use format::WithIds;
    use tracing_subscriber::Layer;
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;

    let lines = tracing_subscriber::fmt::layer()
        .with_writer(log::LogWriter::standard)
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match telemetry.log_format {
        LogFormat::Text => lines.map_event_format(|format| WithIds { format, is_json: false }).boxed(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true);
            lines.map_event_format(|format| WithIds { format, is_json: true }).boxed()
        }
    };
    let spans = Targets::new().with_target(goconductor_telemetry::trace::TARGET, LevelFilter::DEBUG);
    let (filter, lines_level) = reload::Layer::new(filter);
    let (without_export_filter, records_level) = reload::Layer::new(without_export(&telemetry.log_level));
    let records = export.logs().map(|records| records.with_filter(without_export_filter));
    let installed = tracing_subscriber::registry()
        .with(export.spans().with_filter(spans))
        .with(lines.with_filter(filter))
        .with(records)
        .try_init();
    match installed {
        Ok(()) => {
            keep_filter(lines_level, filter_of);
            keep_filter(records_level, without_export);
        }
        Err(error) => tracing::debug!(%error, "log was already installed"),
    }
}

/// Returns the filter of exported log records: that of the log, without the libraries that the export itself uses. Each
/// request of the export could otherwise cause the next one.
#[cfg(feature = "otlp")]
fn without_export(directives: &str) -> EnvFilter {
    let own = ["h2", "hyper", "hyper_util", "opentelemetry", "rustls", "tonic", "tower"];
    let own = own.iter().map(|target| format!("{target}=off"));
    let all: Vec<String> = std::iter::once(directives.to_owned()).chain(own).collect();
    EnvFilter::new(all.join(","))
}

/// Installs the log, unless there is one already, such as that of a test.
fn install_log(filter: EnvFilter, format: LogFormat) {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log::LogWriter::standard)
        // An event that cannot be formatted is lost. Reporting it on standard error could block or panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let installed = match format {
        LogFormat::Text => {
            let log = log.with_filter_reloading();
            let level = log.reload_handle();
            log.try_init().map(|()| keep_filter(level, filter_of))
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_filter_reloading();
            let level = log.reload_handle();
            log.try_init().map(|()| keep_filter(level, filter_of))
        }
    };
    if let Err(error) = installed {
        tracing::debug!(%error, "log was already installed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: Identity<'static> = Identity { service: "test", instance: "test-1" };

    mod test_metrics {
        goconductor_telemetry::metrics! {
            histogram TEST_SECONDS("goconductor_test_seconds", Seconds, [], "Duration of a test.");
        }
    }

    #[test]
    fn repeated_init_returns_the_same_metrics() {
        let telemetry = TelemetryConfig {
            log_level: "info,goconductor=debug".to_owned(),
            log_format: LogFormat::Json,
            ..TelemetryConfig::default()
        };
        let first = init(&telemetry, TEST).expect("the first call installs a recorder");
        let second = init(&telemetry, TEST).expect("the second call returns the installed recorder");
        goconductor_telemetry::describe(test_metrics::ALL);
        test_metrics::TEST_SECONDS.record(0.003);
        for metrics in [first, second] {
            let text = metrics.render();
            for line in [
                "# HELP goconductor_test_seconds Duration of a test.",
                "goconductor_test_seconds_bucket{le=\"0.002\"} 0",
                "goconductor_test_seconds_bucket{le=\"0.005\"} 1",
                "goconductor_build_info{version=",
            ] {
                assert!(text.contains(line), "{line} is not in\n{text}");
            }
        }
    }

    #[test]
    fn invalid_filter_is_refused() {
        let telemetry = TelemetryConfig { log_level: "loud=very".to_owned(), ..TelemetryConfig::default() };
        // If the other test has already installed the log, the filter is not read.
        match init(&telemetry, TEST) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.to_string(), "log filter loud=very is not valid"),
        }
    }
}
