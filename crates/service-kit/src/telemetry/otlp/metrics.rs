//! The export of metrics: the values of the recorder at an interval. Values are cumulative, so a request that fails is
//! not repeated: the next one contains everything.

use super::http_client::ExportClient;
use super::{ExportError, SHUTDOWN_TIMEOUT, headers, metadata, tls, url};
use crate::config::{OtlpConfig, OtlpProtocol};
use crate::metrics;
use crate::telemetry::recorder::{
    FamilyPoints, HistogramValue, Labels, MetricFamily, MetricRegistry, TraceExemplar,
};
use opentelemetry_http::{Bytes, HttpClient, Request};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint};

/// The path of metrics below the endpoint, for HTTP.
const METRICS_PATH: &str = "/v1/metrics";
const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Sends the metrics of this process.
#[derive(Debug)]
pub(super) struct MetricsExport {
    sender: Sender,
    runtime: Handle,
    task: tokio::task::JoinHandle<()>,
}

/// Everything that a request needs.
#[derive(Debug, Clone)]
struct Sender {
    transport: MetricsTransport,
    registry: MetricRegistry,
    resource: Resource,
    started_at: SystemTime,
}

/// The connection to the receiver.
#[derive(Debug, Clone)]
enum MetricsTransport {
    Grpc { channel: Channel, metadata: tonic::metadata::MetadataMap },
    Http { client: Box<ExportClient>, url: String, headers: std::collections::HashMap<String, String> },
}

impl MetricsExport {
    /// Starts to send the metrics of `registry` at an interval. Must be called within a Tokio runtime.
    pub(super) fn start(
        otlp: &OtlpConfig,
        interval: Duration,
        registry: MetricRegistry,
        resource: &opentelemetry_sdk::Resource,
    ) -> Result<Self, ExportError> {
        let convert = |(name, value): (&opentelemetry::Key, &opentelemetry::Value)| {
            if let opentelemetry::Value::I64(number) = value {
                return attribute(name.as_str(), any_value::Value::IntValue(*number));
            }
            text_attribute(name.as_str(), &value.as_str())
        };
        let attributes = resource.iter().map(convert).collect();
        let resource = Resource { attributes, ..Resource::default() };
        #[allow(clippy::disallowed_methods, reason = "a cumulative value carries the time of its beginning")]
        let started_at = SystemTime::now();
        let sender = Sender { transport: MetricsTransport::new(otlp)?, registry, resource, started_at };
        let task = goconductor_supervisor::spawn("metrics-export", sender.clone().send_loop(interval));
        Ok(Self { sender, runtime: Handle::current(), task })
    }

    /// Sends the last values, for a limited time. Blocks the thread.
    pub(super) fn shut_down(self) {
        self.task.abort();
        // The timeout is created within the runtime, which it needs.
        let send = async { tokio::time::timeout(SHUTDOWN_TIMEOUT, self.sender.send()).await };
        if !matches!(self.runtime.block_on(send), Ok(Ok(()))) {
            tracing::warn!("the last values of metrics were not exported");
        }
    }
}

impl Sender {
    async fn send_loop(self, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is immediate, when no value exists yet.
        ticks.tick().await;
        let mut is_failing = false;
        loop {
            ticks.tick().await;
            let sent = self.send().await;
            if let Err(error) = &sent {
                metrics::TELEMETRY_LOST.with(["metrics".into(), "export_failed".into()]).increment(1);
                if !is_failing {
                    tracing::warn!(signal = "metrics", error, "telemetry was not exported");
                }
            }
            is_failing = sent.is_err();
        }
    }

    async fn send(&self) -> Result<(), String> {
        #[allow(clippy::disallowed_methods, reason = "a value carries the time at which it was read")]
        let times = Times { started_at: nanos(self.started_at), now: nanos(SystemTime::now()) };
        crate::telemetry::record_background_tasks();
        let metrics = converted(&self.registry.families(), times);
        let scope = InstrumentationScope {
            name: "goconductor".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
        let resource = Some(self.resource.clone());
        let resource_metrics =
            vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
        self.transport.send(ExportMetricsServiceRequest { resource_metrics }).await
    }
}

impl MetricsTransport {
    fn new(otlp: &OtlpConfig) -> Result<Self, ExportError> {
        Ok(match otlp.protocol {
            OtlpProtocol::Grpc => {
                let endpoint = Endpoint::from_shared(otlp.endpoint.expose().to_owned())
                    .and_then(|endpoint| endpoint.tls_config(tls()))
                    .map_err(ExportError::Endpoint)?;
                let channel = endpoint.timeout(otlp.timeout).connect_timeout(otlp.timeout).connect_lazy();
                Self::Grpc { channel, metadata: metadata(otlp)? }
            }
            OtlpProtocol::HttpProtobuf => Self::Http {
                client: Box::new(ExportClient::new(otlp.timeout)?),
                url: url(otlp, METRICS_PATH),
                headers: headers(otlp),
            },
        })
    }

