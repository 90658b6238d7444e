//! The contract of the REST API, over plain HTTP.

use goconductor_harness::{Dev, DevOptions, Participants};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ORDER: &str = "workflow: order\ninput: {type: object, required: [amount], properties: {amount: {type: integer}}}\nsteps:\n- {name: pay, run: a/pay, compensate: a/refund}\n- {name: ship, run: a/ship, compensate: none}\noutput: {amount: \"${ input.amount }\"}\n";
const WAITS: &str = "workflow: waits\nsteps: [{name: s, run: absent/do, compensate: none}]\n";

struct Server {
    dev: Dev,
    http: Client,
    _participants: Participants,
    _folder: tempfile::TempDir,
}

/// A response.
struct ApiResponse {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
        let participants = Participants::start().await.unwrap();
        dev.api.serve("a", &participants.url("a")).await.unwrap();
        Self { dev, http: Client::new(), _participants: participants, _folder: folder }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.dev.api.base())
    }

    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> ApiResponse {
        let mut request = self.http.request(method.parse().unwrap(), self.url(path)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send().await.unwrap()).await
    }

    async fn get(&self, path: &str) -> ApiResponse {
        self.call("GET", path, &[], "").await
    }

    async fn post(&self, path: &str, body: Value) -> ApiResponse {
        self.call("POST", path, &[("content-type", "application/json")], &body.to_string()).await
    }

    async fn apply(&self, name: &str, yaml: &str) -> ApiResponse {
        let kind = [("content-type", "application/yaml")];
        self.call("PUT", &format!("/api/v1/definitions/{name}"), &kind, yaml).await
    }

    async fn start_order(&self, amount: i64) -> String {
        let started =
            self.post("/api/v1/workflows", json!({"definition": "order", "input": {"amount": amount}})).await;
        assert_eq!(started.status, 201, "{}", started.body);
        started.body["id"].as_str().unwrap().to_owned()
    }
}

