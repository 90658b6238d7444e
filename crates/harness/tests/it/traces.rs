//! Traces of orders, read back from a real Jaeger.

mod jaeger;

use crate::cluster::{ONE, possible, serve_order};
use goconductor_harness::check::{Start, UtcTime, digest};
use goconductor_harness::{Api, Broker, Call, Cluster, ClusterOptions, Dev, DevOptions, Participants};
use jaeger::{Jaeger, Trace, TraceSpan};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

/// The time in which an order must end.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// The span of a caller with a trace of its own.
const CALLER_SPAN: &str = "00f067aa0ba902b7";
/// The spans of the attempts of an order whose last step is refused.
const ROLLED_BACK: [&str; 5] = [
    "execute stock/reserve",
    "execute payments/charge",
    "execute stock/ship",
    "compensate payments/refund",
    "compensate stock/release",
];
const START: &str = "POST /api/v1/workflows";
const LOGS: &str = "info,goconductor_saga_executor=debug";

/// The settings of a cluster whose processes export to the Jaeger of the test run, if there is one. Only the traces that
/// a caller records are recorded.
pub(crate) fn settings() -> String {
    Jaeger::of_run().map(|jaeger| export(&jaeger, 0)).unwrap_or_default()
}

fn export(jaeger: &Jaeger, sampling: u8) -> String {
    format!(
        "telemetry:\n  otlp: {{ endpoint: \"{}\" }}\n  traces: {{ sampling: {sampling} }}\n  log_level: \"{LOGS}\"\n",
        jaeger.otlp_grpc
    )
}

/// Runs an order that is rolled back, in the trace of its caller, and checks its trace. Returns its start.
pub(crate) async fn check_order_of_a_caller(gateway: &Api, participants: &Participants) -> Option<Start> {
    let jaeger = Jaeger::of_run()?;
    let now = UNIX_EPOCH.elapsed().unwrap();
    let trace_id = format!("{:032x}", (now.as_nanos() << 32) | u128::from(std::process::id()));
    let traceparent = format!("00-{trace_id}-{CALLER_SPAN}-01");
    let id = start(gateway, json!({"ship": "refuse"}), Some(&traceparent)).await;
    let calls = ended(gateway, participants, &id, "ROLLED_BACK").await;
    assert_eq!(trace_of(&calls), trace_id);
    let services = ["goconductor-api-gateway", "goconductor-saga-executor", "goconductor-state-store"];
    let problems = |trace: &Trace| rolled_back(trace, Some(CALLER_SPAN), &id, &services, &calls);
    jaeger.until(&trace_id, problems).await;
    Some(Start {
        key: None,
        definition: "order".to_owned(),
        input: digest(&json!({"script": {"ship": "refuse"}})),
        acknowledged: Some(id),
        at: UtcTime(i64::try_from(now.as_micros()).unwrap()),
    })
}

async fn start(gateway: &Api, script: Value, traceparent: Option<&str>) -> String {
    let body = json!({"definition": "order", "input": {"script": script}});
    let mut request = reqwest::Client::new().post(format!("{}/api/v1/workflows", gateway.base())).json(&body);
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 201);
    let started: Value = response.json().await.unwrap();
    started["id"].as_str().unwrap().to_owned()
}

/// Waits for the end of an order and returns the calls of its participants.
async fn ended(gateway: &Api, participants: &Participants, id: &str, status: &str) -> Vec<Call> {
    let ended = gateway.ended(id, ENDS_WITHIN).await.unwrap();
    assert_eq!(ended["status"], status, "{ended:#}");
    participants.calls_of(id)
}

/// Returns the trace id that all participants received.
fn trace_of(calls: &[Call]) -> String {
    let ids: BTreeSet<&str> = calls.iter().map(|call| &call.traceparent[3..35]).collect();
    assert_eq!(ids.len(), 1, "{calls:#?}");
    ids.into_iter().next().unwrap().to_owned()
}

