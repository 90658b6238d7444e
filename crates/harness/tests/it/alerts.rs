//! Each alert of `deploy/monitoring/rules.yaml` fires once, because of a real fault of real processes that a real
//! Prometheus scrapes.
//!
//! The rules are the deployed ones with shorter times; see [`shortened`].

mod prometheus;

use crate::cluster::{ONE, possible};
use futures::StreamExt;
use goconductor_harness::{
    Api, Broker, Certificates, Cluster, ClusterOptions, Participants, free_port, goconductor,
};
use goconductor_queue::nats::{NatsQueue, Settings};
use goconductor_queue::{Message, Queue, Topic};
use prometheus::{Prometheus, rules_with, shortened};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// A step whose compensation has one attempt.
const FRAGILE: &str = "
workflow: fragile
steps:
  - { name: reserve, run: stock/reserve, compensate: { run: stock/release, retry: { max_attempts: 1 } } }
  - { name: charge, run: stock/charge, compensate: stock/refund }
";
/// A step after the pivot that has one attempt.
const FINAL: &str = "
workflow: final
steps:
  - { name: charge, run: stock/charge, kind: pivot }
  - { name: ship, run: stock/ship, kind: retriable, retry: { max_attempts: 1 } }
";
/// A step of a service that no worker serves, and that has no address.
const ORPHAN: &str = "
workflow: orphan
steps:
  - { name: wrap, run: gifts/wrap, compensate: none }
";
/// A step of a service whose address refuses connections.
const DOWN: &str = "
workflow: down
steps:
  - { name: send, run: mail/send, compensate: none, retry: { initial: 100ms, max: 500ms, max_attempts: 100 } }
";
/// A step of a service that executes two commands at a time.
const SLOW: &str = "
workflow: slow
steps:
  - { name: pick, run: shelf/pick, compensate: none }
";

/// The number of workflows that write while the database is slow, and of their steps. A step follows another one without
/// a read from the database, whose connections for reads are all in use then.
const LONG_WORKFLOWS: usize = 6;
const LONG_STEPS: usize = 100;

/// The number of orders that wait for the slow service: more than the threshold of the alert, fewer than the gateway
/// accepts.
const BACKLOG: usize = 650;
/// Delay of each response of the database: above the threshold of the alert on slow writes. A new connection takes
/// several round trips, and must still be open within the five seconds that a request waits for one.
const SLOW_DATABASE: Duration = Duration::from_millis(600);
/// Time for an alert to fire, on a slow machine.
const ALERT_TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_alert_fires_because_of_a_fault() {
    if !possible() {
        return;
    }
    let _one = ONE.lock().await;
    let mut world = World::start().await;
    let rules = rules_with("alert");
    world.until_quiet().await;

    world.break_sagas().await;
    world.publish_garbage().await;
    let _odd = world.start_odd_executor();
    let _expiring = world.start_expiring_process().await;
    world
        .until_firing(&[
            "GoConductorAttemptErrorBudgetBurn",
            "GoConductorCertificateExpiry",
            "GoConductorClockDrift",
            "GoConductorCompensationFailed",
            "GoConductorDeadLetters",
            "GoConductorLedgerOverdue",
            "GoConductorLogLinesLost",
            "GoConductorServiceWithoutWorkers",
            "GoConductorTelemetryLost",
            "GoConductorWorkflowInError",
            "GoConductorWorkflowTooOld",
        ])
        .await;

    let load = world.grow_backlog().await;
    world.until_firing(&["GoConductorBacklogGrowing"]).await;
    load.abort();
    // The broker loses the messages. The ledger publishes their commands again.
    world.cluster.services().call("nats.sh", &["lose"]).await.unwrap();
    world.until_firing(&["GoConductorRedeliveriesHigh"]).await;

    // Each of their steps is a write. Without writes there is no latency to report.
    for _ in 0..LONG_WORKFLOWS {
        world.api().start("long", json!({}), None).await.unwrap();
    }
    world.cluster.delay_database(SLOW_DATABASE).await.unwrap();
    world.until_firing(&["GoConductorStoreSlow"]).await;
    world.cluster.delay_database(Duration::ZERO).await.unwrap();

    world.cluster.kill("elector-1").await.unwrap();
    world.until_firing(&["GoConductorTargetDown"]).await;

    world.cluster.services().call("postgres.sh", &["kill"]).await.unwrap();
    let mut requests = world.request_without_end();
    world
        .until_firing(&[
            "GoConductorApiErrorBudgetBurn",
            "GoConductorAuditNotWritable",
            "GoConductorNoLeader",
            "GoConductorProcessNotReady",
            "GoConductorStoreNotWritable",
            "GoConductorStoreWriteErrors",
        ])
        .await;
    requests.abort_all();
    let missing: Vec<&String> = rules.difference(&world.fired).collect();
    assert!(missing.is_empty(), "{missing:?} did not fire");
    world.prometheus.down().await;
    world.cluster.down().await.unwrap();
}

