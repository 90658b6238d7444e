//! The section `telemetry`: logs, and the export of telemetry by OTLP.

use super::reader::SettingReader;
use super::secret_url::SecretUrl;
use super::value;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::time::Duration;

const ENDPOINT: &str = "telemetry.otlp.endpoint";
const HEADERS: &str = "telemetry.otlp.headers";
const RESOURCE: &str = "telemetry.resource";

/// Logs, and the export of telemetry.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// A level, or a filter by target.
    pub log_level: String,
    /// The format of a log line.
    pub log_format: LogFormat,
    /// The export by OTLP. `None` if it is off.
    pub otlp: Option<OtlpConfig>,
    /// The share of the traces that begin here and are sampled, from 0 to 1.
    pub sampling: f64,
    /// Whether log records are exported as well.
    pub otlp_logs: bool,
    /// The interval at which metrics are exported as well. `None` if they are not.
    pub otlp_metrics: Option<Duration>,
    /// Attributes of the resource, which override those that the process sets itself.
    pub resource: BTreeMap<String, String>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_level: "info".to_owned(),
            log_format: LogFormat::Text,
            otlp: None,
            sampling: 1.0,
            otlp_logs: false,
            otlp_metrics: None,
            resource: BTreeMap::new(),
        }
    }
}

/// The receiver of telemetry: a collector, or a backend that accepts OTLP.
#[derive(Debug, Clone)]
pub struct OtlpConfig {
    /// The URL without the paths of the signals.
    pub endpoint: SecretUrl,
    /// The protocol.
    pub protocol: OtlpProtocol,
    /// Headers of each request, such as an API key. The names are in lower case.
    pub headers: BTreeMap<String, SecretString>,
    /// Timeout of one request.
    pub timeout: Duration,
}

/// Format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Protocol of OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP/1.1.
    HttpProtobuf,
}

pub(super) fn read(reader: &mut SettingReader<'_>) -> TelemetryConfig {
    const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
    let default = TelemetryConfig::default();
    TelemetryConfig {
        log_level: reader.get("telemetry.log_level", &value::log_level(), default.log_level),
        log_format: reader.get("telemetry.log_format", &value::choice(FORMATS), default.log_format),
        otlp: otlp(reader),
        sampling: reader.get("telemetry.traces.sampling", &value::ratio(), default.sampling),
        otlp_logs: reader.get("telemetry.logs.otlp", &value::boolean(), default.otlp_logs),
        otlp_metrics: otlp_metrics(reader),
        resource: resource(reader),
    }
}

fn otlp(reader: &mut SettingReader<'_>) -> Option<OtlpConfig> {
    const PROTOCOLS: &[(&str, OtlpProtocol)] =
        &[("grpc", OtlpProtocol::Grpc), ("http/protobuf", OtlpProtocol::HttpProtobuf)];
    let (shortest, longest) = (Duration::from_millis(10), Duration::from_secs(300));
    let enabled = reader.get("telemetry.otlp.enabled", &value::boolean(), true);
    let endpoint = reader.get(ENDPOINT, &value::optional_endpoint_url("http://127.0.0.1:4317"), None);
    let protocol = reader.get("telemetry.otlp.protocol", &value::choice(PROTOCOLS), OtlpProtocol::Grpc);
    let headers = headers(reader);
    let timeout = value::duration(shortest, longest);
    let timeout = reader.get("telemetry.otlp.timeout", &timeout, Duration::from_secs(10));
    let endpoint = endpoint.filter(|_| enabled)?;
    if !cfg!(feature = "otlp") {
        let message = "this build does not contain OTLP: build with `--features otlp`, or build all services with \
                       `cargo build --workspace --release`";
        reader.problem(ENDPOINT, reader.origin(ENDPOINT), message);
    }
    Some(OtlpConfig { endpoint, protocol, headers, timeout })
}

fn otlp_metrics(reader: &mut SettingReader<'_>) -> Option<Duration> {
    let interval = value::duration(Duration::from_secs(1), Duration::from_secs(3600));
    let is_on = reader.get("telemetry.metrics.otlp", &value::boolean(), false);
    let interval = reader.get("telemetry.metrics.interval", &interval, Duration::from_secs(60));
    is_on.then_some(interval)
}

fn headers(reader: &mut SettingReader<'_>) -> BTreeMap<String, SecretString> {
    let mut headers = BTreeMap::new();
    for name in reader.paths_below(HEADERS) {
        // gRPC transfers the values of headers with this suffix as bytes.
        let header = http::HeaderName::from_bytes(name.as_bytes()).ok();
        let Some(header) = header.filter(|header| !header.as_str().ends_with("-bin")) else {
            let message = format!("{name} is not the name of a header that has a text as its value");
            reader.refuse_name(HEADERS, &name, message);
            continue;
        };
        if let Some(value) = reader.optional(&format!("{HEADERS}.{name}"), &value::header()) {
            headers.insert(header.as_str().to_owned(), value);
        }
    }
    headers
}

fn resource(reader: &mut SettingReader<'_>) -> BTreeMap<String, String> {
    let attribute = value::text("a text", |text| !text.is_empty() && !text.contains(char::is_control));
    let mut attributes = BTreeMap::new();
    for name in reader.paths_below(RESOURCE) {
        if let Some(value) = reader.optional(&format!("{RESOURCE}.{name}"), &attribute) {
            attributes.insert(name, value);
        }
    }
    attributes
}
