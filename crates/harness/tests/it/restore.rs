//! A backup under load, and its restoration on an empty machine. Every workflow of the backup ends correctly, and the
//! participants see no second effect.

use goconductor_harness::check::{Clocks, Evidence, Finding, GUARANTEES, Run, Start, UtcTime, digest};
use goconductor_harness::{Api, Dev, DevOptions, Participants, collect, doctor, goconductor};
use serde_json::{Value, json};
use sqlx::Connection;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

const ORDER: &str = "
workflow: order
steps:
  - { name: reserve, run: stock/reserve, compensate: stock/release, timeout: 5s }
  - { name: charge, run: payments/charge, compensate: payments/refund, timeout: 5s }
  - { name: ship, run: shipping/ship, compensate: shipping/cancel, timeout: 5s }
";
const SERVICES: [&str; 3] = ["stock", "payments", "shipping"];
/// Concurrent callers.
const CALLERS: usize = 4;
/// Orders before the backup, and between it and the end of the server.
const ORDERS: usize = 40;
/// The guarantees that hold for a restored store. The others compare the times of effects with those of commands, and
/// effects from after the backup precede their commands.
const GUARANTEES_AFTER_RESTORE: [&str; 7] = ["T1", "T2", "T4", "T5", "T10", "T11", "T15"];

/// Half of the orders roll back. The outcome is the same if a step runs again.
fn script(number: usize) -> Value {
    match number % 4 {
        0 => json!({"ship": "refuse"}),
        1 => json!({"charge": "slow:150"}),
        2 => json!({"reserve": "slow:150", "ship": "refuse", "refund": "slow:150"}),
        _ => json!({"ship": "slow:100"}),
    }
}

