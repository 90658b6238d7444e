//! Data of an earlier release is opened, and every workflow in it ends correctly.

use goconductor_harness::stored::{ABSENT_SERVICE, CASES, FIXTURES, SERVICES, operate, start};
use goconductor_harness::{Dev, DevOptions, Participants};
use serde_json::{Value, json};
use sqlx::Connection;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The releases whose data is stored.
fn releases() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(FIXTURES).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(!folders.is_empty(), "no release has stored data");
    folders
}

#[tokio::test]
async fn sqlite_data_of_an_earlier_release_is_completed() {
    for release in releases() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir_all(&data).unwrap();
        for entry in std::fs::read_dir(release.join("sqlite")).unwrap() {
            let entry = entry.unwrap();
            // The repository ignores database files, so they are stored with another ending.
            let name = entry.file_name().into_string().unwrap();
            std::fs::copy(entry.path(), data.join(name.trim_end_matches(".stored"))).unwrap();
        }
        finish(folder.path(), Vec::new()).await;
    }
}

#[tokio::test]
async fn postgresql_data_of_an_earlier_release_is_completed() {
    let Ok(server) = std::env::var("GOCONDUCTOR_TEST_POSTGRES_URL") else {
        let required = std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
        assert!(!required, "GOCONDUCTOR_TEST_POSTGRES_URL is not set, and services are required");
        println!("skipped: GOCONDUCTOR_TEST_POSTGRES_URL is not set");
        return;
    };
    for (number, release) in releases().into_iter().enumerate() {
        let name = format!("goconductor_stored_{}_{number}", std::process::id());
        execute(&server, &format!("DROP DATABASE IF EXISTS {name}")).await;
        execute(&server, &format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")).await;
        let (start, query) = server.split_once('?').map_or((server.as_str(), None), |(a, b)| (a, Some(b)));
        let (host, _) = start.rsplit_once('/').expect("the URL names a database");
        let url = format!("{host}/{name}{}", query.map(|query| format!("?{query}")).unwrap_or_default());
        let dump = std::fs::read_to_string(release.join("postgres.sql")).unwrap();
        // psql's own commands begin with a backslash.
        let statements: Vec<&str> = dump.lines().filter(|line| !line.starts_with('\\')).collect();
        execute(&url, &statements.join("\n")).await;
        let folder = tempfile::tempdir().unwrap();
        let settings = ["state_store.backend=postgres".to_owned(), format!("state_store.url={url}")];
        let args = settings.into_iter().flat_map(|setting| ["--set".to_owned(), setting]).collect();
        finish(folder.path(), args).await;
        execute(&server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
    }
}

async fn execute(url: &str, sql: &str) {
    let mut connection = sqlx::PgConnection::connect(url).await.expect("the server answers");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .expect("the statements are executed");
}

/// Starts the present release over the data and checks the end of every workflow.
async fn finish(folder: &Path, mut args: Vec<String>) {
    // The data grows older with every day.
    args.extend(["--set".to_owned(), "state_store.retention=36500d".to_owned()]);
    let mut dev = Dev::start(folder, DevOptions { args }).await.unwrap();
    let participants = Participants::start_without_scripts().await.unwrap();
    for service in SERVICES.into_iter().chain([ABSENT_SERVICE]) {
        dev.api.serve(service, &participants.url(service)).await.unwrap();
    }
    let mut started = Vec::new();
    for case in CASES {
        // A lost key would start a second workflow with a new creation time.
        let id = start(&dev.api, case).await.unwrap();
        let created = dev.api.get(&format!("/workflows/{id}")).await.unwrap()["created_at"].clone();
        if let Some(call) = case.after {
            operate(&dev.api, &id, call).await.unwrap();
        }
        started.push((case, id, created));
    }
    let opened = started.iter().map(|(.., created)| created.as_str().unwrap()).max().unwrap().to_owned();
    for (case, id, created) in &started {
        let within = Duration::from_secs(90);
        let result = dev.api.ended(id, within).await.unwrap_or_else(|error| panic!("{}: {error}", case.key));
        let view = dev.api.get(&format!("/workflows/{id}")).await.unwrap();
        let (status, cause) = case.ended;
        assert_eq!(view["status"], status, "{}: {view:#}", case.key);
        assert_eq!(view["cause"].as_str(), cause, "{}: {view:#}", case.key);
        assert_eq!(&view["created_at"], created, "{}", case.key);
        let stored_as_ended = matches!(case.stopped.0, "COMPLETED" | "ROLLED_BACK");
        assert!(!stored_as_ended || view["ended_at"].as_str().unwrap() < opened.as_str(), "{}", case.key);
        if case.definition == "stored-order" && status == "COMPLETED" {
            assert_eq!(result["output"], json!({"shipped": "ship"}), "{}", case.key);
        }
        history(&dev, id, &view).await;
        effects(&participants, id, case.key, status);
    }
    assert_eq!(dev.terminate().await.unwrap().code(), Some(0));
}

/// The events are numbered from 1 without a gap, and the last number is the workflow's `seq`.
async fn history(dev: &Dev, id: &str, view: &Value) {
    let page = dev.api.get(&format!("/workflows/{id}/events?page_size=1000")).await.unwrap();
    let numbers: Vec<u64> =
        page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=view["seq"].as_u64().unwrap()).collect::<Vec<_>>(), "{page:#}");
}

/// A workflow that was rolled back calls compensations only, and one that completed calls none.
fn effects(participants: &Participants, id: &str, key: &str, status: &str) {
    let calls = participants.calls_of(id);
    let compensations = calls.iter().filter(|call| call.operation == "compensate").count();
    match status {
        "COMPLETED" => assert_eq!(compensations, 0, "{key}: {calls:#?}"),
        _ => assert_eq!(compensations, calls.len(), "{key}: {calls:#?}"),
    }
}
