//! Writes and claims use index lookups, regardless of the row counts that PostgreSQL assumed when it planned their statements.

use super::partitions::{column, connect, start};
use super::postgres::{Database, execute};
use goconductor_saga::{Side, Timestamp};
use goconductor_store::conformance::flow::{Flow, done, order};
use goconductor_store::{
    ClaimRequest, Comparison, Field, Filter, FilterValue, LaneClaim, ListRequest, Store, Write,
};
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

/// Inserts `$COUNT` workflows: all but one in a thousand have ended, one in a hundred failed, and one in a thousand has a
/// label. The rows need not survive a crash of the server, so they are not in its log. Their ids rise, as those of
/// workflows do.
const MANY: &str = r#"
    ALTER TABLE workflows SET UNLOGGED;
    ALTER TABLE listings SET UNLOGGED;
    WITH new AS (
        INSERT INTO workflows (id, namespace, definition, version, status, cause, seq, state, created_at, ended_at,
            idempotency_key, labels, error)
        SELECT ('019a0000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'default', CASE WHEN n % 10000 = 0 THEN 'refund' ELSE 'order' END, 1,
            CASE WHEN n % 1000 = 1 THEN 'IN_PROGRESS' WHEN n % 100 = 0 THEN 'ROLLED_BACK' ELSE 'COMPLETED' END,
            CASE WHEN n % 100 = 0 THEN 'STEP_FAILED' ELSE '' END, 1, '{}', 0,
            CASE WHEN n % 1000 = 1 THEN NULL ELSE 1 END, '',
            CASE WHEN n % 1000 = 2 THEN '{"team":"shop"}' ELSE '{}' END::jsonb,
            CASE WHEN n % 5000 = 0 THEN '{"code":"CARD_DECLINED","message":"no"}'
                 WHEN n % 100 = 0 THEN '{"code":"NO_STOCK","message":"no \u0000"}' END
        FROM generate_series(1, $COUNT) AS n
        RETURNING id, definition, status, cause, ended_at
    ), listed AS (
        INSERT INTO listings
        SELECT 'default', definition, CASE WHEN ended_at IS NULL THEN 'OPEN' ELSE status END, id FROM new
    )
    INSERT INTO ended_counts SELECT 'default', definition, 1, status, cause, count(*) FROM new
        WHERE ended_at IS NOT NULL GROUP BY definition, status, cause"#;

fn is(field: Field, text: &str) -> Filter {
    Filter::Compare(field, Comparison::Equal, FilterValue::Text(text.to_owned()))
}

/// The number of workflows, unless `GOCONDUCTOR_TEST_WORKFLOWS` overrides it.
const WORKFLOWS: u64 = 100_000;
/// The number from which on the reads are measured as well.
const MEASURED: u64 = 1_000_000;
/// The number of reads of each kind that are measured.
const MEASUREMENTS: usize = 300;

/// Returns the number of rows and index entries that two reads need. They are an interval of the statistics apart,
/// so the server process reports both.
async fn rows_of<F: Future<Output = ()>>(database: &Database, work: impl Fn() -> F) -> u64 {
    let (before, _) = read(database).await;
    work().await;
    tokio::time::sleep(STATISTICS_INTERVAL).await;
    work().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    read(database).await.0.saturating_sub(before)
}

/// Prints how long a read takes. It is a measurement, and no test: another machine has other times.
async fn measure<F: Future<Output = ()>>(what: &str, work: impl Fn() -> F) {
    let mut times = Vec::with_capacity(MEASUREMENTS);
    for _ in 0..MEASUREMENTS {
        let begun = std::time::Instant::now();
        work().await;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let (median, most) = (times[MEASUREMENTS / 2], times[MEASUREMENTS * 99 / 100]);
    println!("{what}: p50 {median:.1?}, p99 {most:.1?}");
}

fn label() -> Filter {
    is(Field::Label("team".to_owned()), "shop")
}

fn created_after(micros: i64) -> Filter {
    Filter::Compare(Field::CreatedAt, Comparison::Greater, FilterValue::Time(Timestamp(micros)))
}

async fn lists_read_few_rows(database: &Database, store: &dyn Store, workflows: u64) {
    let open_orders = vec![is(Field::Definition, "order"), is(Field::Status, "IN_PROGRESS")];
    for (filter, most) in [
        (None, 2_000),
        (Some(is(Field::Status, "ROLLED_BACK")), 2_000),
        (Some(is(Field::Definition, "refund")), 2_000),
        (Some(Filter::open()), 20_000),
        (Some(is(Field::ErrorCode, "CARD_DECLINED")), 4_000),
        (Some(label()), 10_000),
        (Some(is(Field::Id, "019a0000-0000-7000-8000-000000000001")), 1_000),
        (Some(Filter::All(vec![label(), is(Field::Status, "COMPLETED"), created_after(0)])), 10_000),
        (Some(Filter::All(vec![label(), Filter::Not(Box::new(is(Field::Status, "ERROR")))])), 10_000),
        (Some(Filter::All(open_orders)), 20_000),
    ] {
        let request =
            ListRequest { namespace: "default".to_owned(), filter: filter.clone(), limit: 100, before: None };
        let list = || async {
            store.list(&request).await.expect("the list succeeds");
        };
        let rows = rows_of(database, list).await;
        assert!(rows < most, "two lists of 100 workflows with {filter:?} read {rows} rows");
        if workflows >= MEASURED {
            measure(&format!("list of {workflows} workflows with {filter:?}"), list).await;
        }
    }
}

async fn counts_read_few_rows(database: &Database, store: &dyn Store, workflows: u64) {
    for (by, filter, most) in [
        (Field::Status, None, 20_000),
        (Field::Definition, None, 20_000),
        (Field::Status, Some(is(Field::Definition, "refund")), 20_000),
        (Field::Status, Some(Filter::open()), 20_000),
        (Field::Status, Some(label()), workflows / 10),
        (Field::Definition, Some(Filter::All(vec![label(), Filter::without_elements()])), workflows / 10),
        (Field::ErrorCode, Some(label()), workflows / 10),
        (Field::Definition, Some(is(Field::ErrorCode, "CARD_DECLINED")), workflows * 15 / 1000),
        // Workflows with an error are counted on request. They are one in a hundred here.
        (Field::ErrorCode, None, workflows / 10),
        // A scan of the workflows with an error reads one in a hundred twice, and their index entries.
        (Field::ErrorCode, Some(is(Field::ErrorCode, "CARD_DECLINED")), workflows * 15 / 1000),
    ] {
        let count = || async {
            store.counts("default", by.clone(), filter.as_ref()).await.expect("the count succeeds");
        };
        let rows = rows_of(database, count).await;
        assert!(rows < most, "two counts by {by:?} with {filter:?} read {rows} rows");
        if workflows >= MEASURED {
            measure(&format!("count of {workflows} workflows by {by:?} with {filter:?}"), count).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_counts_of_many_workflows_read_few_rows() {
    let count = std::env::var("GOCONDUCTOR_TEST_WORKFLOWS").ok().and_then(|text| text.parse().ok());
    let workflows: u64 = count.unwrap_or(WORKFLOWS);
    Database::with("", move |database| async move {
        let store = connect(&database).await;
        execute(&database.url, &MANY.replace("$COUNT", &workflows.to_string())).await;
        for table in ["workflows", "listings", "ended_counts"] {
            execute(&database.url, &format!("VACUUM ANALYZE {table}")).await;
        }
        lists_read_few_rows(&database, &*store, workflows).await;
        counts_read_few_rows(&database, &*store, workflows).await;
        let codes = store.counts("default", Field::ErrorCode, None).await.expect("the count succeeds");
        let codes: Vec<(String, u64)> = codes.into_iter().map(|count| (count.value, count.count)).collect();
        let (declined, failed) = (workflows / 5_000, workflows / 100);
        assert_eq!(
            codes,
            [("CARD_DECLINED".to_owned(), declined), ("NO_STOCK".to_owned(), failed - declined)]
        );
    })
    .await;
}
