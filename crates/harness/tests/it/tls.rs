//! TLS between all processes: rotation under load, refused peers, and what each listener accepts.

mod backends;
mod dev;
mod listeners;

use crate::cluster::{ONE, possible};
use futures::StreamExt;
use goconductor::{Conductor, Context, Service, Start, Status, TlsFiles};
use goconductor_harness::{Broker, Certificates, Cluster, ClusterOptions};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

/// A step of a service that a worker of the SDK serves.
const GIFT: &str = "
workflow: gift
steps:
  - { name: wrap, run: gifts/wrap, compensate: none }
";
/// The interval of requests: 200 in a second.
const INTERVAL: Duration = Duration::from_millis(5);
/// Each nth request starts a workflow.
const STARTS: usize = 40;
/// Time in which all processes have loaded changed files.
const LOADED: Duration = Duration::from_secs(4);
/// Time after which no connection with older files is open: a check every five seconds, and ten seconds of grace.
const CLOSED: Duration = Duration::from_secs(20);

pub(crate) fn options(each: u32) -> ClusterOptions {
    ClusterOptions::new(Broker::Nats(1), each)
}

fn files(certificates: &Certificates, role: &str) -> TlsFiles {
    TlsFiles {
        ca_file: Some(certificates.file("ca.crt")),
        certificate_file: Some(certificates.file(&format!("{role}.crt"))),
        key_file: Some(certificates.file(&format!("{role}.key"))),
    }
}

/// Requests at a constant rate, of which each must succeed.
struct Load {
    is_stopped: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Load {
    fn begin(conductors: Vec<Conductor>, id: String) -> Self {
        let (is_stopped, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let task = tokio::spawn(send_all(conductors, id, Arc::clone(&is_stopped), Arc::clone(&sent)));
        Self { is_stopped, sent, task }
    }

    /// Returns the number of requests, and the errors of those that failed.
    async fn end(self) -> (usize, Vec<String>) {
        self.is_stopped.store(true, Ordering::Relaxed);
        let failures = self.task.await.unwrap();
        (self.sent.load(Ordering::Relaxed), failures)
    }
}

async fn send_all(
    conductors: Vec<Conductor>,
    id: String,
    is_stopped: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut requests: JoinSet<Result<(), String>> = JoinSet::new();
    let mut failures = Vec::new();
    let mut ticks = tokio::time::interval(INTERVAL);
    while !is_stopped.load(Ordering::Relaxed) {
        ticks.tick().await;
        let number = sent.fetch_add(1, Ordering::Relaxed);
        let conductor = conductors[number % conductors.len()].clone();
        let id = id.clone();
        requests.spawn(async move {
            if number.is_multiple_of(STARTS) {
                let handle =
                    conductor.start(Start::of("gift").input(json!({"number": number})).unwrap()).await;
                let handle = handle.map_err(|error| format!("start: {error}"))?;
                let result = handle.result().await.map_err(|error| format!("result: {error}"))?;
                return match result.status {
                    Status::Completed => Ok(()),
                    other => Err(format!("{}: {other}", handle.id())),
                };
            }
            let read = conductor.client().workflow(&id).await;
            read.map(drop).map_err(|error| format!("read: {error}"))
        });
        while let Some(done) = requests.try_join_next() {
            failures.extend(done.unwrap().err());
        }
    }
    while let Some(done) = requests.join_next().await {
        failures.extend(done.unwrap().err());
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_of_certificates_and_authority_fails_no_request() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let cluster = Cluster::start_with_tls(options(2)).await.unwrap();
    let certificates = cluster.certificates().unwrap().clone();
    cluster.gateways[0].apply("gift", GIFT).await.unwrap();
    let connect = |base: &str, role: &str| {
        Conductor::connect_with_tls(base, "default", files(&certificates, role)).unwrap()
    };
    let worker = connect(cluster.gateways[0].base(), "worker");
    let service = Service::new("gifts")
        .action("wrap", |_: Context, gift: Value| async move { Ok(json!({"wrapped": gift})) });
    let serving = worker.serve(service).await.unwrap();
    serving.connected().await.unwrap();
    let conductors: Vec<Conductor> =
        cluster.gateways.iter().map(|gateway| connect(gateway.base(), "operator")).collect();
    let first = conductors[0].start(Start::of("gift").input(json!({})).unwrap()).await.unwrap();
    first.result().await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let old = certificates.copy_to(folder.path().join("old")).unwrap();
    // A stream of a client whose files never change.
    let stale = old.http_client("operator").unwrap();
    let watch = format!("{}/api/v1/watch", cluster.gateways[0].base());
    let mut stream = stale.get(&watch).send().await.unwrap().bytes_stream();

    let load = Load::begin(conductors, first.id().to_owned());
    tokio::time::sleep(Duration::from_secs(2)).await;
    certificates.renew(Some("add")).await.unwrap();
    tokio::time::sleep(LOADED).await;
    certificates.renew(None).await.unwrap();
    tokio::time::sleep(LOADED * 2).await;
    certificates.renew(Some("drop")).await.unwrap();
    let ended = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::time::timeout(CLOSED, ended).await.expect("the stream with the old certificate has ended");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (sent, failures) = load.end().await;
    println!("{sent} requests during the rotation, {} failed", failures.len());
    assert!(failures.is_empty(), "{failures:#?}\n{}", cluster.diagnosis().await);
    assert!(sent > 2_000, "{sent} requests");

    // The old certificates, with the new authority as the one to trust.
    std::fs::copy(certificates.file("ca.crt"), old.file("ca.crt")).unwrap();
    for (name, role) in [
        ("gateway-1", "operator"),
        ("store-1", "api-gateway"),
        ("elector-1", "saga-executor"),
        ("executor-1", "worker"),
    ] {
        let address = format!("{}/healthz", cluster.address(name).unwrap());
        let refused = old.http_client(role).unwrap().get(&address).send().await;
        assert!(refused.is_err(), "{name} accepts an old certificate");
        let accepted = certificates.http_client(role).unwrap().get(&address).send().await.unwrap();
        assert_eq!(accepted.status(), 200, "{name}");
    }
    serving.shutdown().await;
    cluster.down().await.unwrap();
}
