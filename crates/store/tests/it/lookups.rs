//! Writes and claims use index lookups, whatever row counts PostgreSQL assumed when it planned their statements.

use super::partitions::{column, connect, start};
use super::postgres::{Database, execute};
use goconductor_saga::{Side, Timestamp};
use goconductor_store::conformance::flow::{Flow, done, order};
use goconductor_store::{ClaimRequest, LaneClaim, Store, Write};
use std::time::Duration;

/// The tables that grow with the number of running and ended workflows.
const TABLES: [&str; 3] = ["workflows", "listings", "dispatch"];
/// Selects the number of index entries and rows read from the tables, and the number of primary-key lookups.
const READ_STATISTICS: &str = "
    SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = ANY('{workflows,listings,dispatch}'))
        + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname = ANY('{workflows,listings,dispatch}'))
        || ' ' || (SELECT sum(idx_scan) FROM pg_stat_user_indexes
            WHERE indexrelname = ANY('{workflows_pkey,dispatch_pkey}'))";
/// Minimum time between two statistics reports of a server process.
const STATISTICS_INTERVAL: Duration = Duration::from_millis(1100);
/// Expected lookups: two per transition (the workflow and the settled row), and one each for the claimed, the extended and
/// the released row.
const LOOKUPS: u64 = 3 * 2 + 3;

/// Inserts workflows with ledger rows that the test does not touch.
async fn insert_other_rows(database: &Database, count: u32) {
    let sql = format!(
        "WITH new AS (
             INSERT INTO workflows SELECT gen_random_uuid(), 'default', 'order', 1, 'IN_PROGRESS', '', 1, '{{}}', 0,
                 NULL, '', '{{}}' FROM generate_series(1, {count}) RETURNING id
         ), listed AS (
             INSERT INTO listings SELECT 'default', 'order', 'OPEN', id FROM new
         )
         INSERT INTO dispatch SELECT id, 'key', 1, 'default', 's', 'run', 'q', 0, 1, 0 FROM new"
    );
    execute(&database.url, &sql).await;
}

async fn read(database: &Database) -> (u64, u64) {
    let statistics = column(database, READ_STATISTICS).await;
    let (rows, lookups) = statistics[0].split_once(' ').expect("the query returns two numbers");
    (rows.parse().expect("the statistic is a number"), lookups.parse().expect("the statistic is a number"))
}

/// Claims, extends and releases a row and writes three transitions. The pauses let the server report its statistics.
async fn work(store: &dyn Store, mut flow: Flow) {
    let claimed = store.claim(&claim("stock")).await.expect("the claim succeeds").rows;
    let row = claimed
        .iter()
        .find(|row| row.key.id == flow.id())
        .expect("the claim contains the row of the first step");
    store.extend(std::slice::from_ref(&row.key), Timestamp(1)).await.expect("the extension succeeds");
    store.release(std::slice::from_ref(&row.key)).await.expect("the release succeeds");
    for step in 0..3 {
        tokio::time::sleep(STATISTICS_INTERVAL).await;
        let (next, transition) =
            flow.next(&done(step), Timestamp::default()).expect("the rules accept the input");
        store.write(vec![Write::Transition(transition)]).await.expect("the write succeeds");
        flow = next;
    }
}

fn claim(service: &str) -> ClaimRequest {
    let lane = LaneClaim {
        namespace: "default".to_owned(),
        service: service.to_owned(),
        side: Side::Execute,
        waiting_since: None,
        limit: 100,
    };
    ClaimRequest {
        fence: None,
        shard: None,
        now: Timestamp(i64::MAX / 2),
        lanes: vec![lane],
        timers: false,
        limit: 100,
        redelivery: Duration::from_secs(1),
    }
}

/// Plans the statements while the server assumes `counted` rows, adds many rows, and expects that the statements still
/// read few of them.
async fn reads_few_rows_after_planning_for(counted: u32) {
    Database::with("", move |database| async move {
        let store = connect(&database).await;
        insert_other_rows(&database, counted).await;
        for table in TABLES {
            execute(&database.url, &format!("ALTER TABLE {table} SET (autovacuum_enabled = off)")).await;
            execute(&database.url, &format!("VACUUM ANALYZE {table}")).await;
        }
        let plan = order().expect("the definition is a valid graph");
        // The first execution on a connection makes the plan of all later ones.
        let flow = start(&store, &plan).await;
        insert_other_rows(&database, 5000).await;
        tokio::time::sleep(STATISTICS_INTERVAL).await;
        store.claim(&claim("idle")).await.expect("the claim succeeds");
        let (_, before) = (start(&store, &plan).await, read(&database).await);
        work(&*store, flow).await;
        let mut after = before;
        for _ in 0..100 {
            after = read(&database).await;
            if after.1 >= before.1 + LOOKUPS {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            store.claim(&claim("idle")).await.expect("the claim succeeds");
        }
        assert!(after.1 >= before.1 + LOOKUPS, "the statistics are incomplete: {before:?}, {after:?}");
        let rows = after.0 - before.0;
        assert!(
            rows < 100,
            "after planning for {counted} rows, three transitions and a claim read {rows} rows"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_for_no_rows_reads_few_of_many_rows() {
    reads_few_rows_after_planning_for(0).await;
}

/// For a single row, a scan of a whole index seems as cheap to the planner as a lookup.
#[tokio::test(flavor = "multi_thread")]
async fn plan_for_one_row_reads_few_of_many_rows() {
    reads_few_rows_after_planning_for(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plan_for_two_rows_reads_few_of_many_rows() {
    reads_few_rows_after_planning_for(2).await;
}
