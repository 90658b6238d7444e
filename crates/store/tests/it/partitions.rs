//! PostgreSQL keeps history in partitions: made ahead of time, and dropped as a whole.

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
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) async fn connect(database: &Database) -> Arc<dyn Store> {
    Arc::new(PostgresStore::connect(&database.url, 4).await.expect("a database of this release"))
}

pub(super) async fn column(database: &Database, sql: &'static str) -> Vec<String> {
    let mut connection = PgConnection::connect(&database.url).await.expect("the server answers");
    sqlx::query_scalar(sql).fetch_all(&mut connection).await.expect("a read")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_leaves_behind_is_swept() {
    Database::with("", |database| async move {
        let store = connect(&database).await;
        let sql = "SELECT (n_dead_tup >= 3000)::text || vacuum_count FROM pg_stat_all_tables
             WHERE relid = 'dispatch'::regclass";
        store.vacuum_ledger().await.expect("a sweep");
        assert_eq!(column(&database, sql).await, ["false0"], "there was nothing to sweep");
        // The server's own vacuum comes within a minute, and is to have no part in this.
        execute(
            &database.url,
            "ALTER TABLE dispatch SET (autovacuum_enabled = off);
             INSERT INTO dispatch SELECT gen_random_uuid(), number, 1, 'n', 's', 'run', 'q', 0, 1, 0
                 FROM generate_series(1, 3000) AS number;
             DELETE FROM dispatch",
        )
        .await;
        // What is counted is told a second late.
        for _ in 0..100 {
            if column(&database, sql).await == ["true0"] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        store.vacuum_ledger().await.expect("a sweep");
        for _ in 0..100 {
            if column(&database, sql).await == ["false1"] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not swept: {:?}", column(&database, sql).await);
    })
    .await;
}

/// The names of the partitions.
async fn partitions(database: &Database) -> Vec<String> {
    let sql = "SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
         WHERE inhparent = 'events'::regclass ORDER BY 1";
    column(database, sql).await
}

/// The partitions that hold something.
async fn filled(database: &Database) -> Vec<String> {
    column(database, "SELECT DISTINCT tableoid::regclass::text FROM events ORDER BY 1").await
}

async fn write(store: &Arc<dyn Store>, write: Write) {
    let outcomes = store.write(vec![write]).await.expect("it can be written");
    assert!(matches!(outcomes.as_slice(), [WriteOutcome::Written]), "{outcomes:?}");
}

/// A workflow that begins now, with an id of now.
pub(super) async fn begin(store: &Arc<dyn Store>, plan: &Arc<Plan>) -> Flow {
    let now = store.now().await.expect("a clock");
    let id = Some(WorkflowId(uuid::Uuid::now_v7()));
    let (flow, start) = Flow::start(plan, StartOptions { id, now, ..StartOptions::default() }).unwrap();
    write(store, unkeyed(start)).await;
    flow
}

async fn end(store: &Arc<dyn Store>, mut flow: Flow, now: Timestamp) -> Flow {
    for step in 0..3 {
        let (next, transition) = flow.next(&done(step), now).expect("it can happen");
        write(store, Write::Transition(transition)).await;
        flow = next;
    }
    flow
}

async fn upkeep(store: &Arc<dyn Store>, now: Timestamp) -> MaintenanceReport {
    store.maintain(&MaintenanceRequest { now, retention: Some(KEEP) }).await.expect("an upkeep")
}

#[tokio::test]
async fn partitions_are_made_ahead_and_dropped_when_nobody_is_left() {
    Database::with("", |database| async move {
        let store = connect(&database).await;
        let made = partitions(&database).await;
        assert_eq!(made.len(), 5, "today, three days ahead, and the default one: {made:?}");
        let plan = order().expect("a graph");
        let (one, other) = (begin(&store, &plan).await, begin(&store, &plan).await);
        let now = store.now().await.expect("a clock");
        let one = end(&store, one, now).await;
        let held_by = filled(&database).await;
        assert_eq!(held_by.len(), 1, "{held_by:?}");
        assert_ne!(held_by, ["events_other"]);
        // A new process finds what the one before it made.
        drop(store);
        let store = connect(&database).await;
        upkeep(&store, now).await;
        assert_eq!(partitions(&database).await, made);
        check_consistency(&store, &one).await.expect("kept");
        // Its time is over, but another one of that day goes on: the history stays for that one.
        let later = now.after(KEEP + DAY);
        assert_eq!(upkeep(&store, later).await, MaintenanceReport { removed: 1, more: false });
        assert!(store.load(&[one.id()]).await.expect("a read")[0].is_none());
        assert!(store.history(one.id(), 0, 100).await.expect("a read").is_empty());
        check_consistency(&store, &other).await.expect("kept");
        assert_eq!(filled(&database).await, held_by);
        // And a process that was not there when it ended drops it when its time is over.
        let other = end(&store, other, later).await;
        drop(store);
        let store = connect(&database).await;
        upkeep(&store, later).await;
        check_consistency(&store, &other).await.expect("kept");
        assert_eq!(upkeep(&store, later.after(KEEP)).await.removed, 1);
        let left = partitions(&database).await;
        assert!(!left.contains(&held_by[0]), "{left:?}");
        assert!(left.contains(&"events_other".to_owned()) && left.len() >= 4, "{left:?}");
        assert!(filled(&database).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_upkeep_waits_for_nobody_and_holds_up_nobody() {
    Database::with("", |database| async move {
        let store = connect(&database).await;
        let plan = order().expect("a graph");
        let flow = begin(&store, &plan).await;
        let now = store.now().await.expect("a clock");
        end(&store, flow, now).await;
        let held_by = filled(&database).await;
        // Somebody reads for a long time, as a backup does.
        let mut reader = PgConnection::connect(&database.url).await.expect("the server answers");
        sqlx::raw_sql("BEGIN; SELECT count(*) FROM events").execute(&mut reader).await.expect("a read");
        let over = now.after(KEEP + DAY * 2);
        let (done, ()) =
            tokio::join!(tokio::time::timeout(Duration::from_secs(5), upkeep(&store, over)), async {
                for _ in 0..5 {
                    let begun = tokio::time::timeout(Duration::from_secs(2), begin(&store, &plan)).await;
                    begun.expect("nobody waits for the upkeep");
                }
            });
        assert_eq!(done.expect("it does not wait").removed, 1);
        assert!(partitions(&database).await.contains(&held_by[0]));
        sqlx::raw_sql("ROLLBACK").execute(&mut reader).await.expect("an end");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_keep_one_database() {
    Database::with("", |database| async move {
        let store = connect(&database).await;
        let plan = order().expect("a graph");
        let now = store.now().await.expect("a clock");
        for _ in 0..40 {
            let flow = begin(&store, &plan).await;
            end(&store, flow, now).await;
        }
        let over = now.after(KEEP + DAY);
        let mut keepers = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let store = connect(&database).await;
            keepers.spawn(async move { upkeep(&store, over).await.removed });
        }
        let removed: u64 = keepers.join_all().await.into_iter().sum();
        assert_eq!(removed, 40);
        assert!(store.ids(None, 100).await.expect("a read").is_empty());
        upkeep(&store, over.after(DAY)).await;
        assert!(filled(&database).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_has_no_partition_is_kept_all_the_same() {
    Database::with("", |database| async move {
        let store = connect(&database).await;
        let now = store.now().await.expect("a clock");
        // Nobody made partitions for a long time.
        let gone = "DO $$ DECLARE part TEXT; BEGIN
                 FOR part IN SELECT inhrelid::regclass FROM pg_inherits
                     WHERE inhparent = 'events'::regclass AND inhrelid <> 'events_other'::regclass
                 LOOP EXECUTE 'DROP TABLE ' || part; END LOOP;
             END $$";
        execute(&database.url, gone).await;
        let plan = order().expect("a graph");
        let flow = begin(&store, &plan).await;
        assert_eq!(filled(&database).await, ["events_other"]);
        // Those of later days are made; that of today can't be any more, and is not missed.
        upkeep(&store, now).await;
        assert_eq!(partitions(&database).await.len(), 4);
        let flow = end(&store, flow, now).await;
        check_consistency(&store, &flow).await.expect("kept");
        assert_eq!(filled(&database).await, ["events_other"]);
        assert_eq!(upkeep(&store, now.after(KEEP + DAY)).await.removed, 1);
        assert!(filled(&database).await.is_empty());
    })
    .await;
}
