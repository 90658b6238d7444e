//! Values that enter: each is kept as it was written, or refused where it enters.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use goconductor_harness::{Dev, DevOptions};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::service_service_client::ServiceServiceClient;
use goconductor_wire::v1::worker_service_client::WorkerServiceClient;
use goconductor_wire::v1::workflow_service_client::WorkflowServiceClient;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

const ONE: &str = "workflow: one\nsteps: [{name: s, run: echo/ok, compensate: none, retry: none}]\n";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

/// A request to the participant: the action, the body and the header `Authorization`.
type Received = (String, String, Option<String>);

/// A participant that keeps the text of each request. Its action determines the text of the response.
#[derive(Clone, Default)]
struct Echo(Arc<Mutex<Vec<Received>>>);

struct Server {
    dev: Dev,
    echo: Echo,
    /// The address of the participant, without a scheme.
    address: String,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

async fn answer(
    State(echo): State<Echo>,
    Path(action): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let authorization = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    echo.0.lock().unwrap().push((action.clone(), body.clone(), authorization));
    let text = match action.as_str() {
        "inexact" => r#"{"total": 123456789012345678.99}"#.to_owned(),
        "twice" => r#"{"total": 1, "lines": [{"sku": 1, "sku": 2}]}"#.to_owned(),
        "marked" => "\u{feff}{\"n\": 18446744073709551615, \"f\": 0.30000000000000004}".to_owned(),
        _ => body,
    };
    ([(header::CONTENT_TYPE, JSON)], text).into_response()
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let echo = Echo::default();
        let router = Router::new().route("/{action}", post(answer)).with_state(echo.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let folder = tempfile::tempdir().unwrap();
        let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
        dev.api.serve("echo", &format!("http://{address}")).await.unwrap();
        dev.api.apply("one", ONE).await.unwrap();
        Self { dev, echo, address, http: reqwest::Client::new(), _folder: folder }
    }

    /// Sends a body as it is. Returns the status and the text of the response.
    async fn send(
        &self,
        method: &str,
        path: &str,
        media_type: &str,
        body: impl Into<Vec<u8>>,
    ) -> (u16, String) {
        let request =
            self.http.request(method.parse().unwrap(), format!("{}/api/v1{path}", self.dev.api.base()));
        let response = request.header("content-type", media_type).body(body.into()).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Starts `one` with an input as it is, and waits for its end. Returns the status and the text of the response.
    async fn start_one(&self, input: &str) -> (u16, String) {
        let body = format!(r#"{{"definition": "one", "input": {input}}}"#);
        self.send("POST", "/workflows?wait=20s", JSON, body).await
    }

    async fn refused(&self, method: &str, path: &str, body: impl Into<Vec<u8>>) -> (u16, String, String) {
        let (status, text) = self.send(method, path, JSON, body).await;
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        (status, text("code"), text("detail"))
    }

    async fn channel(&self) -> Channel {
        Endpoint::from_shared(self.dev.api.base().to_owned()).unwrap().connect().await.unwrap()
    }

    fn received(&self) -> Vec<Received> {
        self.echo.0.lock().unwrap().clone()
    }
}

fn code_of(status: &tonic::Status) -> (Code, String) {
    let info = status.get_error_details().error_info().map(|info| info.reason.clone());
    (status.code(), info.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn number_reaches_the_participant_to_the_digit() {
    let server = Server::start().await;
    let kept = [
        "18446744073709551615",
        "-9223372036854775808",
        "9007199254740993",
        "0.1",
        "0.30000000000000004",
        "1.7976931348623157e308",
        "5e-324",
        "123456789012.345",
        "-0.000001234",
    ];
    for number in kept {
        let (status, text) = server.start_one(&format!(r#"{{"n":{number}}}"#)).await;
        let whole = format!(r#"{{"n":{number}}}"#);
        assert_eq!(status, 201, "{text}");
        // The input, the output of the step, and the request to the participant.
        let number = serde_json::from_str::<Value>(number).unwrap().to_string();
        assert_eq!(text.matches(&format!(r#"{{"n":{number}}}"#)).count(), 2, "{text}");
        let (_, body, _) = server.received().pop().unwrap();
        assert_eq!(body.parse::<Value>().unwrap(), whole.parse::<Value>().unwrap(), "{body}");
        assert!(body.contains(&number), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn number_that_cannot_be_kept_is_refused_at_every_door() {
    let server = Server::start().await;
    let mut workflows = WorkflowServiceClient::new(server.channel().await);
    for number in
        ["18446744073709551616", "98765432109876543.21", "0.98765432109876543210", "1e999", "-3e-400"]
    {
        let body = format!(r#"{{"definition": "one", "input": {{"a": [{{"n": {number}}}]}}}}"#);
        let (status, code, detail) = server.refused("POST", "/workflows", body).await;
        assert_eq!((status, code.as_str()), (422, "GC2051"), "{detail}");
        assert!(detail.contains(number) && detail.contains("send it as a string"), "{detail}");
        let input_json = format!(r#"{{"n": {number}}}"#);
        let start =
            wire::StartWorkflowRequest { definition: "one".to_owned(), input_json, ..Default::default() };
        let status = workflows.start_workflow(start).await.unwrap_err();
        assert_eq!(code_of(&status), (Code::InvalidArgument, "GC2051".to_owned()), "{status}");
        let literal = ONE.replace("retry: none", &format!("input: {{n: {number}}}"));
        let (status, text) = server.send("PUT", "/definitions/one", YAML, literal).await;
        assert_eq!(status, 422, "{text}");
        assert!(text.contains("GC1015") && text.contains(number), "{text}");
    }
    let list = server.dev.api.get("/workflows").await.unwrap();
    assert_eq!(list["workflows"], json!([]), "nothing was started");
    assert!(server.received().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_that_differ_in_one_digit_are_different_starts() {
    let server = Server::start().await;
    let start = |number: &str| {
        let body = format!(r#"{{"definition": "one", "idempotency_key": "k", "input": {{"n": {number}}}}}"#);
        server.send("POST", "/workflows", JSON, body)
    };
    assert_eq!(start("18446744073709551615").await.0, 201);
    assert_eq!(start("18446744073709551615").await.0, 200);
    assert_eq!(start("18446744073709551614").await.0, 409);
    assert_eq!(start("18446744073709551616").await.0, 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicate_key_is_refused_at_every_door() {
    let server = Server::start().await;
    for (method, path, body) in [
        ("POST", "/workflows", r#"{"definition": "one", "input": {"a": {"amount": 1, "amount": 2}}}"#),
        ("POST", "/workflows", r#"{"definition": "one", "amount": 1, "amount": 1}"#),
        ("PUT", "/services/x", r#"{"http": {"url": "http://h", "amount": 1, "amount": 2}}"#),
        ("POST", "/workflows/x/cancel", r#"{"amount": "a", "\u0061mount": "b"}"#),
        (
            "POST",
            "/locks/k/acquire",
            r#"{"owner": "a", "ttl": "1s", "amount": [{"amount": 1, "amount": 1}]}"#,
        ),
    ] {
        let (status, code, detail) = server.refused(method, path, body).await;
        assert_eq!((status, code.as_str()), (422, "GC2050"), "{body}: {detail}");
        assert!(detail.contains("duplicate key \"amount\""), "{detail}");
    }
    let mut workflows = WorkflowServiceClient::new(server.channel().await);
    let start = wire::StartWorkflowRequest {
        definition: "one".to_owned(),
        input_json: r#"{"amount": 1, "amount": 2}"#.to_owned(),
        ..Default::default()
    };
    let status = workflows.start_workflow(start).await.unwrap_err();
    assert_eq!(code_of(&status), (Code::InvalidArgument, "GC2050".to_owned()), "{status}");
    for (media_type, text) in [
        (YAML, "workflow: d\nsteps: [{name: s, run: a/b, compensate: none, input: {x: [{a: 1, a: 2}]}}]"),
        (
            JSON,
            r#"{"workflow": "d", "steps": [{"name": "s", "run": "a/b", "run": "a/b", "compensate": "none"}]}"#,
        ),
    ] {
        let (status, text) = server.send("PUT", "/definitions/d", media_type, text).await;
        assert_eq!(status, 422, "{text}");
        assert!(text.contains("GC1007") && text.contains("duplicate key"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_that_cannot_be_kept_puts_its_step_in_doubt_and_rolls_back() {
    let server = Server::start().await;
    for (action, code) in [("inexact", "NUMBER_NOT_REPRESENTABLE"), ("twice", "DUPLICATE_KEY")] {
        let yaml = format!(
            "workflow: bad\nsteps:\n- {{name: before, run: echo/do, compensate: echo/undo}}\n\
             - {{name: s, run: echo/{action}, compensate: echo/revert, retry: none, timeout: 1s}}\n"
        );
        server.dev.api.apply("bad", &yaml).await.unwrap();
        let id = server.dev.api.start("bad", json!({"a": 1}), None).await.unwrap();
        let ended = server.dev.api.ended(&id, Duration::from_secs(20)).await.unwrap();
        assert_eq!(
            (&ended["status"], &ended["error"]["code"]),
            (&json!("ROLLED_BACK"), &json!(code)),
            "{ended}"
        );
        let message = ended["error"]["message"].as_str().unwrap();
        assert!(message.contains("123456789012345678.99") || message.contains("\"sku\""), "{message}");
        let actions: Vec<String> = server.received().into_iter().map(|(action, ..)| action).collect();
        assert!(actions.ends_with(&["do", action, "revert", "undo"].map(str::to_owned)), "{actions:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_of_a_worker_that_cannot_be_kept_leaves_its_stream_open() {
    let server = Server::start().await;
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let send = |message| {
        let sender = sender.clone();
        async move { sender.send(wire::ConnectRequest { message: Some(message) }).await.unwrap() }
    };
    let hello = wire::Hello {
        service: "manual".to_owned(),
        actions: vec!["run".to_owned()],
        capacity: 1,
        ..Default::default()
    };
    send(wire::connect_request::Message::Hello(hello)).await;
    let requests = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|request| (request, receiver))
    });
    let mut responses =
        WorkerServiceClient::new(server.channel().await).connect(requests).await.unwrap().into_inner();
    let yaml =
        "workflow: manual\nsteps: [{name: s, run: manual/run, compensate: none, retry: none, timeout: 1s}]";
    server.dev.api.apply("manual", yaml).await.unwrap();
    for (output_json, code) in [
        (r#"{"n": 18446744073709551616}"#, json!("NUMBER_NOT_REPRESENTABLE")),
        (r#"[{"n": 1, "n": 2}]"#, json!("DUPLICATE_KEY")),
        (r#"{"n": 18446744073709551615}"#, Value::Null),
    ] {
        let id = server.dev.api.start("manual", json!({}), None).await.unwrap();
        let task_id = loop {
            match responses.message().await.unwrap().unwrap().message.unwrap() {
                wire::connect_response::Message::Task(task) => break task.task_id,
                _ => send(wire::connect_request::Message::Heartbeat(wire::Heartbeat {})).await,
            }
        };
        let done = wire::Done { output_json: output_json.to_owned() };
        let outcome = Some(wire::task_result::Outcome::Done(done));
        send(wire::connect_request::Message::Result(wire::TaskResult { task_id, outcome })).await;
        let ended = server.dev.api.ended(&id, Duration::from_secs(20)).await.unwrap();
        assert_eq!(ended["error"]["code"], code, "{ended}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn byte_order_mark_is_ignored_and_utf16_is_refused() {
    let server = Server::start().await;
    let body = "\u{feff}{\"definition\": \"one\", \"input\": {\"n\": 7}}";
    let (status, text) = server.send("POST", "/workflows?wait=20s", JSON, body).await;
    assert_eq!((status, text.contains("COMPLETED")), (201, true), "{text}");
    let (status, text) = server.send("PUT", "/definitions/one", YAML, format!("\u{feff}{ONE}")).await;
    assert_eq!(status, 200, "the content is unchanged: {text}");
    let utf16 = |text: &str, mark: [u8; 2]| {
        let units = text
            .encode_utf16()
            .flat_map(|unit| if mark == [0xff, 0xfe] { unit.to_le_bytes() } else { unit.to_be_bytes() });
        mark.into_iter().chain(units).collect::<Vec<u8>>()
    };
    for mark in [[0xff, 0xfe], [0xfe, 0xff]] {
        let (status, code, detail) =
            server.refused("POST", "/workflows", utf16(r#"{"definition": "one"}"#, mark)).await;
        assert_eq!((status, code.as_str(), detail.contains("UTF-16")), (400, "GC2001", true), "{detail}");
        let (status, text) = server.send("PUT", "/definitions/one", YAML, utf16(ONE, mark)).await;
        assert_eq!((status, text.contains("UTF-16")), (422, true), "{text}");
    }
    let yaml = ONE.replace("workflow: one", "workflow: marked").replace("echo/ok", "echo/marked");
    server.dev.api.apply("marked", &yaml).await.unwrap();
    let id = server.dev.api.start("marked", json!({}), None).await.unwrap();
    let ended = server.dev.api.ended(&id, Duration::from_secs(20)).await.unwrap();
    let output = &ended["steps"][0]["output"];
    assert_eq!(output.to_string(), r#"{"f":0.30000000000000004,"n":18446744073709551615}"#, "{ended}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_of_a_url_are_sent_and_masked() {
    let server = Server::start().await;
    server.dev.api.serve("echo", &format!("http://shop:p%40ss@{}", server.address)).await.unwrap();
    let (status, text) = server.send("GET", "/services/echo", JSON, "").await;
    assert_eq!((status, text.contains("http://***@")), (200, true), "{text}");
    // The executor sees the change at its next poll at the latest.
    let mut sent = None;
    for _ in 0..500 {
        assert_eq!(server.start_one("{}").await.0, 201);
        sent = server.received().pop().unwrap().2;
        if sent.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(sent.as_deref(), Some("Basic c2hvcDpwQHNz"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn setting_that_would_have_no_effect_is_refused() {
    let server = Server::start().await;
    let mut services = ServiceServiceClient::new(server.channel().await);
    for (url, part) in [
        ("http://host:99999", "port"),
        ("http://host:0", "port"),
        ("http://user:pw@host:65536/x", "port"),
        ("ftp://host", "scheme"),
        ("http://", "malformed"),
        ("http://a..b", "host name"),
        ("http://127.0.0.256:80", "host name"),
        ("http://user:***@host", "masked"),
        ("http://***@host", "masked"),
    ] {
        let body = json!({"http": {"url": url}}).to_string();
        let (status, code, detail) = server.refused("PUT", "/services/new", body).await;
        assert_eq!((status, code.as_str(), detail.contains(part)), (422, "GC2002", true), "{url}: {detail}");
        assert!(!detail.contains("pw"), "{detail}");
        let put = wire::PutServiceRequest {
            name: "new".to_owned(),
            http_url: url.to_owned(),
            ..Default::default()
        };
        let status = services.put_service(put).await.unwrap_err();
        assert_eq!(code_of(&status), (Code::InvalidArgument, "GC2002".to_owned()), "{url}: {status}");
    }
    let body = r#"{"max_in_flight": 5, "actions": {"a/b": {"max_in_flight": 1}}}"#;
    let (status, code, detail) = server.refused("PUT", "/services/new", body).await;
    assert_eq!((status, code.as_str()), (422, "GC2002"), "{detail}");
    for (method, path) in [
        ("GET", "/services?limit=1"),
        ("GET", "/services/echo?x"),
        ("GET", "/workflows/x?wait=5s"),
        ("POST", "/workflows/x/cancel?force=true"),
    ] {
        let (status, code, detail) = server.refused(method, path, "").await;
        assert_eq!((status, code.as_str()), (400, "GC2007"), "{path}: {detail}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_labels_have_one_rule_at_every_door() {
    let server = Server::start().await;
    let labels: serde_json::Map<_, _> = (0..65).map(|number| (format!("l{number}"), json!("x"))).collect();
    let start = json!({"definition": "one", "labels": labels}).to_string();
    let (status, code, detail) = server.refused("POST", "/workflows", start).await;
    assert_eq!((status, code.as_str()), (422, "GC2002"), "{detail}");
    let definition = json!({"workflow": "many", "labels": labels,
        "steps": [{"name": "s", "run": "echo/ok", "compensate": "none", "labels": labels}]});
    let (status, text) = server.send("PUT", "/definitions/many", JSON, definition.to_string()).await;
    assert_eq!((status, text.matches("found 65 labels").count()), (422, 2), "{text}");
    for (service, action) in
        [("a\0b", "run"), ("Shop", "run"), ("shop", "a\0b"), ("shop", "a/b"), ("shop", "")]
    {
        let hello = wire::Hello {
            service: service.to_owned(),
            actions: vec![action.to_owned()],
            capacity: 1,
            ..Default::default()
        };
        let message = Some(wire::connect_request::Message::Hello(hello));
        let hello = futures::stream::iter([wire::ConnectRequest { message }]);
        let status = WorkerServiceClient::new(server.channel().await).connect(hello).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{service:?} {action:?}: {status}");
    }
}
