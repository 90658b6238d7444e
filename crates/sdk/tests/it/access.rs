//! Callers and workers with access control.

use crate::server::Server;
use goconductor::{Conductor, Context, Error, Service};
use goconductor_client::{AccessKey, NewAccessKey};
use goconductor_service_kit::config::AccessConfig;
use serde_json::Value;
use std::time::{Duration, Instant};

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
        services.iter().map(|service| service.workers.unwrap_or_default()).sum::<u64>()
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_without_the_right_is_refused() {
    let server = server().await;
    let executor = server.url();
    let (other_service, _) = with_key(&server, "worker", &["inventory"]).await;
    let (viewer, _) = with_key(&server, "viewer", &[]).await;
    for (conductor, code) in [(server.conductor(), "GC2061"), (other_service, "GC2063"), (viewer, "GC2063")] {
        let worker = conductor.with_executors([executor.clone()]).serve(payments()).await.unwrap();
        let refused = tokio::time::timeout(Duration::from_secs(40), worker.connected()).await.unwrap();
        let Err(Error::NoExecutor { reason, .. }) = refused else { panic!("{refused:?}") };
        let expected = if code == "GC2061" { "no credential" } else { "permission" };
        assert!(reason.contains(code) || reason.contains(expected), "{reason}");
    }
}
