//! Large payloads, which workflows carry by reference: inputs, outputs, signals and inputs of children.

use crate::cluster::{ONE, cluster_with, possible};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::HeaderMap;
use axum::routing::post;
use goconductor_harness::{Api, Broker, Dev, DevOptions, ElectionServers};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
/// A debug build reads and writes about one MiB of JSON in a second.
const LONG_PATIENCE: Duration = Duration::from_secs(1200);
const MIB: usize = 1 << 20;

/// A request to the participant: the step, the operation and the bytes of its body.
type Calls = Arc<Mutex<Vec<(String, String, usize)>>>;

/// The participant makes texts and counts the bytes that it receives.
struct Documents {
    url: String,
    calls: Calls,
}

impl Documents {
    async fn start() -> Self {
        let calls = Calls::default();
        let router = Router::new()
            .route("/docs/{action}", post(answer))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&calls));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/docs", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, calls }
    }

    /// Returns the bytes of the body of a step's request.
    fn received(&self, step: &str, operation: &str) -> usize {
        let calls = self.calls.lock();
        let found = calls.iter().find(|call| call.0 == step && call.1 == operation);
        found.unwrap_or_else(|| panic!("no {operation} of {step}: {calls:?}")).2
    }
}

/// Answers `make` with a text of `bytes`, `refuse` with a refusal, and every other action with the size of the body.
async fn answer(
    State(calls): State<Calls>,
    Path(action): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> (axum::http::StatusCode, axum::Json<Value>) {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    calls.lock().push((header("goconductor-step"), header("goconductor-operation"), body.len()));
    let (status, output) = match action.as_str() {
        "make" => {
            let input: Value = serde_json::from_slice(&body).unwrap();
            let bytes = usize::try_from(input["bytes"].as_u64().unwrap()).unwrap();
            (200, json!({"number": 7, "text": "y".repeat(bytes)}))
        }
        "refuse" => (409, json!({"code": "NO", "message": "refused"})),
        _ => (200, json!({"received": body.len()})),
    };
    (axum::http::StatusCode::from_u16(status).unwrap(), axum::Json(output))
}

async fn dev(settings: &[&str]) -> (Dev, Documents, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let args = settings.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]).collect();
    let dev = Dev::start(folder.path(), DevOptions { args }).await.unwrap();
    let documents = Documents::start().await;
    dev.api.serve("docs", &documents.url).await.unwrap();
    (dev, documents, folder)
}

/// Reads the payload that a value refers to.
async fn payload(api: &Api, id: &str, reference: &Value) -> Value {
    let reference = &reference["$payload"];
    let sha256 = reference["sha256"].as_str().unwrap_or_else(|| panic!("no reference: {reference}"));
    let path = format!("/workflows/{id}/payloads/{sha256}");
    let value = api.get(&path).await.unwrap();
    assert_eq!(value.to_string().len(), usize::try_from(reference["bytes"].as_u64().unwrap()).unwrap());
    value
}

const DOCS: &str = "
workflow: docs
defaults: { retry: none, timeout: 300s }
output: '${ steps.make.output }'
steps:
  - { name: make, run: docs/make, input: { bytes: '${ input.bytes }' }, compensate: docs/remove }
  - { name: whole, run: docs/keep, input: '${ steps.make.output }', compensate: none }
  - { name: nested, run: docs/keep, input: { doc: '${ steps.make.output }', id: 1 }, compensate: none }
  - { name: given, run: docs/keep, compensate: none }
  - { name: part, run: docs/keep, input: { number: '${ steps.make.output.number }' }, compensate: none }
";