async fn read(answer: Response) -> ApiResponse {
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    ApiResponse { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn definition_gets_a_new_version_only_for_new_content() {
    let server = Server::start().await;
    let dry = server
        .call("PUT", "/api/v1/definitions/order?dry_run=true", &[("content-type", "application/yaml")], ORDER)
        .await;
    assert_eq!((dry.status, &dry.body["version"]), (200, &json!(1)));
    assert_eq!(server.get("/api/v1/definitions/order").await.status, 404);

    let first = server.apply("order", ORDER).await;
    assert_eq!((first.status, &first.body["version"]), (201, &json!(1)));
    assert_eq!(first.body["digest"], dry.body["digest"]);
    let again = server.apply("order", &format!("# a comment\n{ORDER}")).await;
    assert_eq!((again.status, &again.body["version"]), (200, &json!(1)));
    let changed = server.apply("order", &ORDER.replace("a/ship", "a/send")).await;
    assert_eq!((changed.status, &changed.body["version"]), (201, &json!(2)));

    let versions = server.get("/api/v1/definitions/order/versions").await.body;
    let numbers: Vec<_> =
        versions["versions"].as_array().unwrap().iter().map(|each| each["version"].clone()).collect();
    assert_eq!(numbers, [json!(2), json!(1)]);
    let one = server.get("/api/v1/definitions/order/versions/1").await.body;
    assert_eq!((&one["version"], &one["source_format"]), (&json!(1), &json!("yaml")));
    assert!(one["source"].as_str().unwrap().contains("a/ship"));
    for path in ["/versions/3", "/versions/x", "/versions/-1"] {
        assert_eq!(server.get(&format!("/api/v1/definitions/order{path}")).await.status, 404, "{path}");
    }
    let graph = server.get("/api/v1/definitions/order/graph").await.body;
    assert_eq!(graph["edges"], json!([{"from": "pay", "to": "ship"}]));
    let list = server.get("/api/v1/definitions").await.body;
    assert_eq!(list["definitions"][0]["name"], "order");

    let other = server.apply("another", ORDER).await;
    assert_eq!((other.status, &other.body["errors"][0]["pointer"]), (422, &json!("/workflow")));
    let kind = server.call("PUT", "/api/v1/definitions/order", &[("content-type", "text/html")], ORDER).await;
    assert_eq!(kind.status, 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_definition_is_refused_with_every_problem() {
    let server = Server::start().await;
    let answer = server
        .apply(
            "bad",
            "workflow: bad\nsteps:\n- {name: s, run: a/b}\n- {name: t, runn: a/b, compensate: none}\n",
        )
        .await;
    assert_eq!(answer.status, 422);
    let found: Vec<_> = answer.body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| {
            (
                error["code"].as_str().unwrap().to_owned(),
                error["pointer"].as_str().unwrap().to_owned(),
                error["line"].as_u64().unwrap(),
                error["column"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected =
        |code: &str, pointer: &str, line, column| (code.to_owned(), pointer.to_owned(), line, column);
    assert_eq!(
        found,
        [
            expected("GC1011", "/steps/0", 3, 3),
            expected("GC1010", "/steps/1", 4, 3),
            expected("GC1004", "/steps/1/runn", 4, 13)
        ]
    );
    for error in answer.body["errors"].as_array().unwrap() {
        let page = server.get(&format!("/errors/{}", error["code"].as_str().unwrap())).await;
        assert_eq!(page.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_key_returns_the_existing_workflow() {
    let server = Server::start().await;
    server.apply("order", ORDER).await;
    let body = json!({"definition": "order", "input": {"amount": 1}, "idempotency_key": "k-1", "labels": {"team": "shop"}});
    let first = server.post("/api/v1/workflows", body.clone()).await;
    let id = first.body["id"].as_str().unwrap().to_owned();
    assert_eq!(first.status, 201);
    assert_eq!(first.headers["location"], format!("/api/v1/workflows/{id}").as_str());
    assert!(first.headers.get("idempotency-replayed").is_none());
    assert_eq!(first.body["labels"], json!({"team": "shop"}));

    let again = server.post("/api/v1/workflows", body).await;
    assert_eq!((again.status, &again.body["id"]), (200, &json!(id)));
    assert_eq!(again.headers["idempotency-replayed"], "true");
    let by_header = [("content-type", "application/json"), ("idempotency-key", "k-1")];
    let same = server
        .call("POST", "/api/v1/workflows", &by_header, r#"{"definition":"order","input":{"amount":1}}"#)
        .await;
    assert_eq!((same.status, &same.body["id"]), (200, &json!(id)));

    let other = json!({"definition": "order", "input": {"amount": 2}, "idempotency_key": "k-1"});
    let conflict = server.post("/api/v1/workflows", other).await;
    assert_eq!((conflict.status, &conflict.body["code"]), (409, &json!("GC2014")));
    let differ = server
        .call(
            "POST",
            "/api/v1/workflows",
            &by_header,
            r#"{"definition":"order","input":{"amount":1},"idempotency_key":"k-2"}"#,
        )
        .await;
    assert_eq!(differ.status, 409);
    // Another namespace has separate keys, definitions and workflows.
    let elsewhere = [("content-type", "application/json"), ("goconductor-namespace", "other")];
    let start = r#"{"definition":"order","input":{"amount":1},"idempotency_key":"k-1"}"#;
    assert_eq!(server.call("POST", "/api/v1/workflows", &elsewhere, start).await.status, 404);
    assert_eq!(server.call("GET", &format!("/api/v1/workflows/{id}"), &elsewhere, "").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_start_is_refused() {
    let server = Server::start().await;
    server.apply("order", ORDER).await;
    for (body, status, pointer) in [
        (json!({"definition": "nope"}), 404, None),
        (json!({"definition": "order", "version": 9}), 404, None),
        (json!({"definition": "order"}), 422, Some("/input")),
        (json!({"definition": "order", "input": {"amount": "1"}}), 422, Some("/input/amount")),
        (json!({"definition": "order", "input": {"amount": 1.5}}), 422, Some("/input/amount")),
        (json!({"input": {}}), 422, Some("")),
        (json!({"definition": "order", "inputs": {}}), 422, Some("/inputs")),
        (json!({"definition": "order", "version": "1"}), 422, Some("/version")),
        (json!({"definition": "order", "input": {"amount": 1}, "labels": {"a": 1}}), 422, Some("/labels/a")),
    ] {
        let answer = server.post("/api/v1/workflows", body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        let found = answer.body["errors"][0]["pointer"].as_str();
        assert_eq!(found, pointer, "{body}: {}", answer.body);
    }
    assert_eq!(server.get("/api/v1/workflows").await.body["workflows"], json!([]));
    // Only a body that carries a payload can be large.
    let large = json!({"reason": "x".repeat(2 << 20)});
    assert_eq!(server.post("/api/v1/workflows/none/cancel", large).await.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn workflow_is_read_listed_and_counted() {
    let server = Server::start().await;
    server.apply("order", ORDER).await;
    server.apply("waits", WAITS).await;
    let mut ids = Vec::new();
    for amount in 0..5 {
        ids.push(server.start_order(amount).await);
    }
    for id in &ids {
        let result = server.get(&format!("/api/v1/workflows/{id}/result?wait=10s")).await;
        assert_eq!((result.status, &result.body["status"]), (200, &json!("COMPLETED")));
    }
    let view = server.get(&format!("/api/v1/workflows/{}", ids[3])).await.body;
    assert_eq!(
        (&view["output"], &view["error"], &view["cause"]),
        (&json!({"amount": 3}), &Value::Null, &Value::Null)
    );
    assert_eq!(
        (&view["steps"][0]["status"], &view["steps"][0]["attempts"]),
        (&json!("COMPLETED"), &json!(1))
    );
    let waits = server.post("/api/v1/workflows", json!({"definition": "waits"})).await.body["id"]
        .as_str()
        .unwrap()
        .to_owned();

    pages_hold_all_newest_first(&server, &ids, &waits).await;
    for (filter, count) in [
        ("status = COMPLETED", 5),
        ("status = QUEUED OR status = IN_PROGRESS", 1),
        ("definition = \"waits\" AND created_at > \"-1h\"", 1),
        ("NOT definition = waits", 5),
        ("created_at < \"-1h\"", 0),
    ] {
        let query = filter
            .replace(' ', "%20")
            .replace('"', "%22")
            .replace('=', "%3D")
            .replace('<', "%3C")
            .replace('>', "%3E");
        let page = server.get(&format!("/api/v1/workflows?filter={query}")).await;
        assert_eq!(page.body["workflows"].as_array().map(Vec::len), Some(count), "{filter}: {}", page.body);
    }
    let counts = server.get("/api/v1/workflow-counts?by=status").await.body;
    assert!(
        counts["counts"].as_array().unwrap().contains(&json!({"value": "COMPLETED", "count": 5})),
        "{counts}"
    );
    let waiting = server.get(&format!("/api/v1/workflows/{waits}")).await.body;
    assert_eq!(
        (&waiting["waiting_on"][0]["kind"], &waiting["waiting_on"][0]["step"]),
        (&json!("NO_WORKER"), &json!("s"))
    );
    for (path, status) in [
        ("/x", 404),
        ("/01a209d5-ea78-767c-9090-ad0479d0eb0e", 404),
        ("?page_size=0", 400),
        ("?page_size=1001", 400),
        ("?page_token=x", 400),
        ("?filter=nope%3D1", 400),
    ] {
        assert_eq!(server.get(&format!("/api/v1/workflows{path}")).await.status, status, "{path}");
    }
    assert_eq!(server.get("/api/v1/workflow-counts?by=mood").await.status, 400);
}

async fn pages_hold_all_newest_first(server: &Server, ids: &[String], waits: &str) {
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let page = server.get(&format!("/api/v1/workflows?page_size=4&page_token={token}")).await.body;
        found.extend(
            page["workflows"].as_array().unwrap().iter().map(|each| each["id"].as_str().unwrap().to_owned()),
        );
        token = page["next_page_token"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    let mut expected: Vec<String> = ids.iter().rev().cloned().collect();
    expected.insert(0, waits.to_owned());
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_poll_returns_at_the_end_or_after_its_wait() {
    let server = Server::start().await;
    server.apply("order", ORDER).await;
    server.apply("waits", WAITS).await;
    let id = server.post("/api/v1/workflows", json!({"definition": "waits"})).await.body["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/api/v1/workflows/{id}/result");
    let begun = Instant::now();
    assert_eq!(server.get(&path).await.status, 202);
    assert_eq!(server.get(&format!("{path}?wait=300ms")).await.status, 202);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(server.get(&format!("{path}?wait=soon")).await.status, 400);
    let waiting = server.http.get(server.url(&format!("{path}?wait=20s"))).send();
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.post(&format!("/api/v1/workflows/{id}/cancel"), json!({"reason": "enough"})).await
    };
    let (ended, cancelled) = tokio::join!(waiting, cancel);
    assert_eq!(cancelled.status, 200, "{}", cancelled.body);
    let ended = read(ended.unwrap()).await;
    assert_eq!(
        (ended.status, &ended.body["status"], &ended.body["cause"]),
        (200, &json!("ROLLED_BACK"), &json!("CANCELLED"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn start_with_wait_returns_the_end() {
    let server = Server::start().await;
    server.apply("order", ORDER).await;
    server.apply("waits", WAITS).await;
    let start = |definition: &str| json!({"definition": definition, "idempotency_key": definition, "input": {"amount": 1}});
    let ended = server.post("/api/v1/workflows?wait=20s", start("order")).await;
    assert_eq!((ended.status, &ended.body["status"]), (201, &json!("COMPLETED")), "{}", ended.body);
    let again = server.post("/api/v1/workflows?wait=20s", start("order")).await;
    assert_eq!((again.status, &again.body["id"]), (200, &ended.body["id"]));
    assert_eq!(again.body["status"], "COMPLETED");
    let begun = Instant::now();
    let open = server.post("/api/v1/workflows?wait=300ms", start("waits")).await;
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(open.status, 201, "{}", open.body);
    assert_ne!(open.body["status"], "COMPLETED");
    let wrong = server.post("/api/v1/workflows?wait=soon", start("never")).await;
    assert_eq!(wrong.status, 400, "{}", wrong.body);
    let page = server.get("/api/v1/workflows?filter=idempotency_key%20%3D%20%22never%22").await;
    assert_eq!(page.body["workflows"], json!([]), "a refused start starts nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_paged_and_followed_from_any_event() {
    let server = Server::start().await;
    server.apply("order", ORDER).await;
    let id = server.start_order(1).await;
    server.get(&format!("/api/v1/workflows/{id}/result?wait=10s")).await;
    let path = format!("/api/v1/workflows/{id}/events");
    let all = server.get(&path).await.body["events"].as_array().unwrap().clone();
    let seqs: Vec<u64> = all.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=all.len() as u64).collect::<Vec<_>>());
    assert_eq!((&all[0]["type"], &all[1]["step"]), (&json!("WORKFLOW_STARTED"), &json!("pay")));
    let part = server.get(&format!("{path}?after_seq=2&page_size=2")).await.body;
    assert_eq!(part["events"].as_array().unwrap(), &all[2..4]);

    let stream =
        server.call("GET", &path, &[("accept", "text/event-stream"), ("last-event-id", "3")], "").await;
    assert_eq!((stream.status, stream.headers["content-type"].to_str().unwrap()), (200, "text/event-stream"));
    let text = stream.body.as_str().unwrap();
    let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    let expected: Vec<String> = (4..=all.len()).map(|seq| seq.to_string()).collect();
    assert_eq!(ids, expected);
    let data: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(data, all[3..]);
    let wrong =
        server.call("GET", &path, &[("accept", "text/event-stream"), ("last-event-id", "x")], "").await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_calls_require_reasons_and_a_suitable_status() {
    let server = Server::start().await;
    server.apply("order", ORDER).await;
    server.apply("waits", WAITS).await;
    let done = server.start_order(1).await;
    server.get(&format!("/api/v1/workflows/{done}/result?wait=10s")).await;
    let open = server.post("/api/v1/workflows", json!({"definition": "waits"})).await.body["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for verb in ["terminate", "steps/s/skip", "steps/s/complete"] {
        for body in [json!({}), json!({"reason": " "}), json!({"reason": null})] {
            let answer = server.post(&format!("/api/v1/workflows/{open}/{verb}"), body).await;
            assert_eq!((answer.status, &answer.body["code"]), (422, &json!("GC2017")), "{verb}");
        }
    }
    for verb in
        ["cancel", "pause", "resume", "terminate", "steps/pay/retry", "steps/pay/skip", "steps/pay/complete"]
    {
        let answer =
            server.post(&format!("/api/v1/workflows/{done}/{verb}"), json!({"reason": "test"})).await;
        assert_eq!((answer.status, &answer.body["code"]), (409, &json!("GC2015")), "{verb}: {}", answer.body);
    }
    let step = server.post(&format!("/api/v1/workflows/{open}/steps/nope/retry"), json!({})).await;
    assert_eq!((step.status, &step.body["code"]), (404, &json!("GC2013")));
    let signal = server.post(&format!("/api/v1/workflows/{open}/signals/go"), json!({})).await;
    assert_eq!((signal.status, &signal.body["id"]), (200, &json!(open)));
    let signal = server.post(&format!("/api/v1/workflows/{done}/signals/go"), json!(7)).await;
    assert_eq!((signal.status, &signal.body["code"]), (409, &json!("GC2015")));

    let kind = [("content-type", "application/json"), ("goconductor-actor", "ada")];
    let paused = server.call("POST", &format!("/api/v1/workflows/{open}/pause"), &kind, "{}").await;
    assert_eq!((paused.status, &paused.body["status"]), (200, &json!("PAUSED")));
    assert_eq!(paused.body["waiting_on"][0]["kind"], "OPERATOR");
    let resumed = server.call("POST", &format!("/api/v1/workflows/{open}/resume"), &[], "").await;
    assert_eq!(resumed.status, 200);
    let ended =
        server.post(&format!("/api/v1/workflows/{open}/terminate"), json!({"reason": "enough"})).await;
    assert_eq!((ended.status, &ended.body["status"]), (200, &json!("TERMINATED")));
    let events = server.get(&format!("/api/v1/workflows/{open}/events")).await.body;
    let pause = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .find(|event| event["type"] == "WORKFLOW_PAUSED")
        .unwrap()
        .clone();
    assert_eq!(pause["actor"], "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn contradictory_request_changes_nothing() {
    let server = Server::start().await;
    let refused = server.apply("other", ORDER).await;
    assert_eq!((refused.status, &refused.body["code"]), (422, &json!("GC2018")), "{}", refused.body);
    assert_eq!(refused.body["errors"][0]["pointer"], "/workflow");
    assert_eq!(server.apply("order", ORDER).await.status, 201);
    let start = json!({"definition": "order", "input": {"amount": 1}, "idempotency_key": "a"}).to_string();
    let kind = ("content-type", "application/json");
    let differ = server.call("POST", "/api/v1/workflows", &[kind, ("idempotency-key", "b")], &start).await;
    assert_eq!((differ.status, &differ.body["code"]), (409, &json!("GC2037")), "{}", differ.body);
    assert_eq!(server.get("/api/v1/workflow-counts").await.body["counts"], json!([]));
    let same = server.call("POST", "/api/v1/workflows", &[kind, ("idempotency-key", "a")], &start).await;
    assert_eq!(same.status, 201, "{}", same.body);
    let id = same.body["id"].as_str().unwrap();
    let paused = server.post(&format!("/api/v1/workflows/{id}/pause"), Value::Null).await;
    assert!(matches!(paused.status, 200 | 409), "null is the same as no body: {}", paused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn service_is_registered_read_and_deleted() {
    let server = Server::start().await;
    let put = |name: &'static str, body: Value| {
        let server = &server;
        async move {
            let kind = [("content-type", "application/json")];
            server.call("PUT", &format!("/api/v1/services/{name}"), &kind, &body.to_string()).await
        }
    };
    let set =
        put("mail", json!({"http": {"url": "http://user:secret@127.0.0.1:9/mail/"}, "max_in_flight": 3}))
            .await;
    assert_eq!(set.status, 200, "{}", set.body);
    assert!(!set.body.to_string().contains("secret"), "{}", set.body);
    let got = server.get("/api/v1/services/mail").await;
    assert_eq!((got.status, &got.body["max_in_flight"]), (200, &json!(3)));
    let list = server.get("/api/v1/services").await.body;
    let names: Vec<_> =
        list["services"].as_array().unwrap().iter().map(|each| each["name"].clone()).collect();
    assert_eq!(names, [json!("a"), json!("mail")]);
    assert_eq!(server.get("/api/v1/services/nope").await.status, 404);
    for url in ["", "mail", "ftp://x/", "http://", "http://x/?q=1", "http://x/#f", "/path"] {
        assert_eq!(put("mail", json!({"http": {"url": url}})).await.status, 422, "{url}");
    }
    assert_eq!(put("mail", json!({})).await.status, 422);
    for array in [json!([null, null, null]), json!({"http": ["http://x"]}), json!({"actions": {"a": [1]}})] {
        let refused = put("mail", array.clone()).await;
        assert_eq!((refused.status, &refused.body["code"]), (422, &json!("GC2002")), "{array}");
        assert!(refused.body["detail"].as_str().unwrap().contains("expected an object"), "{}", refused.body);
    }
    assert_eq!(put("Not%20A%20Name", json!({"http": {"url": "http://x"}})).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn operational_endpoints_are_served() {
    let server = Server::start().await;
    for path in [
        "/healthz",
        "/readyz",
        "/version",
        "/metrics",
        "/openapi.json",
        "/schema/v1/workflow.json",
        "/errors/GC1011",
        "/",
    ] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.as_str().unwrap().contains("goconductor_http_requests_total{"), "{metrics}");
    let document = server.get("/openapi.json").await.body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for (path, method) in [
        ("/api/v1/definitions/{name}", "put"),
        ("/api/v1/definitions", "get"),
        ("/api/v1/definitions/{name}/graph", "get"),
        ("/api/v1/definitions/{name}/simulate", "post"),
        ("/api/v1/services/{name}", "put"),
        ("/api/v1/workflows", "post"),
        ("/api/v1/workflows/{id}", "get"),
        ("/api/v1/workflows/{id}/events", "get"),
        ("/api/v1/workflows/{id}/result", "get"),
        ("/api/v1/workflows/{id}/cancel", "post"),
        ("/api/v1/workflows/{id}/steps/{step}/retry", "post"),
        ("/api/v1/workflow-counts", "get"),
        ("/api/v1/watch", "get"),
        ("/api/v1/locks", "get"),
        ("/api/v1/locks/{key}/acquire", "post"),
        ("/api/v1/locks/{key}/renew", "post"),
        ("/api/v1/locks/{key}/release", "post"),
        ("/api/v1/elections", "get"),
        ("/api/v1/elections/{name}/step-down", "post"),
        ("/readyz", "get"),
    ] {
        assert!(document["paths"][path][method].is_object(), "{method} {path}");
    }
    check_references(&document, &document);
    let mut names = std::collections::BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{method} {path}");
            for answer in operation["responses"].as_object().unwrap().values() {
                assert!(answer["description"].is_string(), "{method} {path}: {answer}");
            }
        }
    }
    let foreign = [("content-type", "application/json"), ("origin", "http://evil.example")];
    assert_eq!(server.call("POST", "/api/v1/workflows", &foreign, "{}").await.status, 403);
    let odd = server.call("DELETE", "/api/v1/workflows", &[], "").await;
    assert_eq!((odd.status, odd.headers["allow"].to_str().unwrap()), (405, "GET,HEAD,POST"));
    assert_eq!(server.get("/nope").await.body["code"], "GC2005");
}

/// Every `$ref` of a document resolves within it.
fn check_references(document: &Value, part: &Value) {
    match part {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
            }
            fields.values().for_each(|value| check_references(document, value));
        }
        Value::Array(items) => items.iter().for_each(|item| check_references(document, item)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_list_are_streamed() {
    let server = Server::start().await;
    server.apply("order", ORDER).await;
    let mut stream =
        server.http.get(server.url("/api/v1/watch?filter=definition%3Dorder")).send().await.unwrap();
    let id = server.start_order(1).await;
    let mut text = String::new();
    let seen = async {
        while !text.contains("COMPLETED") {
            text.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await.unwrap();
    assert!(text.contains(&id) && text.contains("event: workflow"), "{text}");
}