/// Returns what is wrong with the trace of an order that was rolled back. `caller` is the span of its caller.
fn rolled_back(
    trace: &Trace,
    caller: Option<&str>,
    id: &str,
    services: &[&str],
    calls: &[Call],
) -> Vec<String> {
    let mut problems = unconnected(trace, caller, services);
    for name in ROLLED_BACK {
        let is_refused = name == "execute stock/ship";
        let is_right = |span: &TraceSpan| {
            let is_error = span.tag("otel.status_code") == "ERROR" || span.tag("error") == "true";
            span.tag("goconductor.workflow.id") == id && is_error == is_refused
        };
        if !trace.named(name).any(is_right) {
            problems.push(format!("no right span {name:?}"));
        }
    }
    for call in calls {
        let name = format!("{} {}", call.operation, call.action);
        let received = trace.span(&call.traceparent[36..52]);
        if received.is_none_or(|span| span.name != name) {
            problems.push(format!("the parent of the call {name} is {:?}", received.map(|span| &span.name)));
        }
    }
    for service in ["process stock", "process payments"] {
        if !trace.spans.iter().any(|span| span.name.starts_with(service)) {
            problems.push(format!("no span {service:?}"));
        }
    }
    // Without a queue, the start itself dispatches the first command and is the parent of its span.
    let is_published = trace.spans.iter().any(|span| span.tag("span.kind") == "producer");
    let consumed = trace.spans.iter().filter(|span| span.tag("span.kind") == "consumer");
    let unlinked = consumed.filter(|span| span.links.is_empty()).count();
    if unlinked > usize::from(!is_published) {
        problems.push(format!("{unlinked} commands are not linked to the span that published them"));
    }
    problems
}

/// Returns what is wrong with the connections between the spans of a trace: it must have one root, no span whose parent
/// is missing, and spans of every service.
fn unconnected(trace: &Trace, caller: Option<&str>, services: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    let is_root = |span: &&TraceSpan| span.parent.as_deref() == caller;
    let roots: Vec<&TraceSpan> = trace.spans.iter().filter(is_root).collect();
    match roots[..] {
        [root] if root.name == START => {
            let consumed = trace.spans.iter().filter(|span| span.tag("span.kind") == "consumer");
            for span in consumed.filter(|span| span.parent.as_ref() != Some(&root.id)) {
                problems.push(format!("{} is not a child of the start", span.name));
            }
        }
        _ => problems.push(format!("the roots are {roots:?}")),
    }
    for span in trace.spans.iter().filter(|span| !is_root(span)) {
        if span.parent.as_ref().is_none_or(|parent| trace.span(parent).is_none()) {
            problems.push(format!("the parent of {} is missing", span.name));
        }
    }
    let found: BTreeSet<&str> = trace.spans.iter().map(|span| span.service.as_str()).collect();
    if services.iter().any(|service| !found.contains(service)) {
        problems.push(format!("the services are {found:?}"));
    }
    problems
}

/// Checks that the lines of an order in the logs of the executors have its trace id. Returns their number.
fn check_log_lines(logs: &[&Path], id: &str, trace_id: &str) -> usize {
    let mut lines = 0;
    for log in logs {
        let text = std::fs::read_to_string(log).unwrap();
        for line in text.lines().filter(|line| line.contains(id)) {
            assert!(line.contains(trace_id), "{line}");
            lines += 1;
        }
    }
    lines
}

/// Starts `goconductor dev` with settings.
async fn dev_with(folder: &Path, settings: &[String]) -> Dev {
    let args = settings.iter().flat_map(|each| ["--set".to_owned(), each.clone()]).collect();
    Dev::start(folder, DevOptions { args }).await.unwrap()
}

#[tokio::test]
async fn rolled_back_order_is_one_trace_in_dev() {
    let Some(jaeger) = Jaeger::of_run() else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        format!("telemetry.otlp.endpoint={}", jaeger.otlp_http),
        "telemetry.otlp.protocol=http/protobuf".to_owned(),
        "telemetry.logs.otlp=true".to_owned(),
        format!("telemetry.log_level={LOGS}"),
        "telemetry.log_format=json".to_owned(),
        "telemetry.resource.service.name=orders".to_owned(),
    ];
    let mut dev = dev_with(folder.path(), &settings).await;
    let participants = serve_order(&dev.api).await;
    let id = start(&dev.api, json!({"ship": "refuse"}), None).await;
    let calls = ended(&dev.api, &participants, &id, "ROLLED_BACK").await;
    let trace_id = trace_of(&calls);
    // The end of the process exports what is left.
    assert!(dev.terminate().await.unwrap().success());
    jaeger.until(&trace_id, |trace| rolled_back(trace, None, &id, &["orders"], &calls)).await;
    let log = std::fs::read_to_string(dev.log()).unwrap();
    let events: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_order: Vec<_> = events.iter().filter(|event| event["workflow"] == *id).collect();
    assert!(of_order.len() >= ROLLED_BACK.len(), "{log}");
    for event in of_order {
        assert!(event["trace_id"] == *trace_id && event["span_id"].is_string(), "{event}");
    }
}