/// Orders that are started until the server is gone.
struct Orders {
    callers: tokio::task::JoinSet<Vec<Start>>,
    acknowledged: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Orders {
    fn begin(api: &Api) -> Self {
        let (acknowledged, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut callers = tokio::task::JoinSet::new();
        for caller in 0..CALLERS {
            let (api, acknowledged, stop) = (api.clone(), Arc::clone(&acknowledged), Arc::clone(&stop));
            callers.spawn(async move { keep_starting(&api, caller, &acknowledged, &stop).await });
        }
        Self { callers, acknowledged, stop }
    }

    async fn reach(&self, count: usize) {
        while self.acknowledged.load(Ordering::Relaxed) < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(mut self) -> Vec<Start> {
        self.stop.store(true, Ordering::Relaxed);
        let mut starts = Vec::new();
        while let Some(caller) = self.callers.join_next().await {
            starts.extend(caller.unwrap());
        }
        starts
    }
}

async fn keep_starting(
    api: &Api,
    caller: usize,
    acknowledged: &AtomicUsize,
    stop: &AtomicBool,
) -> Vec<Start> {
    let mut starts = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let (key, input) = (format!("order-{caller}-{number}"), json!({"script": script(number)}));
        let at = UtcTime(i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap());
        // An order without a response is not acknowledged. The server has ended then.
        let Ok(id) = api.start("order", input.clone(), Some(&key)).await else { break };
        acknowledged.fetch_add(1, Ordering::Relaxed);
        let (definition, input) = ("order".to_owned(), digest(&input));
        starts.push(Start { key: Some(key), definition, input, acknowledged: Some(id), at });
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    starts
}

/// Runs a command and returns its exit code and its output.
async fn run(program: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = if program.as_os_str().is_empty() {
        goconductor().unwrap()
    } else {
        tokio::process::Command::new(program)
    };
    let output = command.args(arguments).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

pub(crate) async fn goconductor_db(arguments: &[&str]) -> (i32, String, String) {
    run(Path::new(""), &[&["db"], arguments].concat()).await
}

async fn world(folder: &Path, options: DevOptions) -> (Dev, Participants) {
    let dev = Dev::start(folder, options).await.unwrap();
    let participants = Participants::start().await.unwrap();
    for service in SERVICES {
        dev.api.serve(service, &participants.url(service)).await.unwrap();
    }
    dev.api.apply("order", ORDER).await.unwrap();
    (dev, participants)
}

/// Waits until all workflows of a restored store have ended, and checks the guarantees.
async fn all_end_right(dev: &Dev, participants: &Participants, starts: Vec<Start>, store: &[&str]) {
    let ids: Vec<String> = collect(&dev.api).await.unwrap().into_iter().map(|history| history.id).collect();
    for id in &ids {
        dev.api.ended(id, Duration::from_secs(60)).await.unwrap();
    }
    let workflows = collect(&dev.api).await.unwrap();
    let restored: BTreeSet<&str> = workflows.iter().map(|history| history.id.as_str()).collect();
    let is_restored = |id: &str| restored.contains(id);
    let (kept, lost): (Vec<Start>, Vec<Start>) =
        starts.into_iter().partition(|start| start.acknowledged.as_deref().is_some_and(is_restored));
    assert!(kept.len() >= ORDERS, "the backup contains {} orders", kept.len());
    assert!(!lost.is_empty(), "no order was started after the backup");
    let effects: Vec<_> =
        participants.effects().into_iter().filter(|effect| is_restored(&effect.workflow)).collect();
    // The effects of the other workflows are missing, and the lines are numbered.
    let effects = (1..).zip(effects).map(|(number, mut effect)| {
        effect.number = number;
        effect
    });
    let run = Run {
        starts: kept,
        effects: effects.collect(),
        doctor: Some(doctor(store).await.unwrap()),
        workflows,
        ..Run::default()
    };
    let evidence = Evidence::new(&run, Clocks::default());
    let guarantees = GUARANTEES.iter().filter(|each| GUARANTEES_AFTER_RESTORE.contains(&each.name));
    let findings: Vec<Finding> = guarantees.flat_map(|guarantee| (guarantee.check)(&evidence)).collect();
    assert!(findings.is_empty(), "{findings:#?}");
    for history in &run.workflows {
        let status = history.view.status.as_str();
        assert!(matches!(status, "COMPLETED" | "ROLLED_BACK"), "{}: {status}", history.id);
    }
    let repeated = participants.calls().iter().filter(|call| call.effect == "duplicate").count();
    assert!(repeated > 0, "no step of the backup ran again, so the run proves nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_of_a_sqlite_backup_under_load_end_right() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let backup = folder.path().join("backup.db");
    let (mut dev, participants) = world(&old, DevOptions::default()).await;
    let orders = Orders::begin(&dev.api);
    orders.reach(ORDERS).await;
    let (data, file) = (old.join("data").display().to_string(), backup.display().to_string());
    let (code, _, errors) = goconductor_db(&["backup", &file, "--data-dir", &data]).await;
    assert_eq!(code, 0, "{errors}");
    let (code, _, errors) = goconductor_db(&["backup", &file, "--data-dir", &data]).await;
    assert_eq!(code, 4, "a backup overwrites nothing: {errors}");
    orders.reach(orders.acknowledged.load(Ordering::Relaxed) + ORDERS).await;
    dev.kill().await.unwrap();
    let starts = orders.end().await;
    let data = new.join("data").display().to_string();
    let (code, _, errors) = goconductor_db(&["restore", &file, "--data-dir", &data]).await;
    assert_eq!(code, 0, "{errors}");
    let (code, found, errors) = goconductor_db(&["verify", "--data-dir", &data]).await;
    assert_eq!(code, 0, "{found}{errors}");
    let dev = Dev::start(&new, DevOptions::default()).await.unwrap();
    let (code, _, errors) = goconductor_db(&["restore", &file, "--data-dir", &data]).await;
    assert_eq!(code, 4, "a restoration overwrites nothing: {errors}");
    all_end_right(&dev, &participants, starts, &["--data-dir", &data]).await;
}

/// The newest `pg_dump` or `pg_restore` of this machine.
fn postgres_tool(name: &str) -> PathBuf {
    let mut folders: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.filter_map(|version| Some(version.ok()?.path().join("bin"))).collect())
        .unwrap_or_default();
    folders.sort();
    let path = folders.into_iter().rev().map(|folder| folder.join(name)).find(|path| path.is_file());
    path.unwrap_or_else(|| PathBuf::from(name))
}

/// The server for databases of tests. Without one, prints that the test is skipped, or fails if services are required.
pub(crate) fn postgres_server() -> Option<String> {
    let server = std::env::var("GOCONDUCTOR_TEST_POSTGRES_URL").ok();
    if server.is_none() {
        let required = std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
        assert!(!required, "GOCONDUCTOR_TEST_POSTGRES_URL is not set, and services are required");
        eprintln!("skipped: GOCONDUCTOR_TEST_POSTGRES_URL is not set");
    }
    server
}

pub(crate) async fn execute(url: &str, sql: &str) {
    let mut connection = sqlx::PgConnection::connect(url).await.expect("the server answers");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .expect("the SQL succeeds");
}

pub(crate) fn with_database(server: &str, name: &str) -> String {
    let (start, query) = server.split_once('?').map_or((server, None), |(start, query)| (start, Some(query)));
    let (host, _) = start.rsplit_once('/').expect("the URL names a database");
    format!("{host}/{name}{}", query.map(|query| format!("?{query}")).unwrap_or_default())
}

fn on_postgres(url: &str) -> DevOptions {
    DevOptions { args: vec!["--set".to_owned(), format!("state_store.url={url}")] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_of_a_postgresql_dump_under_load_end_right() {
    let Some(server) = postgres_server() else { return };
    let names = ["old", "new"].map(|name| format!("goconductor_restore_{}_{name}", std::process::id()));
    for name in &names {
        execute(&server, &format!("DROP DATABASE IF EXISTS {name}")).await;
        execute(&server, &format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")).await;
    }
    let [old, new] = names.each_ref().map(|name| with_database(&server, name));
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("backup.dump").display().to_string();
    let (mut dev, participants) = world(&folder.path().join("old"), on_postgres(&old)).await;
    let orders = Orders::begin(&dev.api);
    orders.reach(ORDERS).await;
    let file = format!("--file={dump}");
    let (code, _, errors) = run(&postgres_tool("pg_dump"), &["--format=custom", &file, &old]).await;
    assert_eq!(code, 0, "{errors}");
    orders.reach(orders.acknowledged.load(Ordering::Relaxed) + ORDERS).await;
    dev.kill().await.unwrap();
    let starts = orders.end().await;
    let into = format!("--dbname={new}");
    let restore = ["--no-owner", "--no-privileges", "--exit-on-error", &into, &dump];
    let (code, _, errors) = run(&postgres_tool("pg_restore"), &restore).await;
    assert_eq!(code, 0, "{errors}");
    let (code, found, errors) = goconductor_db(&["verify", "--state-store-url", &new]).await;
    assert_eq!(code, 0, "{found}{errors}");
    let mut dev = Dev::start(&folder.path().join("new"), on_postgres(&new)).await.unwrap();
    all_end_right(&dev, &participants, starts, &["--state-store-url", &new]).await;
    dev.kill().await.unwrap();
    for name in &names {
        execute(&server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }
}
