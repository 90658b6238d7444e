//! A group looks up what it writes, whatever PostgreSQL had counted when it planned that.

use super::partitions::{begin, column, connect};
use super::postgres::{Database, execute};
use goconductor_saga::Timestamp;
use goconductor_store::Write;
use goconductor_store::conformance::flow::{done, order};
use std::time::Duration;

/// Tables that grow with what runs and with what has ended.
const TABLES: [&str; 3] = ["workflows", "listings", "dispatch"];
/// Rows that a group has nothing to do with.
const OTHERS: &str = "
    INSERT INTO workflows SELECT gen_random_uuid(), 'default', 'order', 1, 'IN_PROGRESS', '', 1, '{}', 0, NULL,
        '', '{}' FROM generate_series(1, 5000);
    INSERT INTO listings SELECT namespace, definition, 'OPEN', id FROM workflows WHERE created_at = 0;
    INSERT INTO dispatch SELECT id, 'key', 1, namespace, 's', 'run', 'q', 0, 1, 0 FROM workflows
        WHERE created_at = 0";
/// What was read of the tables' indexes and of themselves, and how often the workflows were looked up.
const READ: &str = "
    SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = ANY('{workflows,listings,dispatch}'))
        + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname = ANY('{workflows,listings,dispatch}'))
        || ' ' || (SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'workflows_pkey')";
/// A server's process tells what it has read no more often than this.
const TELLS: Duration = Duration::from_millis(1100);

async fn read(database: &Database) -> (u64, u64) {
    let told = column(database, READ).await;
    let (rows, lookups) = told[0].split_once(' ').expect("two numbers");
    (rows.parse().expect("a number"), lookups.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_made_for_empty_tables_reads_no_more_of_full_ones() {
    Database::with("", |database| async move {
        let store = connect(&database).await;
        for table in TABLES {
            execute(&database.url, &format!("ALTER TABLE {table} SET (autovacuum_enabled = off)")).await;
            execute(&database.url, &format!("VACUUM ANALYZE {table}")).await;
        }
        let plan = order().expect("a graph");
        // The first group of a connection makes the plan of all that follow.
        let mut flow = begin(&store, &plan).await;
        execute(&database.url, OTHERS).await;
        tokio::time::sleep(TELLS).await;
        let (_, begun) = (begin(&store, &plan).await, read(&database).await);
        for step in 0..3 {
            tokio::time::sleep(TELLS).await;
            let (next, transition) = flow.next(&done(step), Timestamp::default()).expect("it can happen");
            store.write(vec![Write::Transition(transition)]).await.expect("it can be written");
            flow = next;
        }
        let mut ended = begun;
        for _ in 0..100 {
            ended = read(&database).await;
            if ended.1 >= begun.1 + 3 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(ended.1 >= begun.1 + 3, "the server does not tell: {begun:?}, {ended:?}");
        assert!(ended.0 < begun.0 + 100, "three transitions read {} rows", ended.0 - begun.0);
    })
    .await;
}