/// A cluster, its participants, and the Prometheus that scrapes its processes.
struct World {
    cluster: Cluster,
    prometheus: Prometheus,
    /// The alerts that have fired so far.
    fired: BTreeSet<String>,
}

impl World {
    async fn start() -> Self {
        monitoring(&["tools"]).await;
        let options = ClusterOptions {
            proxied: true,
            settings: "executor: { redelivery: 1s }\n".to_owned(),
            ..ClusterOptions::new(Broker::Nats(1), 1)
        };
        let cluster = Cluster::start(options).await.unwrap();
        let participants = Participants::start().await.unwrap();
        let api = &cluster.gateways[0];
        api.serve("stock", &participants.url("stock")).await.unwrap();
        api.serve("mail", &format!("http://127.0.0.1:{}", free_port().unwrap())).await.unwrap();
        let shelf = json!({"http": {"url": participants.url("shelf")}, "max_in_flight": 2});
        let (status, body) = api.send("PUT", "/services/shelf", Some(shelf)).await.unwrap();
        assert_eq!(status, 200, "{body}");
        for (name, definition) in
            [("fragile", FRAGILE), ("final", FINAL), ("orphan", ORPHAN), ("down", DOWN), ("slow", SLOW)]
        {
            api.apply(name, definition).await.unwrap();
        }
        let step = |step| format!("  - {{ name: s{step}, run: stock/count, compensate: none }}\n");
        let steps: Vec<String> = (0..LONG_STEPS).map(step).collect();
        api.apply("long", &format!("workflow: long\nsteps:\n{}", steps.concat())).await.unwrap();
        let targets = cluster.names().iter().filter_map(|name| cluster.address(name)).collect();
        let prometheus = Prometheus::start(cluster.services(), targets).await;
        for name in cluster.names() {
            monitoring(&["metrics", &format!("{}/metrics", cluster.address(&name).unwrap())]).await;
        }
        prometheus.until_scraped(cluster.names().len()).await;
        Self { cluster, prometheus, fired: BTreeSet::new() }
    }

    fn api(&self) -> &Api {
        &self.cluster.gateways[0]
    }

