//! What is written and claimed is looked up, whatever PostgreSQL had counted when it planned that.

use super::partitions::{begin, column, connect};
use super::postgres::{Database, execute};
use goconductor_saga::{Side, Timestamp};
use goconductor_store::conformance::flow::{Flow, done, order};
use goconductor_store::{ClaimRequest, LaneClaim, Store, Write};
use std::time::Duration;

/// Tables that grow with what runs and with what has ended.
const TABLES: [&str; 3] = ["workflows", "listings", "dispatch"];
/// What was read of the tables' indexes and of themselves, and how often a row was looked up by its key.
const READ: &str = "
    SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = ANY('{workflows,listings,dispatch}'))
        + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname = ANY('{workflows,listings,dispatch}'))
        || ' ' || (SELECT sum(idx_scan) FROM pg_stat_user_indexes
            WHERE indexrelname = ANY('{workflows_pkey,dispatch_pkey}'))";
/// A server's process tells what it has read no more often than this.
const TELLS: Duration = Duration::from_millis(1100);
/// One of each transition's workflow and of what it settles; one of each row that is claimed, extended or released.
const LOOKUPS: u64 = 3 * 2 + 3;

/// Rows that nothing here has to do with.
async fn others(database: &Database, count: u32) {
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
    let told = column(database, READ).await;
    let (rows, lookups) = told[0].split_once(' ').expect("two numbers");
    (rows.parse().expect("a number"), lookups.parse().expect("a number"))
}

/// Three transitions, and a row that is claimed, extended and released: not so soon one after the other that the
/// server doesn't tell what it read.
async fn work(store: &dyn Store, mut flow: Flow) {
    let claimed = store.claim(&claim("stock")).await.expect("a claim").rows;
    let row = claimed.iter().find(|row| row.key.id == flow.id()).expect("the row of the first step");
    store.extend(std::slice::from_ref(&row.key), Timestamp(1)).await.expect("it can be extended");
    store.release(std::slice::from_ref(&row.key)).await.expect("it can be released");
    for step in 0..3 {
        tokio::time::sleep(TELLS).await;
        let (next, transition) = flow.next(&done(step), Timestamp::default()).expect("it can happen");
        store.write(vec![Write::Transition(transition)]).await.expect("it can be written");
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

/// A plan that was made when there were so few rows, as far as the server knew.
async fn plan_for(counted: u32) {
    Database::with("", move |database| async move {
        let store = connect(&database).await;
        others(&database, counted).await;
        for table in TABLES {
            execute(&database.url, &format!("ALTER TABLE {table} SET (autovacuum_enabled = off)")).await;
            execute(&database.url, &format!("VACUUM ANALYZE {table}")).await;
        }
        let plan = order().expect("a graph");
        // The first of a connection makes the plan of all that follow.
        let flow = begin(&store, &plan).await;
        others(&database, 5000).await;
        tokio::time::sleep(TELLS).await;
        store.claim(&claim("nobody")).await.expect("a claim");
        let (_, begun) = (begin(&store, &plan).await, read(&database).await);
        work(&*store, flow).await;
        let mut ended = begun;
        for _ in 0..100 {
            ended = read(&database).await;
            if ended.1 >= begun.1 + LOOKUPS {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            store.claim(&claim("nobody")).await.expect("a claim");
        }
        assert!(ended.1 >= begun.1 + LOOKUPS, "the server does not tell: {begun:?}, {ended:?}");
        let rows = ended.0 - begun.0;
        assert!(rows < 100, "planned for {counted} rows, three transitions and a claim read {rows}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_made_for_no_row_reads_no_more_of_many() {
    plan_for(0).await;
}

/// The server takes one row for all there are: it would go through the whole index.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_made_for_one_row_reads_no_more_of_many() {
    plan_for(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_made_for_two_rows_reads_no_more_of_many() {
    plan_for(2).await;
}
