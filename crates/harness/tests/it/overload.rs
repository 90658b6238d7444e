//! Overload. A client above its share gets a Retry-After, other clients are not affected, and accepted work ends.

use goconductor_harness::{Dev, DevOptions, Participants};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::workflow_service_client::WorkflowServiceClient;
use reqwest::Client;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tonic::{Code, Request};
use tonic_types::StatusExt;

/// Each call takes 50 ms and four run concurrently: 80 per second.
const WORK: &str = "workflow: work\nsteps: [{name: s, run: w/do, compensate: none}]\n";
const OVERLOAD: Duration = Duration::from_secs(4);

/// A server with small limits, and its participants.
struct Server {
    dev: Dev,
    http: Client,
    participants: Participants,
    _folder: tempfile::TempDir,
}

/// The result of a start.
enum Start {
    Accepted(String),
    Refused(u64),
}

impl Server {
    async fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let args = settings.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]).collect();
        let dev = Dev::start(folder.path(), DevOptions { args }).await.unwrap();
        let participants = Participants::start().await.unwrap();
        Self { dev, http: Client::new(), participants, _folder: folder }
    }

    /// Sends a request for a namespace and returns status, `Retry-After` and body.
    async fn call(
        &self,
        namespace: &str,
        method: &str,
        path: &str,
        body: String,
    ) -> (u16, Option<u64>, Value) {
        let url = format!("{}/api/v1{path}", self.dev.api.base());
        let kind = if body.starts_with("workflow:") { "application/yaml" } else { "application/json" };
        let request = self.http.request(method.parse().unwrap(), url).header("content-type", kind);
        let answer = request.header("goconductor-namespace", namespace).body(body).send().await.unwrap();
        let after = answer.headers().get("retry-after").map(|after| after.to_str().unwrap().parse().unwrap());
        (answer.status().as_u16(), after, answer.json().await.unwrap_or_default())
    }

    async fn put(&self, namespace: &str, path: &str, body: String) {
        let (status, _, body) = self.call(namespace, "PUT", path, body).await;
        assert!(status < 300, "{path}: {status} {body}");
    }

    async fn begin(&self, namespace: &str, definition: &str, script: Value) -> Start {
        let body = json!({"definition": definition, "input": {"script": script}}).to_string();
        let (status, after, body) = self.call(namespace, "POST", "/workflows", body).await;
        if status == 201 {
            return Start::Accepted(body["id"].as_str().unwrap().to_owned());
        }
        assert_eq!((status, &body["retryable"]), (429, &json!(true)), "{body}");
        assert!(["GC2032", "GC2033"].contains(&body["code"].as_str().unwrap()), "{body}");
        Start::Refused(after.expect("a refusal has a Retry-After"))
    }

    async fn ended(&self, namespace: &str, ids: &[String]) {
        for id in ids {
            let path = format!("/workflows/{id}/result?wait=20s");
            let (status, _, body) = self.call(namespace, "GET", &path, String::new()).await;
            assert_eq!((status, &body["status"]), (200, &json!("COMPLETED")), "{body}");
        }
    }
}

fn slow() -> Value {
    json!({"do": ["slow:50"]})
}

/// Two namespaces with a service of four concurrent calls each.
async fn two_namespaces() -> Arc<Server> {
    let server = Arc::new(Server::start(&["limits.backlog=20"]).await);
    for namespace in ["greedy", "modest"] {
        let service = json!({"http": {"url": server.participants.url("w")}, "max_in_flight": 4});
        server.put(namespace, "/services/w", service.to_string()).await;
        server.put(namespace, "/definitions/work", WORK.to_owned()).await;
    }
    server
}

