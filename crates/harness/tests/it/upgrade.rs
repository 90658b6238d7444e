//! Two releases side by side: each process of a cluster is replaced by one of this release and then by one of the former
//! release again, while orders run. `scripts/upgrade-test` builds the former release and runs this test. Also tests of
//! processes that meet another schema or another protocol.

use crate::cluster::{Load, ONE, all_end_right, dead_letters};
use crate::restore::{execute, goconductor_db, postgres_server, with_database};
use goconductor_harness::{Api, Broker, Cluster, ClusterOptions, Participants, free_port, goconductor};
use goconductor_wire::internal::CheckRequest;
use goconductor_wire::internal::state_store_service_client::StateStoreServiceClient;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Three steps of two services.
const ORDER: &str = "
workflow: order
steps:
  - { name: reserve, run: stock/reserve, compensate: stock/release, timeout: 10s }
  - { name: charge, run: payments/charge, compensate: payments/refund, timeout: 10s }
  - { name: ship, run: stock/ship, compensate: stock/unship, timeout: 10s }
";
/// Orders that are acknowledged between two replacements.
const ORDERS: usize = 12;

/// The folder of the former release's binaries.
fn former_release() -> Option<PathBuf> {
    let folder = std::env::var_os("GOCONDUCTOR_TEST_FORMER_RELEASE");
    if folder.is_none() {
        eprintln!("skipped: GOCONDUCTOR_TEST_FORMER_RELEASE is not set; run scripts/upgrade-test");
    }
    folder.map(PathBuf::from)
}

/// Half of the orders roll back.
fn script(number: usize) -> Value {
    match number % 6 {
        0 => json!({"ship": "refuse"}),
        1 => json!({"charge": "slow:700"}),
        2 => json!({"reserve": ["busy", "ok"], "ship": "refuse", "refund": "slow:300"}),
        3 => json!({"charge": ["busy", "ok"]}),
        4 => json!({"charge": "slow:400", "ship": "refuse", "refund": ["busy", "ok"]}),
        _ => json!({}),
    }
}

/// State stores first and gateways last, as the documentation says.
fn in_order(names: Vec<String>) -> Vec<String> {
    const KINDS: [&str; 4] = ["store", "elector", "executor", "gateway"];
    let of_kind = |kind: &'static str| names.iter().filter(move |name| name.starts_with(kind)).cloned();
    KINDS.into_iter().flat_map(of_kind).collect()
}

async fn replace(cluster: &mut Cluster, load: &Load, name: &str, binaries: Option<&Path>) {
    cluster.use_binaries(name, binaries).unwrap();
    cluster.terminate(name).await.unwrap();
    cluster.restart(name).await.unwrap();
    load.continues(ORDERS).await;
}