async fn run_documents(bytes: usize, timeout: Duration) {
    let (dev, documents, _folder) = dev(&[]).await;
    dev.api.apply("docs", DOCS).await.unwrap();
    let input = json!({"bytes": bytes, "text": "x".repeat(bytes)});
    let id = dev.api.start("docs", input.clone(), None).await.unwrap();
    let view = dev.api.ended(&id, timeout).await.unwrap();
    assert_eq!(view["status"], "COMPLETED", "{}", view["error"]);
    let output = json!({"number": 7, "text": "y".repeat(bytes)});
    let whole = output.to_string().len();
    assert_eq!(documents.received("whole", "execute"), whole);
    assert_eq!(
        documents.received("nested", "execute"),
        whole + json!({"doc": 0, "id": 1}).to_string().len() - 1
    );
    assert_eq!(documents.received("given", "execute"), input.to_string().len());
    assert_eq!(documents.received("part", "execute"), json!({"number": 7}).to_string().len());
    assert!(view.to_string().len() < 64 << 10, "references take the place of large values");
    assert_eq!(view["output"], view["steps"][0]["output"]);
    assert!(payload(&dev.api, &id, &view["output"]).await == output, "the output is that of the step");
    assert!(payload(&dev.api, &id, &view["input"]).await == input, "the input is unchanged");
    let other = dev.api.start("docs", json!({"bytes": 1}), None).await.unwrap();
    let sha256 = view["input"]["$payload"]["sha256"].as_str().unwrap();
    let (status, body) =
        dev.api.send("GET", &format!("/workflows/{other}/payloads/{sha256}"), None).await.unwrap();
    assert_eq!((status, &body["code"]), (404, &json!("GC2130")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_and_output_of_5_mib_reach_the_next_steps() {
    run_documents(5 * MIB, PATIENCE).await;
}

/// The default profile of cargo-nextest leaves out each module of this name.
mod soak {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn input_and_output_of_50_mib_reach_the_next_steps() {
        run_documents(50 * MIB, LONG_PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn value_that_fits_into_a_view_is_shown() {
    let (dev, documents, _folder) = dev(&[]).await;
    dev.api.apply("docs", DOCS).await.unwrap();
    let input = json!({"bytes": 100_000, "text": "x".repeat(100_000)});
    let id = dev.api.start("docs", input.clone(), None).await.unwrap();
    let view = dev.api.ended(&id, PATIENCE).await.unwrap();
    assert!(view["input"] == input && view["output"]["number"] == 7);
    assert_eq!(documents.received("given", "execute"), input.to_string().len());
    let page = dev.api.get(&format!("/workflows/{id}/events")).await.unwrap();
    assert!(page["events"][0]["detail"]["input"] == input, "the event shows the input");
}

const ROLLBACK: &str = "
workflow: rollback
steps:
  - { name: make, run: docs/make, compensate: docs/remove }
  - { name: fail, run: docs/refuse, input: {}, compensate: none }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compensation_receives_a_large_input_and_output() {
    let (dev, documents, _folder) = dev(&[]).await;
    dev.api.apply("rollback", ROLLBACK).await.unwrap();
    let input = json!({"bytes": 2 * MIB, "text": "x".repeat(2 * MIB)});
    let id = dev.api.start("rollback", input, None).await.unwrap();
    let view = dev.api.ended(&id, PATIENCE).await.unwrap();
    assert_eq!(view["status"], "ROLLED_BACK", "{view:#}");
    assert!(documents.received("make", "compensate") > 4 * MIB);
}

const WAITING: &str = "
workflow: waiting
steps:
  - { name: make, run: docs/make, compensate: docs/remove }
  - { name: wait, wait_for_signal: { signal: go }, timeout: 60s }
  - { name: signalled, run: docs/keep, input: '${ signals.go }', compensate: none }
  - { name: kept, run: docs/keep, input: '${ steps.make.output }', compensate: none }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_survive_a_kill() {
    let (mut dev, documents, _folder) = dev(&[]).await;
    dev.api.apply("waiting", WAITING).await.unwrap();
    let id = dev.api.start("waiting", json!({"bytes": MIB}), None).await.unwrap();
    let path = format!("/workflows/{id}");
    for _ in 0..500 {
        let view = dev.api.get(&path).await.unwrap();
        if view["steps"][1]["status"] == "IN_PROGRESS" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    dev.kill().await.unwrap();
    dev.restart().await.unwrap();
    let signal = json!("z".repeat(2 * MIB));
    let (status, body) =
        dev.api.send("POST", &format!("{path}/signals/go"), Some(signal.clone())).await.unwrap();
    assert_eq!(status, 200, "{body:#}");
    let view = dev.api.ended(&id, PATIENCE).await.unwrap();
    assert_eq!(view["status"], "COMPLETED", "{}", view["error"]);
    assert_eq!(documents.received("signalled", "execute"), signal.to_string().len());
    assert!(documents.received("kept", "execute") > MIB);
}

const PARENT: &str = "
workflow: parent
output: '${ steps.docs.output }'
steps:
  - { name: docs, child: docs }
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_receives_and_returns_large_payloads() {
    let (dev, documents, _folder) = dev(&[]).await;
    dev.api.apply("docs", DOCS).await.unwrap();
    dev.api.apply("parent", PARENT).await.unwrap();
    let input = json!({"bytes": 5 * MIB, "text": "x".repeat(5 * MIB)});
    let id = dev.api.start("parent", input.clone(), None).await.unwrap();
    let view = dev.api.ended(&id, PATIENCE).await.unwrap();
    assert_eq!(view["status"], "COMPLETED", "{}", view["error"]);
    assert_eq!(documents.received("given", "execute"), input.to_string().len());
    let child = view["children"][0]["id"].as_str().unwrap();
    let child = dev.api.get(&format!("/workflows/{child}")).await.unwrap();
    assert_eq!((&child["input"], &child["output"]), (&view["input"], &view["output"]));
    assert!(payload(&dev.api, &id, &view["output"]).await["text"] == "y".repeat(5 * MIB));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payload_over_the_hard_limit_is_refused() {
    let limits = ["limits.input_bytes=1MiB", "limits.output_bytes=1MiB"];
    let (dev, _documents, _folder) = dev(&limits).await;
    dev.api.apply("docs", DOCS).await.unwrap();
    let start = |bytes: usize, text: usize| json!({"definition": "docs", "input": {"bytes": bytes, "text": "x".repeat(text)}});
    let (status, body) = dev.api.send("POST", "/workflows", Some(start(1, MIB))).await.unwrap();
    assert_eq!((status, &body["code"]), (413, &json!("GC2003")));
    assert!(body["detail"].as_str().unwrap().contains("limits.input_bytes"), "{body}");
    let (status, body) = dev.api.send("POST", "/workflows", Some(start(1, 3 * MIB))).await.unwrap();
    assert_eq!((status, &body["code"]), (413, &json!("GC2003")));
    let id = dev.api.start("docs", json!({"bytes": MIB}), None).await.unwrap();
    let view = dev.api.ended(&id, PATIENCE).await.unwrap();
    assert_eq!(view["steps"][0]["error"]["code"], "OUTPUT_TOO_LARGE", "{view:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_pass_between_processes_that_are_killed() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let (mut cluster, _orders) = cluster_with(Broker::Kafka(1), ElectionServers::Postgres).await;
    let documents = Documents::start().await;
    let api = cluster.gateways[0].clone();
    for service in ["stock", "payments"] {
        api.serve(service, &documents.url).await.unwrap();
    }
    // The compensation of an attempt that was killed waits for its deadline.
    let definition = DOCS.replace("timeout: 300s", "timeout: 60s").replace("docs/keep", "payments/keep");
    let definition = definition.replace("run: docs/", "run: stock/").replace("docs/remove", "stock/remove");
    api.apply("docs", &definition).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..6 {
        let input = json!({"bytes": 5 * MIB + number, "text": "x".repeat(5 * MIB)});
        ids.push((number, api.start("docs", input, None).await.unwrap()));
    }
    for name in ["store-1", "executor-stock-1"] {
        cluster.kill(name).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.restart(name).await.unwrap();
    }
    for (number, id) in ids {
        let view = api.ended(&id, 2 * PATIENCE).await.unwrap();
        // Without retries, an attempt that was killed with its executor is rolled back.
        if view["status"] == "COMPLETED" {
            let output = payload(&api, &id, &view["output"]).await;
            assert_eq!(output["text"].as_str().unwrap().len(), 5 * MIB + number);
        } else {
            assert_eq!(view["status"], "ROLLED_BACK", "{}", view["error"]);
        }
        let input = payload(&api, &id, &view["input"]).await;
        assert_eq!(input["text"].as_str().unwrap().len(), 5 * MIB);
    }
    cluster.down().await.unwrap();
}