    async fn send(&self, request: ExportMetricsServiceRequest) -> Result<(), String> {
        match self {
            Self::Grpc { channel, metadata } => {
                let mut request = tonic::Request::new(request);
                *request.metadata_mut() = metadata.clone();
                let mut client = MetricsServiceClient::new(channel.clone());
                client.export(request).await.map(drop).map_err(|status| status.to_string())
            }
            Self::Http { client, url, headers } => {
                let mut builder =
                    Request::post(url.as_str()).header("content-type", "application/x-protobuf");
                for (name, value) in headers {
                    builder = builder.header(name, value);
                }
                let request =
                    builder.body(Bytes::from(request.encode_to_vec())).map_err(|error| error.to_string())?;
                let response = client.send_bytes(request).await.map_err(|error| error.to_string())?;
                let status = response.status();
                if status.is_success() { Ok(()) } else { Err(format!("the receiver answered {status}")) }
            }
        }
    }
}

/// The times of a value, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Times {
    started_at: u64,
    now: u64,
}

fn nanos(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

fn attribute(name: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text_attribute(name: &str, value: &str) -> KeyValue {
    attribute(name, any_value::Value::StringValue(value.to_owned()))
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| text_attribute(name, value)).collect()
}

fn converted(families: &BTreeMap<String, MetricFamily>, times: Times) -> Vec<Metric> {
    let convert = |(name, family): (&String, &MetricFamily)| {
        let is_counter = matches!(family.points, FamilyPoints::Counters(_));
        let name = name.strip_suffix("_total").filter(|_| is_counter).unwrap_or(name);
        Metric {
            name: name.to_owned(),
            description: family.description.to_string(),
            unit: unit(family).to_owned(),
            data: Some(data(&family.points, times)),
            ..Metric::default()
        }
    };
    families.iter().map(convert).collect()
}

/// Returns the unit in the notation of UCUM.
fn unit(family: &MetricFamily) -> &'static str {
    match family.unit {
        Some(::metrics::Unit::Seconds) => "s",
        Some(::metrics::Unit::Bytes) => "By",
        _ => "",
    }
}

fn data(points: &FamilyPoints, times: Times) -> metric::Data {
    let number = |labels: &Labels, value| NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: times.started_at,
        time_unix_nano: times.now,
        value: Some(value),
        ..NumberDataPoint::default()
    };
    match points {
        FamilyPoints::Counters(points) => {
            let whole =
                |value: u64| number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX));
            let data_points = points.iter().map(|(labels, value)| number(labels, whole(*value))).collect();
            metric::Data::Sum(Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true })
        }
        FamilyPoints::Gauges(points) => {
            let value = number_data_point::Value::AsDouble;
            let data_points = points.iter().map(|(labels, point)| number(labels, value(*point))).collect();
            metric::Data::Gauge(Gauge { data_points })
        }
        FamilyPoints::Histograms(points) => {
            let data_points = points.iter().map(|(labels, value)| histogram(labels, value, times)).collect();
            metric::Data::Histogram(Histogram { data_points, aggregation_temporality: CUMULATIVE })
        }
    }
}

fn histogram(labels: &Labels, value: &HistogramValue, times: Times) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: times.started_at,
        time_unix_nano: times.now,
        count: value.counts.iter().sum(),
        sum: Some(value.sum),
        bucket_counts: value.counts.clone(),
        explicit_bounds: value.bounds.to_vec(),
        exemplars: value.exemplars.iter().flatten().map(exemplar).collect(),
        ..HistogramDataPoint::default()
    }
}

fn exemplar(exemplar: &TraceExemplar) -> Exemplar {
    Exemplar {
        time_unix_nano: nanos(exemplar.at),
        trace_id: bytes(&exemplar.trace_id),
        span_id: bytes(&exemplar.span_id),
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
        ..Exemplar::default()
    }
}