/// Waits until the API shows a release for each process. A process of an earlier release shows none, and is listed until
/// its membership has expired.
async fn all_state_their_release(cluster: &Cluster, processes: usize) {
    let mut known = Value::Null;
    for _ in 0..300 {
        known = cluster.gateways[0].get("/processes").await.unwrap();
        let listed = known["processes"].as_array().unwrap();
        if listed.len() >= processes && listed.iter().all(|each| each["about"]["release"].is_string()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a process does not state its release: {known:#}")
}

/// `goconductor db status` of the cluster's database.
async fn status(cluster: &Cluster) -> Value {
    let output = goconductor()
        .unwrap()
        .args(["db", "status", "-o", "json", "--state-store-url", &cluster.database])
        .output()
        .await
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_end_right_while_each_process_is_replaced_by_another_release_and_back() {
    let Some(former) = former_release() else { return };
    let _one = ONE.lock().await;
    let options = ClusterOptions {
        services: ["stock", "payments"].map(str::to_owned).to_vec(),
        binaries: Some(former.clone()),
        ..ClusterOptions::new(Broker::Kafka(1), 2)
    };
    let mut cluster = Cluster::start(options).await.unwrap();
    let participants = Participants::start().await.unwrap();
    for service in ["stock", "payments"] {
        cluster.gateways[0].serve(service, &participants.url(service)).await.unwrap();
    }
    cluster.gateways[0].apply("order", ORDER).await.unwrap();
    let load = Load::begin_with(&cluster, script);
    load.continues(ORDERS).await;
    let names = in_order(cluster.names());
    for name in &names {
        replace(&mut cluster, &load, name, None).await;
    }
    all_state_their_release(&cluster, names.len()).await;
    let between = status(&cluster).await;
    assert_eq!(between["usable"], true, "{between:#}");
    assert_eq!(between["pending"], json!([]), "{between:#}");
    // The same order on the way back, so that gateways and executors of this release use state stores of the former one.
    for name in &names {
        replace(&mut cluster, &load, name, Some(&former)).await;
    }
    let starts = load.end(0).await;
    let count = starts.len();
    let coverage = all_end_right(&cluster, &participants, starts, Duration::from_secs(120)).await;
    assert_eq!(coverage.completed + coverage.rollbacks, coverage.workflows, "{coverage:#?}");
    assert!(coverage.rollbacks * 3 > coverage.workflows, "{coverage:#?}");
    assert_eq!(dead_letters(&cluster.gateways[0]).await, 0);
    println!("{count} orders while {} processes were replaced twice: {coverage:#?}", names.len());
    cluster.down().await.unwrap();
}

/// A state store over a database, with further arguments.
fn state_store(folder: &Path, url: &str, arguments: &[&str]) -> (Child, Api, String) {
    let port = free_port().unwrap();
    let program = goconductor().unwrap();
    let program = Path::new(program.as_std().get_program()).with_file_name("state-store");
    let log = std::fs::File::create(folder.join(format!("{port}.log"))).unwrap();
    let mut command = Command::new(program);
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("GOCONDUCTOR_"))
    {
        command.env_remove(name);
    }
    let child = command
        .args(["--listen", &format!("127.0.0.1:{port}"), "--set", &format!("state_store.url={url}")])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let base = format!("http://127.0.0.1:{port}");
    (child, Api::new(base.clone()), base)
}

/// Polls `/readyz` until its text meets a condition.
async fn readiness(base: &str, what: &str, holds: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for _ in 0..600 {
        if let Ok(response) = reqwest::get(format!("{base}/readyz")).await {
            text = response.text().await.unwrap();
            if holds(&text) {
                return text;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: {text}")
}

#[tokio::test]
async fn state_store_that_only_verifies_waits_for_the_migration_and_refuses_incompatible_peers() {
    let Some(server) = postgres_server() else { return };
    let name = format!("goconductor_verify_{}", std::process::id());
    execute(&server, &format!("DROP DATABASE IF EXISTS {name}")).await;
    execute(&server, &format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")).await;
    let (folder, url) = (tempfile::tempdir().unwrap(), with_database(&server, &name));
    let (mut child, api, base) = state_store(folder.path(), &url, &["--set", "state_store.migrate=verify"]);
    let waiting = |text: &str| text.contains("run `goconductor db migrate` of this release");
    readiness(&base, "the state store states what it waits for", waiting).await;
    assert!(child.try_wait().unwrap().is_none(), "it waits");
    let mut ended = goconductor_db(&["migrate", "--state-store-url", &url]).await;
    for _ in 0..5 {
        // 6: a busy server may not accept a connection in time.
        if ended.0 != 6 {
            break;
        }
        ended = goconductor_db(&["migrate", "--state-store-url", &url]).await;
    }
    assert_eq!(ended.0, 0, "{}{}", ended.1, ended.2);
    readiness(&base, "the state store is ready", |text| text.contains("\"ready\":true")).await;
    assert!(api.is_ready().await);

    let channel = tonic::transport::Channel::from_shared(base).unwrap().connect_lazy();
    let mut request = tonic::Request::new(CheckRequest {});
    StateStoreServiceClient::new(channel.clone())
        .check(CheckRequest {})
        .await
        .expect("an earlier release is served");
    request.metadata_mut().insert("goconductor-release", "9.9.9".parse().unwrap());
    request.metadata_mut().insert("goconductor-protocol", "99".parse().unwrap());
    request.metadata_mut().insert("goconductor-protocol-oldest", "98".parse().unwrap());
    let refused = StateStoreServiceClient::new(channel).check(request).await.expect_err("it is too new");
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused}");
    let expected = "the caller is of release 9.9.9 (protocols 98 to 99), but this state store is of release";
    assert!(refused.message().starts_with(expected), "{refused}");
    child.kill().await.unwrap();
    execute(&server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
}
