//! Batches: operations on all workflows that match a filter, over REST, gRPC and the command line.

use goconductor_harness::{Api, Dev, DevOptions, goconductor};
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::batch_service_client::BatchServiceClient;
use serde_json::{Value, json};
use std::time::Duration;
use tonic::Code;
use tonic::transport::Endpoint;

/// A definition whose first step waits for a worker that never connects.
const WAITS: &str = "workflow: waits\nsteps: [{name: s, run: mail/send, compensate: mail/unsend}]\n";
const WORKFLOWS: u64 = 1_000;

async fn dev() -> (tempfile::TempDir, Dev) {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    dev.api.apply("waits", WAITS).await.unwrap();
    (folder, dev)
}

async fn start(api: &Api, count: u64) {
    for _ in 0..count {
        api.start("waits", json!({}), None).await.unwrap();
    }
}

async fn until(api: &Api, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut found = Value::Null;
    for _ in 0..1200 {
        found = api.get(path).await.unwrap();
        if holds(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path}: {found}");
}

async fn counts(api: &Api, query: &str) -> Value {
    api.get(&format!("/workflow-counts?{query}")).await.unwrap()["counts"].clone()
}

/// Returns the number of events of a type in the history of a workflow.
async fn events(api: &Api, id: &str, kind: &str) -> Vec<Value> {
    let page = api.get(&format!("/workflows/{id}/events?page_size=1000")).await.unwrap();
    page["events"].as_array().unwrap().iter().filter(|event| event["type"] == kind).cloned().collect()
}

/// Creates a batch that cancels all workflows of the definition.
async fn cancel(api: &Api, expected: u64, rate: u32) -> Value {
    let body = json!({
        "operation": "cancel", "filter": "definition = waits", "reason": "wrong price",
        "expected_count": expected, "rate": rate,
    });
    let (status, batch) = api.send("POST", "/batches", Some(body)).await.unwrap();
    assert_eq!(status, 201, "{batch}");
    batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_and_killed_batch_cancels_each_workflow_once() {
    let (_folder, mut dev) = dev().await;
    start(&dev.api, WORKFLOWS).await;
    let batch = cancel(&dev.api, WORKFLOWS, 400).await;
    let path = format!("/batches/{}", batch["id"].as_str().unwrap());
    assert_eq!(batch["total"], WORKFLOWS, "{batch}");
    // It starts later and is not part of the batch.
    let late = dev.api.start("waits", json!({}), None).await.unwrap();
    until(&dev.api, &path, |batch| batch["done"].as_u64().unwrap() > 100).await;
    let (status, paused) = dev.api.send("POST", &format!("{path}/pause"), None).await.unwrap();
    assert_eq!((status, &paused["status"]), (200, &json!("PAUSED")), "{paused}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let still = dev.api.get(&path).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(dev.api.get(&path).await.unwrap()["done"], still["done"], "a paused batch continues");
    assert!(still["pending"].as_u64().unwrap() > 0, "{still}");
    dev.api.send("POST", &format!("{path}/resume"), None).await.unwrap();
    until(&dev.api, &path, |batch| batch["done"].as_u64() > still["done"].as_u64()).await;
    dev.kill().await.unwrap();
    dev.restart().await.unwrap();
    let ended = until(&dev.api, &path, |batch| batch["status"] == "COMPLETED").await;
    assert_eq!(ended["done"], WORKFLOWS, "{ended}");
    assert_eq!((&ended["refused"], &ended["failed"], &ended["pending"]), (&json!(0), &json!(0), &json!(0)));
    until(&dev.api, "/workflow-counts?filter=status%20%3D%20ROLLED_BACK", |found| {
        found["counts"][0]["count"] == WORKFLOWS
    })
    .await;
    assert_eq!(dev.api.get(&format!("/workflows/{late}")).await.unwrap()["cause"], Value::Null);
    let mut token = String::new();
    let mut seen = 0;
    loop {
        let page = format!("{path}/items?status=done&page_size=300&page_token={token}");
        let page = dev.api.get(&page).await.unwrap();
        for item in page["items"].as_array().unwrap() {
            seen += 1;
            let started = events(&dev.api, item["workflow_id"].as_str().unwrap(), "ROLLBACK_STARTED").await;
            assert_eq!(started.len(), 1, "{item}: {started:?}");
            let reason = started[0]["detail"]["reason"].as_str().unwrap_or_default().to_owned();
            assert!(reason.starts_with("wrong price (batch "), "{started:?}");
        }
        token = page["next_page_token"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, WORKFLOWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_is_refused_unless_the_expected_number_matches() {
    let (_folder, dev) = dev().await;
    let api = &dev.api;
    start(api, 12).await;
    let body = |more: Value| {
        let mut body = json!({"operation": "pause", "filter": "definition = waits", "reason": "r"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let (status, preview) = api.send("POST", "/batches", Some(body(json!({})))).await.unwrap();
    assert_eq!(
        (status, &preview["count"], &preview["dry_run"]),
        (200, &json!(12), &json!(true)),
        "{preview}"
    );
    assert_eq!(preview["sample"].as_array().unwrap().len(), 10, "{preview}");
    for (more, status, code) in [
        (json!({"expected_count": 11}), 409, "GC2115"),
        (json!({"operation": "explode"}), 422, "GC2118"),
        (json!({"operation": "skip"}), 422, "GC2118"),
        (json!({"step": "s"}), 422, "GC2118"),
        (json!({"rate": 0}), 422, "GC2118"),
        (json!({"reason": " "}), 422, "GC2017"),
        (json!({"filter": "nothing = 1"}), 400, "GC2008"),
    ] {
        let (found, refused) = api.send("POST", "/batches", Some(body(more.clone()))).await.unwrap();
        assert_eq!((found, &refused["code"]), (status, &json!(code)), "{more}: {refused}");
    }
    let (_, refused) = api.send("POST", "/batches", Some(body(json!({"expected_count": 11})))).await.unwrap();
    assert!(refused["detail"].as_str().unwrap().starts_with("12 workflows match"), "{refused}");
    assert_eq!(api.get("/batches").await.unwrap()["batches"], json!([]));
    for path in ["/batches/nothing", "/batches/01999999-0000-7000-8000-000000000000"] {
        let (status, missing) = api.send("GET", path, None).await.unwrap();
        assert_eq!((status, &missing["code"]), (404, &json!("GC2114")), "{missing}");
    }
    let (status, batch) =
        api.send("POST", "/batches", Some(body(json!({"expected_count": 12})))).await.unwrap();
    assert_eq!(status, 201, "{batch}");
    let path = format!("/batches/{}", batch["id"].as_str().unwrap());
    until(api, &path, |batch| batch["status"] == "COMPLETED").await;
    assert_eq!(counts(api, "by=status").await, json!([{"value": "PAUSED", "count": 12}]));
    let (status, refused) = api.send("POST", &format!("{path}/cancel"), None).await.unwrap();
    assert_eq!((status, &refused["code"]), (409, &json!("GC2117")), "{refused}");
    let audit = api.get("/audit?action=batches.create").await.unwrap();
    assert!(audit.to_string().contains(batch["id"].as_str().unwrap()), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_and_the_command_line_operate_batches() {
    let (_folder, dev) = dev().await;
    start(&dev.api, 5).await;
    let channel = Endpoint::from_shared(dev.api.base().to_owned()).unwrap().connect().await.unwrap();
    let mut client = BatchServiceClient::new(channel);
    let create = wire::CreateBatchRequest {
        operation: "pause".to_owned(),
        filter: "definition = waits".to_owned(),
        reason: "maintenance".to_owned(),
        expected_count: Some(5),
        ..Default::default()
    };
    let dry = wire::CreateBatchRequest { dry_run: true, ..create.clone() };
    let preview = client.create_batch(dry).await.unwrap().into_inner();
    assert_eq!((preview.count, preview.sample.len(), preview.batch), (5, 5, None));
    let wrong = wire::CreateBatchRequest { expected_count: Some(4), ..create.clone() };
    let refused = client.create_batch(wrong).await.unwrap_err();
    assert!(refused.message().contains("5 workflows match"), "{refused}");
    let batch = client.create_batch(create).await.unwrap().into_inner().batch.unwrap();
    let path = format!("/batches/{}", batch.id);
    until(&dev.api, &path, |batch| batch["status"] == "COMPLETED").await;
    let items = wire::ListBatchItemsRequest { id: batch.id.clone(), ..Default::default() };
    assert_eq!(client.list_batch_items(items).await.unwrap().into_inner().items.len(), 5);
    let missing = wire::GetBatchRequest { id: "nothing".to_owned() };
    assert_eq!(client.get_batch(missing).await.unwrap_err().code(), Code::NotFound);

    let run = async |arguments: &[&str]| {
        let mut command = goconductor().unwrap();
        let output = command.args(["--server", dev.api.base()]).args(arguments).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    };
    let filter = ["--filter", "definition = waits", "--reason", "over", "--yes"];
    let (code, text) = run(&[&["workflow", "resume"][..], &filter[..]].concat()).await;
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("5 of 5 workflows resumed"), "{text}");
    // The steps do not need an operator.
    let (code, text) = run(&[&["workflow", "retry"][..], &filter[..]].concat()).await;
    assert_eq!(code, 4, "{text}");
    assert!(text.contains("5 of 5 workflows rejected the operation"), "{text}");
    let (code, text) = run(&["batch", "list", "-o", "name"]).await;
    assert_eq!((code, text.lines().count()), (0, 3), "{text}");
    let (code, text) = run(&["workflow", "count", "--by", "error-code"]).await;
    assert_eq!(code, 0, "{text}");
}
