//! Workers that access control refuses are in the audit log, with their caller.

use super::Closed;
use futures::stream;
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::connect_request::Message;
use goconductor_wire::v1::worker_service_client::WorkerServiceClient;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

/// Sends the hello of a worker of `service`, and returns the refusal.
async fn refused(closed: &Closed, token: &str, service: &str) -> Status {
    let channel = Endpoint::from_shared(closed.dev.api.base().to_owned()).unwrap().connect().await.unwrap();
    let hello = wire::Hello {
        service: service.to_owned(),
        actions: vec!["run".to_owned()],
        capacity: 1,
        ..Default::default()
    };
    let hello = wire::ConnectRequest { message: Some(Message::Hello(hello)) };
    let mut request = Request::new(stream::iter([hello]));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    WorkerServiceClient::new(channel).connect(request).await.expect_err("the worker is refused")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_of_another_service_is_refused_and_recorded() {
    let closed = Closed::start().await;
    let key = json!({"name": "gifts", "roles": ["worker"], "namespaces": ["default"], "services": ["gifts"]});
    let created = closed.admin(Method::POST, "/access/keys", Some(key)).await;
    let status = refused(&closed, created["token"].as_str().unwrap(), "cards").await;
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    assert!(status.message().contains("GC2063"), "{status}");
    let expected = json!({
        "actor": format!("key:{}", created["key"]["id"].as_str().unwrap()),
        "source": "127.0.0.1",
        "namespace": "default",
        "target_name": "cards",
        "code": "GC2063",
    });
    let mut found = Value::Null;
    for _ in 0..500 {
        let page = closed.admin(Method::GET, "/audit?outcome=REFUSED&action=workers.connect", None).await;
        if let Some(record) = page["records"].as_array().unwrap().first() {
            found = expected
                .as_object()
                .unwrap()
                .keys()
                .map(|name| (name.clone(), record[name].clone()))
                .collect();
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(found, expected);
}