    /// Waits until no alert fires, which is so without a fault. Leaders are elected shortly after the start.
    async fn until_quiet(&self) {
        let quiet = async {
            while !self.prometheus.firing().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let is_quiet = tokio::time::timeout(ALERT_TIMEOUT, quiet).await.is_ok();
        assert!(is_quiet, "{:?} fire without a fault", self.prometheus.firing().await);
    }

    /// Waits until all of these alerts have fired.
    async fn until_firing(&mut self, alerts: &[&str]) {
        let waiting = async {
            loop {
                self.fired.extend(self.prometheus.firing().await);
                if alerts.iter().all(|alert| self.fired.contains(*alert)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        if tokio::time::timeout(ALERT_TIMEOUT, waiting).await.is_err() {
            let missing: Vec<_> = alerts.iter().filter(|alert| !self.fired.contains(**alert)).collect();
            panic!("{missing:?} did not fire\n{}", self.cluster.diagnosis().await);
        }
    }

    /// Starts workflows that fail in each way that an operator must know about.
    async fn break_sagas(&self) {
        let start = async |definition: &str, script: serde_json::Value| {
            self.api().start(definition, json!({"script": script}), None).await.unwrap()
        };
        start("fragile", json!({"charge": "refuse", "release": "refuse"})).await;
        start("final", json!({"ship": "refuse"})).await;
        start("orphan", json!({})).await;
        for _ in 0..10 {
            start("down", json!({})).await;
        }
    }

    /// Publishes messages that are not commands.
    async fn publish_garbage(&self) {
        let queue = NatsQueue::new(Settings::new(vec![self.cluster.brokers.clone()])).unwrap();
        let message = |number: u8| Message {
            key: format!("garbage-{number}"),
            payload: vec![number; 10].into(),
            published_at_ms: 1_700_000_000_000,
        };
        queue.publish(&Topic::execute("stock"), (0..3).map(message).collect()).await.unwrap();
    }

    /// Starts an executor whose clock is slow, whose standard error is full, and whose receiver of telemetry does not
    /// respond.
    fn start_odd_executor(&self) -> Child {
        let port = free_port().unwrap();
        let mut command = self.cluster.command("saga-executor", port).unwrap();
        let nowhere = format!("telemetry.otlp.endpoint=http://127.0.0.1:{}", free_port().unwrap());
        command.args(["--set", "telemetry.log_level=trace", "--set", "executor.services=none"]);
        command.args(["--set", &nowhere, "--set", "telemetry.otlp.timeout=500ms"]);
        command.args(["--set", "telemetry.metrics.otlp=true", "--set", "telemetry.metrics.interval=1s"]);
        command.args(["--set", "telemetry.logs.otlp=true"]);
        command.env("LD_PRELOAD", faketime()).env("FAKETIME", "-5s").env("DONT_FAKE_MONOTONIC", "1");
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let child = command.stdout(Stdio::null()).stderr(full).spawn().unwrap();
        self.prometheus.add_target(&format!("127.0.0.1:{port}"));
        child
    }

    /// Starts a process whose certificate expires in three days. Its metrics are read over TLS, and passed on without.
    async fn start_expiring_process(&self) -> (Child, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let certificates =
            Certificates::create_for_days(folder.path().join("certificates"), 3).await.unwrap();
        let port = free_port().unwrap();
        let mut command = goconductor().unwrap();
        command.args(["dev", "--ephemeral", "--listen", &format!("127.0.0.1:{port}")]);
        let child = command.args(certificates.arguments("dev")).stdin(Stdio::null()).kill_on_drop(true);
        let child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let client = certificates.http_client("operator").unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.prometheus.add_target(&listener.local_addr().unwrap().to_string());
        let metrics = move || {
            let request = client.get(format!("https://127.0.0.1:{port}/metrics"));
            async move {
                match request.send().await {
                    Ok(response) => (axum::http::StatusCode::OK, response.text().await.unwrap()),
                    Err(error) => (axum::http::StatusCode::BAD_GATEWAY, error.to_string()),
                }
            }
        };
        let router = axum::Router::new().route("/metrics", axum::routing::get(metrics));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (child, folder)
    }

    /// Starts more orders than the slow service executes, and then a few per second.
    async fn grow_backlog(&self) -> tokio::task::JoinHandle<()> {
        let order = async |api: &Api| {
            let input = json!({"script": {"pick": "slow:300"}});
            // At the limit of the backlog, the gateway refuses further orders.
            drop(api.start("slow", input, None).await);
        };
        let orders = futures::stream::iter((0..BACKLOG).map(|_| order(self.api())));
        orders.buffer_unordered(32).collect::<Vec<()>>().await;
        let api = self.api().clone();
        tokio::spawn(async move {
            loop {
                order(&api).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    }

    /// Sends requests that need the database. Each waits until the gateway gives up.
    fn request_without_end(&self) -> tokio::task::JoinSet<()> {
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let api = self.api().clone();
            callers.spawn(async move {
                loop {
                    drop(api.send("GET", "/workflows?page_size=1", None).await);
                    drop(api.start("slow", json!({}), None).await);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
        }
        // A change is recorded with its outcome, also if it fails.
        let api = self.api().clone();
        callers.spawn(async move {
            loop {
                let service = json!({"http": {"url": "http://127.0.0.1:9"}});
                drop(api.send("PUT", "/services/audited", Some(service)).await);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
        callers
    }
}

/// Runs `scripts/monitoring`.
async fn monitoring(arguments: &[&str]) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/monitoring");
    let output = Command::new(script).args(arguments).stdin(Stdio::null()).output().await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The library that changes the clock of a process. The folder depends on the architecture.
fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let mut libraries = folders.map(|folder| folder.unwrap().path().join("faketime/libfaketime.so.1"));
    libraries.find(|library| library.exists()).expect("scripts/monitoring tools installs faketime")
}

#[test]
fn shortened_rules_keep_their_names_and_conditions() {
    let rule = "  - alert: A\n    expr: increase(a_total{b=\"5m\"}[10m]) > 86400\n    for: 15m\n";
    let expected = "  - alert: A\n    expr: increase(a_total{b=\"5m\"}[10s]) > 10\n    for: 7s\n";
    assert_eq!(shortened(rule), expected);
}