/// Starts as many as possible until `stop`. Returns the accepted workflows and the number of refusals.
async fn greedy(server: &Arc<Server>, stop: &Arc<AtomicBool>) -> (Vec<String>, usize) {
    let callers = (0..16).map(|_| {
        let (server, stop) = (Arc::clone(server), Arc::clone(stop));
        tokio::spawn(async move {
            let (mut accepted, mut refused) = (Vec::new(), 0);
            while !stop.load(Ordering::Relaxed) {
                match server.begin("greedy", "work", slow()).await {
                    Start::Accepted(id) => accepted.push(id),
                    Start::Refused(after) => {
                        assert!((1..=30).contains(&after), "{after}");
                        refused += 1;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (accepted, refused)
        })
    });
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for caller in callers.collect::<Vec<_>>() {
        let (more, and) = caller.await.unwrap();
        accepted.extend(more);
        refused += and;
    }
    (accepted, refused)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn greedy_namespace_is_throttled_and_modest_namespace_is_served() {
    let server = two_namespaces().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let flood = tokio::spawn({
        let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
        async move { greedy(&server, &stop).await }
    });
    let begun = Instant::now();
    let (mut served, mut offered) = (Vec::new(), 0);
    while begun.elapsed() < OVERLOAD {
        offered += 1;
        if let Start::Accepted(id) = server.begin("modest", "work", slow()).await {
            served.push(id);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Garbage is still refused as garbage, and gRPC reports the same as REST.
    assert_eq!(server.call("greedy", "POST", "/workflows", "{".to_owned()).await.0, 400);
    let unknown = json!({"definition": "nothing"}).to_string();
    assert_eq!(server.call("greedy", "POST", "/workflows", unknown).await.0, 404);
    let refusal = refused_by_grpc(&server).await;
    assert_eq!(refusal.code(), Code::ResourceExhausted);
    let details = refusal.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "GC2033");
    assert!(details.retry_info().unwrap().retry_delay.unwrap() >= Duration::from_secs(1));
    stop.store(true, Ordering::Relaxed);
    let (accepted, refused) = flood.await.unwrap();
    let all = accepted.len() + refused;
    assert!(refused > all / 4, "{refused} of {all} refused");
    assert!(accepted.len() > 100, "{} of {all} accepted: the service was idle", accepted.len());
    assert!(served.len() * 5 >= offered * 4, "{} of {offered} modest orders were served", served.len());
    let ending = Instant::now();
    server.ended("greedy", &accepted).await;
    server.ended("modest", &served).await;
    assert!(ending.elapsed() < Duration::from_secs(5), "the accepted backlog was too large");
    let metrics = server.http.get(format!("{}/metrics", server.dev.api.base())).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let counts = metrics.lines().filter(|line| line.starts_with("goconductor_starts_refused_total"));
    assert!(counts.clone().any(|line| line.contains("greedy")), "{:?}", counts.collect::<Vec<_>>());
    // A client that waits for Retry-After is accepted.
    assert!(matches!(server.begin("greedy", "work", slow()).await, Start::Accepted(_)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_does_not_wait_for_a_flood_of_starts() {
    let server = two_namespaces().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stop = Arc::new(AtomicBool::new(false));
    let flood = tokio::spawn({
        let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
        async move { greedy(&server, &stop).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut retried = Vec::new();
    while retried.len() < 3 {
        match server.begin("greedy", "work", json!({"do": ["busy", "ok"]})).await {
            Start::Accepted(id) => retried.push(id),
            Start::Refused(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    let begun = Instant::now();
    server.ended("greedy", &retried).await;
    assert!(!flood.is_finished() && begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for id in &retried {
        assert_eq!(server.participants.calls_of(id).len(), 2, "the step was retried");
    }
    stop.store(true, Ordering::Relaxed);
    let (_, refused) = flood.await.unwrap();
    assert!(refused > 50, "{refused} refusals are too few for a flood");
}

/// Starts workflows over gRPC until one is refused.
async fn refused_by_grpc(server: &Server) -> tonic::Status {
    let channel = tonic::transport::Endpoint::from_shared(server.dev.api.base().to_owned()).unwrap();
    let mut workflows = WorkflowServiceClient::new(channel.connect().await.unwrap());
    for _ in 0..500 {
        let mut start = Request::new(wire::StartWorkflowRequest {
            definition: "work".to_owned(),
            input_json: json!({"script": slow()}).to_string(),
            ..Default::default()
        });
        start.metadata_mut().insert("goconductor-namespace", "greedy".parse().unwrap());
        if let Err(refusal) = workflows.start_workflow(start).await {
            return refusal;
        }
    }
    panic!("500 starts were accepted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_for_a_service_without_workers_is_accepted() {
    let server = Server::start(&["limits.backlog=5"]).await;
    server.put("default", "/definitions/work", WORK.to_owned()).await;
    for _ in 0..50 {
        let Start::Accepted(_) = server.begin("default", "work", slow()).await else {
            panic!("a start for a service without workers was refused")
        };
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limited_action_does_not_delay_other_actions_of_its_service() {
    let server = Server::start(&[]).await;
    let service = json!({
        "http": {"url": server.participants.url("w")},
        "max_in_flight": 3,
        "actions": {"careful": {"max_in_flight": 1}},
    });
    server.put("default", "/services/w", service.to_string()).await;
    for action in ["careful", "quick"] {
        let yaml = format!("workflow: {action}\nsteps: [{{name: s, run: w/{action}, compensate: none}}]\n");
        server.put("default", &format!("/definitions/{action}"), yaml).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut careful = Vec::new();
    for _ in 0..8 {
        let script = json!({"careful": ["slow:250"]});
        let Start::Accepted(id) = server.begin("default", "careful", script).await else { panic!("refused") };
        careful.push(id);
    }
    let begun = Instant::now();
    let Start::Accepted(quick) = server.begin("default", "quick", json!({})).await else { panic!("refused") };
    server.ended("default", &[quick]).await;
    assert!(begun.elapsed() < Duration::from_millis(700), "the action waited for the other action");
    tokio::time::sleep(Duration::from_millis(600)).await;
    let last = careful.last().unwrap();
    let (_, _, view) = server.call("default", "GET", &format!("/workflows/{last}"), String::new()).await;
    assert_eq!(view["waiting_on"][0]["kind"], "CAPACITY", "{view:#}");
    server.ended("default", &careful).await;
    let mut calls: Vec<_> = careful.iter().flat_map(|id| server.participants.calls_of(id)).collect();
    assert_eq!(calls.len(), 8, "each once");
    calls.sort_by_key(|call| call.at);
    for pair in calls.windows(2) {
        let apart = pair[1].at - pair[0].at;
        assert!(apart >= Duration::from_millis(240), "two calls ran concurrently: {apart:?} apart");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn number_of_waiting_callers_is_limited() {
    let server = Arc::new(Server::start(&["limits.waiting_callers=2"]).await);
    server.put("default", "/definitions/work", WORK.to_owned()).await;
    let Start::Accepted(id) = server.begin("default", "work", slow()).await else { panic!("refused") };
    let poll = |wait: &str| {
        let (server, path) = (Arc::clone(&server), format!("/workflows/{id}/result?wait={wait}"));
        tokio::spawn(async move { server.call("default", "GET", &path, String::new()).await })
    };
    let waiting = [poll("2s"), poll("2s")];
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (status, after, body) = poll("2s").await.unwrap();
    assert_eq!((status, &body["code"], after), (429, &json!("GC2031"), Some(1)));
    assert_eq!(poll("0s").await.unwrap().0, 202, "a call without a wait is answered");
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap().0, 202);
    }
    assert_eq!(poll("100ms").await.unwrap().0, 202, "a permit is available again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn total_size_of_request_bodies_is_limited() {
    let server = Server::start(&["limits.body_bytes=64KiB", "limits.bodies_bytes=64KiB"]).await;
    // A slow body holds the whole budget.
    let (slow, body) = futures::channel::mpsc::unbounded::<Result<Vec<u8>, std::io::Error>>();
    slow.unbounded_send(Ok(format!("{{\"x\":\"{}", "x".repeat(60 << 10)).into_bytes())).unwrap();
    let url = format!("{}/api/v1/workflows", server.dev.api.base());
    let request = server.http.post(url).header("content-type", "application/json");
    let held = tokio::spawn(request.body(reqwest::Body::wrap_stream(body)).send());
    tokio::time::sleep(Duration::from_millis(300)).await;
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(10 << 10));
    let (status, after, body) = server.call("default", "POST", "/workflows", large.clone()).await;
    assert_eq!((status, &body["code"], after), (429, &json!("GC2030"), Some(1)));
    assert_eq!(
        server.call("default", "POST", "/workflows", "{}".to_owned()).await.0,
        422,
        "the budget is available"
    );
    slow.unbounded_send(Ok(b"\"}".to_vec())).unwrap();
    drop(slow);
    assert_eq!(held.await.unwrap().unwrap().status().as_u16(), 422);
    assert_eq!(server.call("default", "POST", "/workflows", large).await.0, 422);
}
