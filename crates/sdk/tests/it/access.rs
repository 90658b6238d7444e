//! Callers and workers with access control.

use crate::server::Server;
use goconductor::{Conductor, Context, Error, Service};
use goconductor_client::{AccessKey, NewAccessKey};
use goconductor_service_kit::config::AccessConfig;
use goconductor_wire::v1 as wire;
use goconductor_wire::v1::worker_service_client::WorkerServiceClient;
use serde_json::Value;
use std::time::{Duration, Instant};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};

const ADMIN: &str = "the-bootstrap-key-of-the-tests-0123456789";

async fn server() -> Server {
    let access = AccessConfig { enabled: true, bootstrap_key: Some(ADMIN.into()), ..AccessConfig::default() };
    Server::start_with(Some(access)).await
}

fn admin(server: &Server) -> Conductor {
    server.conductor().with_token(ADMIN).unwrap()
}

/// Creates a key, and returns a client with it.
async fn with_key(server: &Server, role: &str, services: &[&str]) -> (Conductor, AccessKey) {
    let key = NewAccessKey {
        name: "test".to_owned(),
        roles: vec![role.to_owned()],
        services: services.iter().map(|service| (*service).to_owned()).collect(),
        ..NewAccessKey::default()
    };
    let created = admin(server).client().create_access_key(&key).await.unwrap().value;
    (server.conductor().with_token(&created.token).unwrap(), created.key)
}

fn payments() -> Service {
    Service::new("payments").action("charge", |_: Context, input: Value| async move { Ok(input) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller_without_a_key_is_not_allowed() {
    let server = server().await;
    let refused = server.conductor().apply("shop", "workflow: shop").await.unwrap_err();
    let Error::Call(refused) = refused else { panic!("{refused}") };
    assert_eq!(refused.problem().map(|problem| problem.code.as_str()), Some("GC2061"));
    let (viewer, _) = with_key(&server, "viewer", &[]).await;
    let Error::Call(refused) = viewer.apply("shop", "workflow: shop").await.unwrap_err() else { panic!() };
    assert_eq!(refused.problem().map(|problem| problem.code.as_str()), Some("GC2063"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_serves_the_services_of_its_key_until_it_is_revoked() {
    let server = server().await;
    let (conductor, key) = with_key(&server, "worker", &["payments"]).await;
    let worker = conductor.serve(payments()).await.unwrap();
    worker.connected().await.unwrap();
    let admin = admin(&server);
    let workers = async || {
        let services = admin.client().services().await.unwrap().value.services;
        services.iter().filter_map(|service| service.more["workers"].as_u64()).sum::<u64>()
    };
    let waited = async |wanted: u64| {
        let started = Instant::now();
        while workers().await != wanted {
            assert!(started.elapsed() < Duration::from_secs(10), "{wanted} workers");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        started.elapsed()
    };
    waited(1).await;
    admin.client().revoke_access_key(&key.id).await.unwrap();
    waited(0).await;
    worker.shutdown().await;
}

/// Opens the stream of a worker of `payments`, and returns the refusal.
async fn refusal(server: &Server, token: Option<&str>) -> Status {
    let channel = Endpoint::from_shared(server.url()).unwrap().connect().await.unwrap();
    let hello = wire::Hello {
        service: "payments".to_owned(),
        actions: vec!["charge".to_owned()],
        capacity: 1,
        ..wire::Hello::default()
    };
    let hello = wire::ConnectRequest { message: Some(wire::connect_request::Message::Hello(hello)) };
    let mut request = Request::new(tokio_stream::iter([hello]));
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    match WorkerServiceClient::new(channel).connect(request).await {
        Ok(_) => panic!("the worker is accepted"),
        Err(status) => status,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_without_the_right_is_refused() {
    let server = server().await;
    let token = async |role: &str, service: &str| {
        let (conductor, _) = with_key(&server, role, &[service]).await;
        let value = conductor.client().authorization().unwrap().to_str().unwrap().to_owned();
        value.trim_start_matches("Bearer ").to_owned()
    };
    assert_eq!(refusal(&server, None).await.code(), Code::Unauthenticated);
    assert_eq!(refusal(&server, Some("nonsense")).await.code(), Code::Unauthenticated);
    for (role, service) in [("worker", "inventory"), ("viewer", "payments"), ("operator", "payments")] {
        let refused = refusal(&server, Some(&token(role, service).await)).await;
        assert_eq!(refused.code(), Code::PermissionDenied, "{role} {service}: {refused}");
    }
}