#[tokio::test]
async fn log_records_of_an_order_are_exported_with_its_trace_id() {
    let (address, bodies) = receive_logs().await;
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        format!("telemetry.otlp.endpoint=http://{address}"),
        "telemetry.otlp.protocol=http/protobuf".to_owned(),
        "telemetry.logs.otlp=true".to_owned(),
        format!("telemetry.log_level={LOGS}"),
    ];
    let mut dev = dev_with(folder.path(), &settings).await;
    let participants = serve_order(&dev.api).await;
    let id = start(&dev.api, json!({}), None).await;
    let calls = ended(&dev.api, &participants, &id, "COMPLETED").await;
    // The end of the process exports what is left.
    assert!(dev.terminate().await.unwrap().success());
    let trace_id = u128::from_str_radix(&trace_of(&calls), 16).unwrap().to_be_bytes();
    // An encoded message contains texts and ids as they are.
    let contains = |part: &[u8]| bodies.lock().unwrap().iter().any(|body| contains_bytes(body, part));
    assert!(contains(id.as_bytes()), "no log record names the order {id}");
    assert!(contains(&trace_id), "no log record has the trace id of the order {id}");
}

type Bodies = Arc<Mutex<Vec<Vec<u8>>>>;

/// Starts a receiver of OTLP by HTTP that keeps the requests with log records.
async fn receive_logs() -> (SocketAddr, Bodies) {
    let bodies = Bodies::default();
    let kept = Arc::clone(&bodies);
    let receive = async move |body: axum::body::Bytes| kept.lock().unwrap().push(body.to_vec());
    let router = axum::Router::new()
        .route("/v1/logs", axum::routing::post(receive))
        .route("/v1/traces", axum::routing::post(async || ()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, bodies)
}

fn contains_bytes(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Two orders over processes of each kind: one is rolled back, and the executor of the other one is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_one_trace_over_processes_and_a_takeover() {
    let (true, Some(jaeger)) = (possible(), Jaeger::of_run()) else { return };
    let _one = ONE.lock().await;
    // It delivers the messages of a killed consumer without the wait of a Kafka group.
    let options = ClusterOptions {
        services: ["stock", "payments"].map(str::to_owned).to_vec(),
        settings: format!("{}executor: {{ redelivery: 1s }}\n", export(&jaeger, 1)),
        ..ClusterOptions::new(Broker::Nats(1), 1)
    };
    let mut cluster = Cluster::start(options).await.unwrap();
    let gateway = cluster.gateways[0].clone();
    let participants = serve_order(&gateway).await;

    let id = start(&gateway, json!({"ship": "refuse"}), None).await;
    let calls = ended(&gateway, &participants, &id, "ROLLED_BACK").await;
    let trace_id = trace_of(&calls);
    let services = ["goconductor-api-gateway", "goconductor-saga-executor", "goconductor-state-store"];
    jaeger.until(&trace_id, |trace| rolled_back(trace, None, &id, &services, &calls)).await;
    let logs = ["executor-stock-1", "executor-payments-1"].map(|name| cluster.log(name));
    let lines = check_log_lines(&[&logs[0], &logs[1]], &id, &trace_id);
    assert!(lines >= ROLLED_BACK.len(), "{lines} lines of the order");

    let id = start(&gateway, json!({"charge": ["slow:3000", "ok"]}), None).await;
    until_recorded(&gateway, &id).await;
    cluster.kill("executor-payments-1").await.unwrap();
    cluster.restart("executor-payments-1").await.unwrap();
    let calls = ended(&gateway, &participants, &id, "COMPLETED").await;
    let lost = calls.iter().find(|call| call.action == "payments/charge").unwrap();
    let lost_span = &lost.traceparent[36..52];
    let problems = |trace: &Trace| {
        let mut problems = unconnected(trace, None, &services);
        let redelivered = |span: &&TraceSpan| span.tag("goconductor.redelivery").parse().unwrap_or(0) > 0;
        let mut spans = trace.spans.iter().filter(redelivered);
        if !spans.any(|span| span.links.iter().any(|linked| linked == lost_span)) {
            problems.push(format!("no redelivered command is linked to the lost attempt {lost_span}"));
        }
        problems
    };
    jaeger.until(&trace_of(&calls), problems).await;
    cluster.down().await.unwrap();
}

/// Waits until the start of the second step of an order is recorded.
async fn until_recorded(gateway: &Api, id: &str) {
    let view = || async { gateway.get(&format!("/workflows/{id}")).await.unwrap() };
    let wait = async {
        while view().await["steps"][1]["status"] != "IN_PROGRESS" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(ENDS_WITHIN, wait).await.expect("the step starts");
}
