//! The export of traces, metrics and logs by OTLP.
//!
//! Spans and log records wait in bounded queues. One thread for each signal sends them in batches. Code that is traced
//! never waits for the receiver: what does not fit into a queue, and what the receiver does not accept, is lost and
//! counted.

mod bounded;
mod http_client;
mod metrics;

use super::Identity;
use super::recorder::MetricRegistry;
use crate::config::{OtlpConfig, OtlpProtocol, TelemetryConfig};
use bounded::{BoundedLogs, BoundedSpans, CountedLogs, CountedSpans, Unsent};
use http_client::ExportClient;
use metrics::MetricsExport;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::ClientTlsConfig;
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

/// Time for which the end of a process waits until the rest of the telemetry is sent. The receiver may be unreachable.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// The paths of the signals below the endpoint, for HTTP.
const TRACES_PATH: &str = "/v1/traces";
const LOGS_PATH: &str = "/v1/logs";

/// Why telemetry cannot be exported.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    /// The exporter refused its settings, or a variable of the environment.
    #[error("failed to create the exporter of OTLP")]
    Exporter(#[from] ExporterBuildError),
    /// The root certificates of the system could not be read.
    #[error("failed to load the system's root certificates")]
    Certificates(#[source] std::io::Error),
    /// The endpoint cannot be used by gRPC.
    #[error("failed to use the endpoint of OTLP")]
    Endpoint(#[source] tonic::transport::Error),
    /// A header cannot be sent.
    #[error("header {0} cannot be sent by gRPC")]
    Header(String),
}

/// The export of this process.
#[derive(Debug)]
pub(super) struct Export {
    traces: SdkTracerProvider,
    logs: Option<SdkLoggerProvider>,
    metrics: Option<MetricsExport>,
}

impl Export {
    /// Starts the export. It connects in the background. Must be called within a Tokio runtime.
    pub(super) fn start(
        otlp: &OtlpConfig,
        telemetry: &TelemetryConfig,
        identity: Identity<'_>,
        registry: &MetricRegistry,
    ) -> Result<Self, ExportError> {
        let resource = resource(&telemetry.resource, identity);
        let unsent = Unsent::new("traces");
        let exporter = CountedSpans::new(span_exporter(otlp)?, unsent.clone());
        // Whether a new trace is recorded is decided before its first span is created: see `trace::is_recorded`.
        let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
        let traces = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_resource(resource.clone())
            .with_span_processor(BoundedSpans::new(exporter, unsent))
            .build();
        let logs = if telemetry.otlp_logs {
            let unsent = Unsent::new("logs");
            let exporter = CountedLogs::new(log_exporter(otlp)?, unsent.clone());
            let processor = BoundedLogs::new(exporter, unsent);
            let logs = SdkLoggerProvider::builder().with_resource(resource.clone());
            Some(logs.with_log_processor(processor).build())
        } else {
            None
        };
        let start = |interval| MetricsExport::start(otlp, interval, registry.clone(), &resource);
        let metrics = telemetry.otlp_metrics.map(start).transpose()?;
        Ok(Self { traces, logs, metrics })
    }

    /// Returns the layer that turns spans of `tracing` into spans of a trace.
    pub(super) fn spans<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.traces.tracer("goconductor"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_tracked_inactivity(false)
    }

    /// Returns the layer that exports the events of `tracing` as log records.
    pub(super) fn logs(&self) -> Option<OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger>> {
        self.logs.as_ref().map(OpenTelemetryTracingBridge::new)
    }

    /// Sends what was not sent yet, for a limited time, and ends the export. Blocks the thread.
    pub(super) fn shut_down(self) {
        if let Some(metrics) = self.metrics {
            metrics.shut_down();
        }
        if let Err(error) = self.traces.shutdown_with_timeout(SHUTDOWN_TIMEOUT) {
            tracing::warn!(%error, "spans were still in the queue at the end of the process");
        }
        let logs = self.logs.map(|logs| logs.shutdown_with_timeout(SHUTDOWN_TIMEOUT));
        if let Some(Err(error)) = logs {
            tracing::warn!(%error, "log records were still in the queue at the end of the process");
        }
    }
}

fn span_exporter(otlp: &OtlpConfig) -> Result<SpanExporter, ExportError> {
    let builder = SpanExporter::builder();
    Ok(match otlp.protocol {
        OtlpProtocol::Grpc => over_grpc(builder.with_tonic(), otlp)?.build()?,
        OtlpProtocol::HttpProtobuf => over_http(builder.with_http(), otlp, TRACES_PATH)?.build()?,
    })
}

fn log_exporter(otlp: &OtlpConfig) -> Result<LogExporter, ExportError> {
    let builder = LogExporter::builder();
    Ok(match otlp.protocol {
        OtlpProtocol::Grpc => over_grpc(builder.with_tonic(), otlp)?.build()?,
        OtlpProtocol::HttpProtobuf => over_http(builder.with_http(), otlp, LOGS_PATH)?.build()?,
    })
}

/// Applies the settings to an exporter of any signal that uses gRPC.
fn over_grpc<B: WithExportConfig + WithTonicConfig>(builder: B, otlp: &OtlpConfig) -> Result<B, ExportError> {
    let builder = builder.with_endpoint(otlp.endpoint.expose()).with_timeout(otlp.timeout);
    Ok(builder.with_metadata(metadata(otlp)?).with_tls_config(tls()))
}

/// Applies the settings to an exporter of any signal that uses HTTP.
fn over_http<B: WithExportConfig + WithHttpConfig>(
    builder: B,
    otlp: &OtlpConfig,
    path: &str,
) -> Result<B, ExportError> {
    let builder = builder.with_endpoint(url(otlp, path)).with_timeout(otlp.timeout);
    Ok(builder.with_headers(headers(otlp)).with_http_client(ExportClient::new(otlp.timeout)?))
}

/// The settings of TLS, which gRPC uses for an endpoint with the scheme `https`.
fn tls() -> ClientTlsConfig {
    ClientTlsConfig::new().with_native_roots()
}

fn url(otlp: &OtlpConfig, path: &str) -> String {
    format!("{}{path}", otlp.endpoint.expose().trim_end_matches('/'))
}

fn headers(otlp: &OtlpConfig) -> std::collections::HashMap<String, String> {
    let header =
        |(name, value): (&String, &secrecy::SecretString)| (name.clone(), value.expose_secret().to_owned());
    otlp.headers.iter().map(header).collect()
}

fn metadata(otlp: &OtlpConfig) -> Result<MetadataMap, ExportError> {
    let mut metadata = MetadataMap::with_capacity(otlp.headers.len());
    for (name, value) in &otlp.headers {
        let invalid = || ExportError::Header(name.clone());
        let key = MetadataKey::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let mut value = MetadataValue::try_from(value.expose_secret()).map_err(|_| invalid())?;
        value.set_sensitive(true);
        metadata.insert(key, value);
    }
    Ok(metadata)
}

/// Returns the attributes of this process. The configured ones override the others.
fn resource(configured: &BTreeMap<String, String>, identity: Identity<'_>) -> Resource {
    let mut attributes = BTreeMap::from([
        ("service.name".to_owned(), identity.service_name()),
        ("service.instance.id".to_owned(), identity.instance.to_owned()),
        ("service.version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("process.pid".to_owned(), std::process::id().to_string()),
    ]);
    if let Ok(host) = rustix::system::uname().nodename().to_str() {
        attributes.insert("host.name".to_owned(), host.to_owned());
    }
    attributes.extend(configured.clone());
    let attributes = attributes.into_iter().map(|(name, value)| match value.parse::<i64>() {
        Ok(number) if name == "process.pid" => KeyValue::new(name, number),
        Ok(_) | Err(_) => KeyValue::new(name, value),
    });
    Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes(attributes)
        .build()
}
