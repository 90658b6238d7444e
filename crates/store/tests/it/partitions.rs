//! The history partitions of PostgreSQL: created ahead of time, and dropped as a whole.

use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::{Plan, Timestamp, WorkflowId};
use goconductor_store::conformance::check_consistency;
use goconductor_store::conformance::flow::{Flow, StartOptions, done, order, unkeyed};
use goconductor_store::postgres::PostgresStore;
use goconductor_store::{MaintenanceReport, MaintenanceRequest, Store, Write, WriteOutcome};
use sqlx::{Connection, PgConnection};

use super::postgres::{Database, execute};

const DAY: Duration = Duration::from_secs(24 * 3600);
const RETENTION: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) async fn connect(database: &Database) -> Arc<dyn Store> {
    Arc::new(
        PostgresStore::connect(&database.url, 4).await.expect("the database has the schema of this release"),
    )
}

pub(super) async fn column(database: &Database, sql: &'static str) -> Vec<String> {
    let mut connection = PgConnection::connect(&database.url).await.expect("the server accepts connections");
    sqlx::query_scalar(sql).fetch_all(&mut connection).await.expect("the read succeeds")
}

#[tokio::test(flavor = "multi_thread")]
async fn ledger_with_dead_rows_is_vacuumed() {
    Database::with("", |database| async move {
        let store = connect(&database).await;
        let sql = "SELECT (n_dead_tup >= 3000)::text || vacuum_count FROM pg_stat_all_tables
             WHERE relid = 'dispatch'::regclass";
        store.vacuum_ledger().await.expect("the vacuum succeeds");
        assert_eq!(column(&database, sql).await, ["false0"], "an empty ledger was vacuumed");
        // Autovacuum runs within a minute. It is switched off, so that it does not affect the result.
        execute(
            &database.url,
            "ALTER TABLE dispatch SET (autovacuum_enabled = off);
             INSERT INTO dispatch SELECT gen_random_uuid(), number, 1, 'n', 's', 'run', 'q', 0, 1, 0
                 FROM generate_series(1, 3000) AS number;
             DELETE FROM dispatch",
        )
        .await;
        // The server reports its statistics with a delay of a second.
        for _ in 0..100 {
            if column(&database, sql).await == ["true0"] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        store.vacuum_ledger().await.expect("the vacuum succeeds");
        for _ in 0..100 {
            if column(&database, sql).await == ["false1"] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the ledger was not vacuumed: {:?}", column(&database, sql).await);
    })
    .await;
}

/// Returns the names of the partitions.
async fn partitions(database: &Database) -> Vec<String> {
    let sql = "SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
         WHERE inhparent = 'events'::regclass ORDER BY 1";
    column(database, sql).await
}

/// Returns the partitions that contain rows.
async fn partitions_with_rows(database: &Database) -> Vec<String> {
    column(database, "SELECT DISTINCT tableoid::regclass::text FROM events ORDER BY 1").await
}

async fn write(store: &Arc<dyn Store>, write: Write) {
    let outcomes = store.write(vec![write]).await.expect("the write succeeds");
    assert!(matches!(outcomes.as_slice(), [WriteOutcome::Written]), "{outcomes:?}");
}

/// Starts a workflow with the current time and an id of the current time.
pub(super) async fn start(store: &Arc<dyn Store>, plan: &Arc<Plan>) -> Flow {
    let now = store.now().await.expect("the clock can be read");
    let id = Some(WorkflowId(uuid::Uuid::now_v7()));
    let (flow, start) = Flow::start(plan, StartOptions { id, now, ..StartOptions::default() }).unwrap();
    write(store, unkeyed(start)).await;
    flow
}

async fn end(store: &Arc<dyn Store>, mut flow: Flow, now: Timestamp) -> Flow {
    for step in 0..3 {
        let (next, transition) = flow.next(&done(step), now).expect("the rules accept the input");
        write(store, Write::Transition(transition)).await;
        flow = next;
    }
    flow
}

async fn maintain(store: &Arc<dyn Store>, now: Timestamp) -> MaintenanceReport {
    store
        .maintain(&MaintenanceRequest { now, retention: Some(RETENTION).into() })
        .await
        .expect("the maintenance succeeds")
}

#[tokio::test]
async fn partition_is_created_ahead_and_dropped_when_no_workflow_needs_it() {
    Database::with("", |database| async move {
        let store = connect(&database).await;
        let initial = partitions(&database).await;
        assert_eq!(initial.len(), 5, "today, three days ahead, and the default partition: {initial:?}");
        let plan = order().expect("the definition is a valid graph");
        let (one, other) = (start(&store, &plan).await, start(&store, &plan).await);
        let now = store.now().await.expect("the clock can be read");
        let one = end(&store, one, now).await;
        let partition = partitions_with_rows(&database).await;
        assert_eq!(partition.len(), 1, "{partition:?}");
        assert_ne!(partition, ["events_other"]);
        // A new process finds the partitions that its predecessor created.
        drop(store);
        let store = connect(&database).await;
        maintain(&store, now).await;
        assert_eq!(partitions(&database).await, initial);
        check_consistency(&store, &one).await.expect("the workflow is kept");
        // The retention of one workflow has ended. Its partition is kept, because the other workflow of that day still runs.
        let later = now.after(RETENTION + DAY);
        assert_eq!(maintain(&store, later).await, MaintenanceReport { removed: 1, more: false });
        assert!(store.load(&[one.id()]).await.expect("the read succeeds")[0].is_none());
        assert!(store.history(one.id(), 0, 100).await.expect("the read succeeds").is_empty());
        check_consistency(&store, &other).await.expect("the workflow is kept");
        assert_eq!(partitions_with_rows(&database).await, partition);
        // A process that started after the end of the workflow drops the partition when the retention has ended.
        let other = end(&store, other, later).await;
        drop(store);
        let store = connect(&database).await;
        maintain(&store, later).await;
        check_consistency(&store, &other).await.expect("the workflow is kept");
        assert_eq!(maintain(&store, later.after(RETENTION)).await.removed, 1);
        let left = partitions(&database).await;
        assert!(!left.contains(&partition[0]), "{left:?}");
        assert!(left.contains(&"events_other".to_owned()) && left.len() >= 4, "{left:?}");
        assert!(partitions_with_rows(&database).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn maintenance_with_long_reader_neither_waits_nor_blocks_writers() {
    Database::with("", |database| async move {
        let store = connect(&database).await;
        let plan = order().expect("the definition is a valid graph");
        let flow = start(&store, &plan).await;
        let now = store.now().await.expect("the clock can be read");
        end(&store, flow, now).await;
        let partition = partitions_with_rows(&database).await;
        // A reader keeps its transaction open for a long time, as a backup does.
        let mut reader = PgConnection::connect(&database.url).await.expect("the server accepts connections");
        sqlx::raw_sql("BEGIN; SELECT count(*) FROM events")
            .execute(&mut reader)
            .await
            .expect("the read succeeds");
        let retention_end = now.after(RETENTION + DAY * 2);
        let (done, ()) = tokio::join!(
            tokio::time::timeout(Duration::from_secs(5), maintain(&store, retention_end)),
            async {
                for _ in 0..5 {
                    let started = tokio::time::timeout(Duration::from_secs(2), start(&store, &plan)).await;
                    started.expect("a start does not wait for the maintenance");
                }
            }
        );
        assert_eq!(done.expect("the maintenance does not wait for the reader").removed, 1);
        assert!(partitions(&database).await.contains(&partition[0]));
        sqlx::raw_sql("ROLLBACK").execute(&mut reader).await.expect("the rollback succeeds");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_maintenance_removes_each_workflow_once() {
    Database::with("", |database| async move {
        let store = connect(&database).await;
        let plan = order().expect("the definition is a valid graph");
        let now = store.now().await.expect("the clock can be read");
        for _ in 0..40 {
            let flow = start(&store, &plan).await;
            end(&store, flow, now).await;
        }
        let retention_end = now.after(RETENTION + DAY);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let store = connect(&database).await;
            tasks.spawn(async move { maintain(&store, retention_end).await.removed });
        }
        let removed: u64 = tasks.join_all().await.into_iter().sum();
        assert_eq!(removed, 40);
        assert!(store.ids(None, 100).await.expect("the read succeeds").is_empty());
        maintain(&store, retention_end.after(DAY)).await;
        assert!(partitions_with_rows(&database).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn event_without_daily_partition_is_kept_in_default_partition() {
    Database::with("", |database| async move {
        let store = connect(&database).await;
        let now = store.now().await.expect("the clock can be read");
        // No partitions were created for a long time.
        let drop_partitions = "DO $$ DECLARE part TEXT; BEGIN
                 FOR part IN SELECT inhrelid::regclass FROM pg_inherits
                     WHERE inhparent = 'events'::regclass AND inhrelid <> 'events_other'::regclass
                 LOOP EXECUTE 'DROP TABLE ' || part; END LOOP;
             END $$";
        execute(&database.url, drop_partitions).await;
        let plan = order().expect("the definition is a valid graph");
        let flow = start(&store, &plan).await;
        assert_eq!(partitions_with_rows(&database).await, ["events_other"]);
        // Maintenance creates the partitions of later days. That of today cannot be created once the default partition has rows
        // of today, and is not needed.
        maintain(&store, now).await;
        assert_eq!(partitions(&database).await.len(), 4);
        let flow = end(&store, flow, now).await;
        check_consistency(&store, &flow).await.expect("the workflow is kept");
        assert_eq!(partitions_with_rows(&database).await, ["events_other"]);
        assert_eq!(maintain(&store, now.after(RETENTION + DAY)).await.removed, 1);
        assert!(partitions_with_rows(&database).await.is_empty());
    })
    .await;
}