/// Returns the bytes of hexadecimal digits.
fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits: Vec<u8> = hex.as_bytes().iter().filter_map(digit).collect();
    digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretUrl;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
    use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
        MetricsService, MetricsServiceServer,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn names_units_and_values_follow_the_mapping_of_opentelemetry() {
        let labels = vec![("kind".to_owned(), "a".to_owned())];
        let exemplar = TraceExemplar {
            value: 0.5,
            at: UNIX_EPOCH + Duration::from_nanos(5),
            trace_id: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            span_id: "b7ad6b7169203331".to_owned(),
        };
        let histogram = HistogramValue {
            bounds: &[1.0],
            counts: vec![2, 1],
            sum: 4.5,
            exemplars: vec![Some(exemplar), None],
        };
        let family = |unit, points| MetricFamily { unit: Some(unit), description: "A.".into(), points };
        let families = BTreeMap::from([
            (
                "a_total".to_owned(),
                family(::metrics::Unit::Count, FamilyPoints::Counters(BTreeMap::from([(labels.clone(), 7)]))),
            ),
            (
                "b_bytes".to_owned(),
                family(::metrics::Unit::Bytes, FamilyPoints::Gauges(BTreeMap::from([(Vec::new(), 2.5)]))),
            ),
            (
                "c_seconds".to_owned(),
                family(
                    ::metrics::Unit::Seconds,
                    FamilyPoints::Histograms(BTreeMap::from([(labels, histogram)])),
                ),
            ),
        ]);
        let found = converted(&families, Times { started_at: 1, now: 2 });
        let names: Vec<_> = found.iter().map(|metric| (metric.name.as_str(), metric.unit.as_str())).collect();
        assert_eq!(names, [("a", ""), ("b_bytes", "By"), ("c_seconds", "s")]);
        let Some(metric::Data::Sum(sum)) = &found[0].data else { panic!("{:?}", found[0]) };
        assert!(sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE);
        assert_eq!(sum.data_points[0].value, Some(number_data_point::Value::AsInt(7)));
        assert_eq!((sum.data_points[0].start_time_unix_nano, sum.data_points[0].time_unix_nano), (1, 2));
        let Some(metric::Data::Histogram(histogram)) = &found[2].data else { panic!("{:?}", found[2]) };
        let point = &histogram.data_points[0];
        assert_eq!(
            (point.count, point.sum, point.bucket_counts.as_slice()),
            (3, Some(4.5), [2, 1].as_slice())
        );
        let [exemplar] = point.exemplars.as_slice() else { panic!("{point:?}") };
        assert_eq!((exemplar.trace_id.len(), exemplar.span_id.as_slice()[0]), (16, 0xb7));
        assert_eq!(exemplar.time_unix_nano, 5);
    }

    /// Receives requests of the export by both protocols, and passes them on.
    #[derive(Debug, Clone)]
    struct Receiver(tokio::sync::mpsc::UnboundedSender<ExportMetricsServiceRequest>);

    #[tonic::async_trait]
    impl MetricsService for Receiver {
        async fn export(
            &self,
            request: tonic::Request<ExportMetricsServiceRequest>,
        ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
            assert_eq!(
                request.metadata().get("x-api-key").map(|key| key.as_bytes()),
                Some(b"secret".as_slice())
            );
            self.0.send(request.into_inner()).map_err(|_| tonic::Status::internal("closed"))?;
            Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
        }
    }

    impl Receiver {
        /// Answers one request of HTTP on each connection.
        async fn serve_http(self, listener: TcpListener) {
            while let Ok((mut connection, _)) = listener.accept().await {
                let mut received = Vec::new();
                let body = loop {
                    let mut part = [0; 4096];
                    let length = connection.read(&mut part).await.unwrap();
                    received.extend_from_slice(&part[..length]);
                    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
                        continue;
                    };
                    let head = String::from_utf8_lossy(&received[..end]).to_lowercase();
                    assert!(
                        head.starts_with("post /v1/metrics ") && head.contains("x-api-key: secret"),
                        "{head}"
                    );
                    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                    if received.len() >= end + 4 + length.parse::<usize>().unwrap() {
                        break received.split_off(end + 4);
                    }
                };
                self.0.send(ExportMetricsServiceRequest::decode(body.as_slice()).unwrap()).unwrap();
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                connection.write_all(answer).await.unwrap();
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn values_arrive_by_each_protocol() {
        for protocol in [OtlpProtocol::Grpc, OtlpProtocol::HttpProtobuf] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
            let server = match protocol {
                OtlpProtocol::Grpc => tokio::spawn(async move {
                    let connections = tonic::transport::server::TcpIncoming::from(listener);
                    let service = MetricsServiceServer::new(Receiver(sender));
                    let mut server = tonic::transport::Server::builder();
                    server.add_service(service).serve_with_incoming(connections).await.unwrap();
                }),
                OtlpProtocol::HttpProtobuf => tokio::spawn(Receiver(sender).serve_http(listener)),
            };
            let otlp = OtlpConfig {
                endpoint: SecretUrl::new(endpoint),
                protocol,
                headers: BTreeMap::from([("x-api-key".to_owned(), "secret".into())]),
                timeout: Duration::from_secs(10),
            };
            let registry = MetricRegistry::new();
            let key = ::metrics::Key::from_name("goconductor_test_total");
            let metadata = ::metrics::Metadata::new("test", ::metrics::Level::INFO, None);
            ::metrics::Recorder::register_counter(&registry, &key, &metadata).increment(3);
            let resource = opentelemetry_sdk::Resource::builder_empty()
                .with_attribute(opentelemetry::KeyValue::new("service.name", "goconductor-test"))
                .build();
            let export = MetricsExport::start(&otlp, Duration::from_millis(20), registry, &resource).unwrap();
            let request = requests.recv().await.unwrap();
            let metrics = &request.resource_metrics[0];
            assert_eq!(metrics.resource.as_ref().unwrap().attributes[0].key, "service.name");
            assert_eq!(metrics.scope_metrics[0].metrics[0].name, "goconductor_test");
            tokio::task::spawn_blocking(|| export.shut_down()).await.unwrap();
            server.abort();
        }
    }
}
