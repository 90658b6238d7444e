//! The election on PostgreSQL keeps every promise, over lost sessions too, and refuses a pooler.

use async_trait::async_trait;
use goconductor_election::conformance::{CASES, Factory};
use goconductor_election::postgres::Settings;
use goconductor_election::{Election, Error, PostgresElection};
use sqlx::{Connection, PgConnection};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The server's address; none: say so, unless that is a failure.
fn server(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok();
    if url.is_none() {
        let required = std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
        assert!(!required, "{variable} is not set");
        eprintln!("not run: {variable} is not set");
    }
    url
}

/// A schema of its own at the server.
async fn schema(url: &str) -> String {
    let name = format!("election_{}", uuid::Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(url).await.expect("a server");
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE SCHEMA {name}"))).execute(&mut connection).await.unwrap();
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}options=-c%20search_path%3D{name}")
}

fn settings() -> Settings {
    Settings { lease: Duration::from_secs(2) }
}

async fn election(url: &str) -> PostgresElection {
    PostgresElection::connect(url, settings()).await.unwrap()
}

#[derive(Debug)]
struct Server(String);

#[async_trait]
impl Factory for Server {
    async fn open(&self) -> Result<Arc<dyn Election>, String> {
        Ok(Arc::new(election(&schema(&self.0).await).await))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conformance() {
    let Some(url) = server("GOCONDUCTOR_TEST_POSTGRES_URL") else { return };
    for case in CASES {
        assert_eq!(case.check(Arc::new(Server(url.clone()))).await, Ok(()), "{}", case.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_do_not_lead_together() {
    let Some(url) = server("GOCONDUCTOR_TEST_POSTGRES_URL") else { return };
    let url = schema(&url).await;
    // At once: the table is made by one of them.
    let (one, two) = tokio::join!(election(&url), election(&url));
    let first = one.campaign("relay", "a").await.unwrap();
    assert_eq!(two.observe("relay").await.unwrap().as_ref(), Some(first.leader()));
    let waits = tokio::time::timeout(Duration::from_millis(800), two.campaign("relay", "b")).await;
    assert!(waits.is_err(), "two lead");
    assert!(two.step_down("relay").await.unwrap(), "a stranger's term can be ended");
    first.lost().await;
    let second = two.campaign("relay", "b").await.unwrap();
    assert!(second.token() > first.token());
    assert!(!first.is_valid() && second.is_valid());
    drop(second);
    let third = one.campaign("relay", "a").await.unwrap();
    assert_eq!(one.list().await.unwrap(), [third.leader().clone()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lost_session_ends_every_term() {
    let Some(url) = server("GOCONDUCTOR_TEST_POSTGRES_URL") else { return };
    let url = schema(&url).await;
    let election = election(&url).await;
    let (relay, timers) =
        (election.campaign("relay", "a").await.unwrap(), election.campaign("timers", "a").await.unwrap());
    let mut killer = PgConnection::connect(&url).await.unwrap();
    let killed: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_locks
         JOIN goconductor_elections AS known
             ON ((classid::bigint << 32) | objid::bigint) = known.key WHERE locktype = 'advisory') AS killed",
    )
    .fetch_one(&mut killer)
    .await
    .unwrap();
    assert_eq!(killed, 2, "both locks are of one session");
    tokio::time::timeout(Duration::from_secs(5), async {
        relay.lost().await;
        timers.lost().await;
    })
    .await
    .expect("told");
    let again = election.campaign("relay", "a").await.unwrap();
    assert!(again.token() > relay.token());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_who_is_silent_for_its_lease_is_replaced() {
    let Some(url) = server("GOCONDUCTOR_TEST_POSTGRES_URL") else { return };
    let url = schema(&url).await;
    let leader_url = url.clone();
    // A runtime that stands still, as a process that is paused does: its session is never heard of again.
    let (tell, told) = std::sync::mpsc::channel();
    let paused = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (election, term) = runtime.block_on(async {
            let election = election(&leader_url).await;
            let term = election.campaign("relay", "paused").await.unwrap();
            (election, term)
        });
        tell.send(term.token()).unwrap();
        std::thread::sleep(Duration::from_secs(5));
        let still_believes = term.is_valid();
        runtime.block_on(async {
            tokio::time::timeout(Duration::from_secs(5), term.lost()).await.expect("told at last");
        });
        drop(election);
        still_believes
    });
    let old = tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap();
    let begun = Instant::now();
    let election = election(&url).await;
    let next = tokio::time::timeout(Duration::from_secs(20), election.campaign("relay", "next")).await;
    let next = next.expect("in time").unwrap();
    assert!(begun.elapsed() < settings().lease + Duration::from_secs(2), "after {:?}", begun.elapsed());
    assert!(next.token() > old, "the paused one is told by its token, whatever it believes");
    assert!(tokio::task::spawn_blocking(move || paused.join().unwrap()).await.unwrap());
}

#[tokio::test]
async fn what_can_t_work_is_refused_with_what_to_do() {
    let Some(url) = server("GOCONDUCTOR_TEST_POSTGRES_URL") else { return };
    let (base, _) = url.rsplit_once('/').unwrap();
    let refused = PostgresElection::connect(&format!("{base}/no_such_database"), settings()).await;
    assert!(matches!(refused, Err(Error::Configuration { .. })), "{refused:?}");
    // One that is not there yet may come.
    let nobody = PostgresElection::connect("postgres://u@127.0.0.1:1/x", settings()).await.unwrap();
    let said = nobody.observe("relay").await.unwrap_err();
    assert!(said.retryable(), "{said}");
}

#[tokio::test]
async fn a_pooler_is_refused() {
    let Some(url) = server("GOCONDUCTOR_TEST_PGBOUNCER_URL") else { return };
    let refused = PostgresElection::connect(&url, settings()).await;
    let Err(Error::Configuration { reason }) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("PgBouncer") && reason.contains("election.url"), "{reason}");
}
