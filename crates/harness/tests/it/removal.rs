//! Deletion of definitions and services, over REST, gRPC and the command line.

use goconductor::{Conductor, Context, Service};
use goconductor_harness::{Api, Dev, DevOptions, goconductor};
use goconductor_wire::v1::definition_service_client::DefinitionServiceClient;
use goconductor_wire::v1::service_service_client::ServiceServiceClient;
use goconductor_wire::v1::{self as wire};
use serde_json::{Value, json};
use std::time::Duration;
use tonic::Code;
use tonic::transport::Endpoint;

const WAITS: &str = "workflow: waits\nsteps: [{name: s, run: mail/send, compensate: mail/unsend}]\n";

async fn dev() -> (tempfile::TempDir, Dev) {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path(), DevOptions::default()).await.unwrap();
    (folder, dev)
}

async fn names(api: &Api, path: &str, list: &str) -> Vec<String> {
    let listed = api.get(path).await.unwrap();
    let name = |each: &Value| each["name"].as_str().unwrap().to_owned();
    listed[list].as_array().unwrap().iter().map(name).collect()
}

/// Repeats a request until its response is as expected.
async fn until(api: &Api, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut found = Value::Null;
    for _ in 0..200 {
        found = api.get(path).await.unwrap();
        if holds(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path}: {found}");
}

/// Runs `goconductor` and returns its exit code and what it wrote.
async fn run(api: &Api, arguments: &[&str]) -> (i32, String) {
    let mut command = goconductor().unwrap();
    command.args(["--server", api.base()]).args(arguments);
    let output = command.output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_definition_refuses_starts_until_it_is_applied_again() {
    let (_folder, dev) = dev().await;
    let api = &dev.api;
    api.apply("waits", WAITS).await.unwrap();
    let id = api.start("waits", json!({}), Some("k-1")).await.unwrap();
    let (status, body) = api.send("DELETE", "/definitions/waits", None).await.unwrap();
    assert_eq!((status, body), (204, json!("")));
    assert_eq!(api.send("DELETE", "/definitions/waits", None).await.unwrap().0, 404);
    assert_eq!(api.send("DELETE", "/definitions/never", None).await.unwrap().0, 404);
    assert!(names(api, "/definitions", "definitions").await.is_empty());
    assert_eq!(api.send("GET", "/definitions/waits", None).await.unwrap().0, 404);
    // The workflow that runs still finds its version, and so does an operator.
    assert_eq!(api.get("/definitions/waits/versions/1").await.unwrap()["version"], 1);
    assert_eq!(api.get(&format!("/workflows/{id}")).await.unwrap()["steps"][0]["name"], "s");
    for body in [json!({"definition": "waits"}), json!({"definition": "waits", "version": 1})] {
        let (status, refused) = api.send("POST", "/workflows", Some(body)).await.unwrap();
        assert_eq!((status, &refused["code"]), (404, &json!("GC2011")), "{refused}");
    }
    // A repeat of a start does not start another workflow.
    let repeat = json!({"definition": "waits", "input": {}, "idempotency_key": "k-1"});
    let (status, repeated) = api.send("POST", "/workflows", Some(repeat)).await.unwrap();
    assert_eq!((status, &repeated["id"]), (200, &json!(id)), "{repeated}");
    let other = json!({"definition": "waits", "input": {}, "idempotency_key": "k-2"});
    assert_eq!(api.send("POST", "/workflows", Some(other)).await.unwrap().0, 404);
    // Equal content restores the version, and changed content becomes the next one.
    api.apply("waits", WAITS).await.unwrap();
    assert_eq!(api.get("/definitions/waits").await.unwrap()["version"], 1);
    api.start("waits", json!({}), Some("k-2")).await.unwrap();
    assert_eq!(api.send("DELETE", "/definitions/waits", None).await.unwrap().0, 204);
    api.apply("waits", &WAITS.replace("send,", "post,")).await.unwrap();
    assert_eq!(api.get("/definitions/waits").await.unwrap()["version"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_service_is_gone_and_the_response_names_its_users() {
    let (_folder, dev) = dev().await;
    let api = &dev.api;
    api.apply("waits", WAITS).await.unwrap();
    api.apply("other", "workflow: other\nsteps: [{name: s, run: post/send, compensate: none}]\n")
        .await
        .unwrap();
    api.serve("mail", "http://127.0.0.1:1").await.unwrap();
    let (status, deleted) = api.send("DELETE", "/services/mail", None).await.unwrap();
    assert_eq!((status, &deleted["definitions"]), (200, &json!(["waits"])), "{deleted}");
    let (status, refused) = api.send("DELETE", "/services/mail", None).await.unwrap();
    assert_eq!((status, &refused["code"]), (404, &json!("GC2012")));
    assert_eq!(api.send("GET", "/services/mail", None).await.unwrap().0, 404);
    assert!(names(api, "/services", "services").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_that_only_workers_serve_is_listed() {
    let (_folder, dev) = dev().await;
    let api = &dev.api;
    let conductor = Conductor::connect(api.base()).unwrap();
    let service = Service::new("mail").action("send", |_: Context, input: Value| async move { Ok(input) });
    let serving = conductor.serve(service).await.unwrap();
    serving.connected().await.unwrap();
    let listed = until(api, "/services", |found| found["services"][0]["workers"].as_u64() > Some(0)).await;
    let only = &listed["services"][0];
    assert_eq!((&only["name"], &only["served"]), (&json!("mail"), &json!(true)), "{listed}");
    assert!(only.get("updated_at").is_none() && only.get("http").is_none(), "{only}");
    assert_eq!(api.get("/services/mail").await.unwrap()["name"], "mail");
    // It has no settings that could be deleted.
    assert_eq!(api.send("DELETE", "/services/mail", None).await.unwrap().0, 404);
    let channel = Endpoint::from_shared(api.base().to_owned()).unwrap().connect().await.unwrap();
    let all = ServiceServiceClient::new(channel).list_services(wire::ListServicesRequest {}).await.unwrap();
    let all = all.into_inner().services;
    assert_eq!((all[0].name.as_str(), all[0].workers > 0, all[0].updated_at), ("mail", true, None));
    serving.shutdown().await;
    until(api, "/services", |found| found["services"] == json!([])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_and_command_line_delete_like_rest() {
    let (_folder, dev) = dev().await;
    let api = &dev.api;
    api.apply("waits", WAITS).await.unwrap();
    api.serve("mail", "http://127.0.0.1:1").await.unwrap();
    api.start("waits", json!({}), None).await.unwrap();
    let channel = Endpoint::from_shared(api.base().to_owned()).unwrap().connect().await.unwrap();
    let mut definitions = DefinitionServiceClient::new(channel.clone());
    let request = || wire::DeleteDefinitionRequest { name: "waits".to_owned() };
    let deleted = definitions.delete_definition(request()).await.unwrap().into_inner();
    assert_eq!(deleted.open_workflows, 1);
    assert_eq!(definitions.delete_definition(request()).await.unwrap_err().code(), Code::NotFound);
    api.apply("waits", WAITS).await.unwrap();
    let mut services = ServiceServiceClient::new(channel);
    let request = || wire::DeleteServiceRequest { name: "mail".to_owned() };
    let deleted = services.delete_service(request()).await.unwrap().into_inner();
    assert_eq!(deleted.definitions, ["waits"]);
    assert_eq!(services.delete_service(request()).await.unwrap_err().code(), Code::NotFound);

    api.serve("mail", "http://127.0.0.1:1").await.unwrap();
    let (code, text) = run(api, &["service", "delete", "mail"]).await;
    assert!(code == 0 && text.contains("used by the definitions waits"), "{code}: {text}");
    assert_eq!(run(api, &["service", "delete", "mail"]).await.0, 3);
    let (code, text) = run(api, &["definition", "delete", "waits", "-o", "json"]).await;
    assert!(code == 0 && text.contains("open_workflows"), "{code}: {text}");
    assert_eq!(run(api, &["definition", "delete", "waits"]).await.0, 3);
}
