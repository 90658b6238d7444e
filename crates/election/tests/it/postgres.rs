//! The election on PostgreSQL after lost sessions and behind a pooler.

use crate::backends::{LEASE, address, lead, schema};
use goconductor_election::postgres::Settings;
use goconductor_election::{Election, Error, PostgresElection};
use sqlx::{Connection, PgConnection};
use std::time::Duration;

fn settings() -> Settings {
    Settings { lease: LEASE }
}

async fn election(url: &str) -> PostgresElection {
    PostgresElection::connect(url, settings()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn lost_session_ends_every_term() {
    let Some(url) = address("GOCONDUCTOR_TEST_POSTGRES_URL") else { return };
    let url = schema(&url).await;
    let election = election(&url).await;
    let (relay, timers) = (lead(&election, "relay", "a").await, lead(&election, "timers", "a").await);
    let mut killer = PgConnection::connect(&url).await.unwrap();
    let killed: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_locks
         JOIN goconductor_elections AS known
             ON ((classid::bigint << 32) | objid::bigint) = known.key WHERE locktype = 'advisory') AS killed",
    )
    .fetch_one(&mut killer)
    .await
    .unwrap();
    assert_eq!(killed, 2, "both locks belong to one session");
    tokio::time::timeout(Duration::from_secs(5), async {
        relay.lost().await;
        timers.lost().await;
    })
    .await
    .expect("told");
    let again = lead(&election, "relay", "a").await;
    assert!(again.token() > relay.token());
}

#[tokio::test]
async fn invalid_settings_are_refused_with_a_remedy() {
    let Some(url) = address("GOCONDUCTOR_TEST_POSTGRES_URL") else { return };
    let (base, _) = url.rsplit_once('/').unwrap();
    let refused = PostgresElection::connect(&format!("{base}/no_such_database"), settings()).await;
    assert!(matches!(refused, Err(Error::Configuration { .. })), "{refused:?}");
    // An unreachable server may become reachable.
    let unreachable = PostgresElection::connect("postgres://u@127.0.0.1:1/x", settings()).await.unwrap();
    let said = unreachable.observe("relay").await.unwrap_err();
    assert!(said.is_retryable(), "{said}");
}

#[tokio::test]
async fn pooler_is_refused() {
    let Some(url) = address("GOCONDUCTOR_TEST_PGBOUNCER_URL") else { return };
    let refused = PostgresElection::connect(&url, settings()).await;
    let Err(Error::Configuration { reason }) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("PgBouncer") && reason.contains("election.url"), "{reason}");
}
