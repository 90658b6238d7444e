//! The conformance cases against PostgreSQL, and tests of its connections. They need a server, whose URL is in the
//! variable `GOCONDUCTOR_TEST_POSTGRES_URL`. Each test creates its own database there and drops it at the end.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use goconductor_saga::{Side, WorkflowId};
use goconductor_store::conformance::flow::{Flow, StartOptions, at, command, order, publishing, unkeyed};
use goconductor_store::conformance::{CASES, Factory};
use goconductor_store::postgres::PostgresStore;
use goconductor_store::{ClusterStore, LedgerRowKey, LedgerStore, Store, WorkflowStore, WriteOutcome};
use sqlx::{Connection, PgConnection};

/// Returns the URL of the server. Without one, prints that the test is skipped, or fails if services are required.
fn server() -> Option<String> {
    let url = std::env::var("GOCONDUCTOR_TEST_POSTGRES_URL").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let required = std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
        assert!(
            !required,
            "GOCONDUCTOR_TEST_POSTGRES_URL is not set, but GOCONDUCTOR_TEST_REQUIRE_SERVICES is 1"
        );
        println!("skipped: GOCONDUCTOR_TEST_POSTGRES_URL is not set");
    }
    url
}

/// The database of one test.
#[derive(Debug)]
pub(super) struct Database {
    server: String,
    name: String,
    pub(super) url: String,
}

impl Database {
    async fn create(server: String, options: &str) -> Self {
        static CREATED: AtomicU64 = AtomicU64::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = format!("goconductor_test_{}_{number}", std::process::id());
        remove(&server, &name).await;
        execute(&server, &format!("CREATE DATABASE {name} {options}")).await;
        let (start, query) = server.split_once('?').map_or((server.as_str(), None), |(a, b)| (a, Some(b)));
        let (host, _) = start.rsplit_once('/').expect("the URL contains a database");
        let url = format!("{host}/{name}{}", query.map(|query| format!("?{query}")).unwrap_or_default());
        Self { server, name, url }
    }

    /// Runs a test with a new database. Drops the database whether the test passed or not.
    pub(super) async fn with<F: Future<Output = ()> + Send + 'static>(
        options: &str,
        test: impl FnOnce(Arc<Self>) -> F,
    ) {
        let Some(server) = server() else { return };
        let database = Arc::new(Self::create(server, options).await);
        let ended = tokio::spawn(test(Arc::clone(&database))).await;
        remove(&database.server, &database.name).await;
        if let Err(panicked) = ended {
            std::panic::resume_unwind(panicked.into_panic());
        }
    }
}

/// Drops a database after terminating this role's connections to it. `WITH (FORCE)` would also have to terminate an
/// autovacuum worker, which an unprivileged role may not do. Without it, the server cancels the autovacuum itself.
async fn remove(server: &str, name: &str) {
    let ours =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND datname";
    execute(server, &format!("{ours} = '{name}'")).await;
    execute(server, &format!("DROP DATABASE IF EXISTS {name}")).await;
}

pub(super) async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.expect("the server accepts connections");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .expect("the SQL succeeds");
}

/// Opens each store in its own schema.
#[derive(Debug)]
struct Schemas {
    database: Arc<Database>,
    opened: AtomicU64,
    last: Mutex<String>,
}

async fn open_store(url: &str) -> Result<Arc<dyn Store>, String> {
    PostgresStore::connect(url, 8).await.map(|store| Arc::new(store) as _).map_err(|error| error.to_string())
}

#[async_trait]
impl Factory for Schemas {
    async fn open(&self) -> Result<Arc<dyn Store>, String> {
        let schema = format!("s{}", self.opened.fetch_add(1, Ordering::Relaxed));
        execute(&self.database.url, &format!("CREATE SCHEMA {schema}")).await;
        let joined = if self.database.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{joined}options=-c%20search_path%3D{schema}", self.database.url);
        self.last.lock().expect("no thread panics while it holds the lock").clone_from(&url);
        open_store(&url).await
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Result<Arc<dyn Store>, String> {
        drop(store);
        let url = self.last.lock().expect("no thread panics while it holds the lock").clone();
        open_store(&url).await
    }
}

/// The number of cases that run at once, each lane in a database of its own. Some cases wait, and all of them create the
/// schema, which the server does in one process for each connection.
const LANES: usize = 4;

/// Runs every case of a lane.
async fn run_lane(database: Arc<Database>, lane: usize) {
    let factory: Arc<dyn Factory> =
        Arc::new(Schemas { database, opened: AtomicU64::new(0), last: Mutex::default() });
    let mut found = Vec::new();
    for case in CASES.iter().skip(lane).step_by(LANES) {
        if let Err(violation) = case.check(Arc::clone(&factory)).await {
            found.push(format!("{}: {violation}", case.name));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_passes_conformance() {
    let mut lanes = tokio::task::JoinSet::new();
    for lane in 0..LANES {
        lanes.spawn(Database::with("", move |database| run_lane(database, lane)));
    }
    lanes.join_all().await;
}

async fn connect_error(url: &str) -> String {
    PostgresStore::connect(url, 2).await.expect_err("the database is refused").to_string()
}

#[tokio::test]
async fn database_of_another_release_is_refused_with_instructions() {
    Database::with("", |database| async move {
        let store = PostgresStore::connect(&database.url, 2).await.expect("the new database can be opened");
        store.check().await.expect("the database has the schema of this release");
        execute(&database.url, "INSERT INTO schema_version (version) VALUES (999)").await;
        let message = store.check().await.expect_err("a newer schema is refused").to_string();
        assert!(message.contains("it has version 999"), "{message}");
        assert!(message.contains("start the release that wrote it, or a newer one"), "{message}");
        assert_eq!(connect_error(&database.url).await, message);
        execute(&database.url, "TRUNCATE schema_version, schema_migrations").await;
        let message = store.check().await.expect_err("an older schema is refused").to_string();
        assert!(
            message.contains("it has version 0") && message.contains("restore the store from a backup"),
            "{message}"
        );
    })
    .await;
}

#[tokio::test]
async fn reader_of_an_empty_database_creates_nothing() {
    Database::with("", |database| async move {
        let refused = PostgresStore::connect_reading(&database.url, 2).await;
        let message = refused.expect_err("an empty database is refused").to_string();
        assert!(message.contains("it is empty; name the right location"), "{message}");
        // Fails if the reader created it.
        execute(&database.url, "CREATE TABLE schema_version (version BIGINT NOT NULL)").await;
        execute(&database.url, "DROP TABLE schema_version").await;
        PostgresStore::connect(&database.url, 2).await.expect("the new database can be opened");
        let reading = PostgresStore::connect_reading(&database.url, 2).await.expect("the store can be read");
        reading.check().await.expect("the database has the schema of this release");
        let denied = reading.raise_epoch("duties").await.expect_err("a reader cannot write").to_string();
        assert!(denied.contains("read-only"), "{denied}");
    })
    .await;
}

#[tokio::test]
async fn database_without_utf8_encoding_is_refused() {
    let latin = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    Database::with(latin, |database| async move {
        let message = connect_error(&database.url).await;
        assert!(message.contains("LATIN1") && message.contains("ENCODING 'UTF8'"), "{message}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn new_database_can_be_opened_concurrently() {
    Database::with("", |database| async move {
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let database = Arc::clone(&database);
            opening.spawn(async move { PostgresStore::connect(&database.url, 1).await });
        }
        let opened = opening.join_all().await;
        for (number, store) in opened.into_iter().enumerate() {
            let store = store.unwrap_or_else(|error| panic!("connection {number}: {error}"));
            store.check().await.expect("the database has the schema of this release");
        }
    })
    .await;
}

#[tokio::test]
async fn ledger_row_without_workflow_is_reported_as_orphan() {
    Database::with("", |database| async move {
        let store = PostgresStore::connect(&database.url, 2).await.expect("the new database can be opened");
        let row =
            "INSERT INTO dispatch VALUES ('0199c000-0000-7000-8000-000000000001', '0/execute', 1, 'default',
             'stock', 'run', 'default/stock/execute', 5, 0, 5)";
        execute(&database.url, row).await;
        let found = store.orphans(10).await.expect("the read succeeds");
        let named: Vec<String> = found.iter().map(|row| format!("{} {}", row.key.id, row.key.key)).collect();
        assert_eq!(named, ["0199c000-0000-7000-8000-000000000001 0/execute"]);
    })
    .await;
}

#[tokio::test]
async fn broken_connection_is_replaced() {
    Database::with("", |database| async move {
        let store = PostgresStore::connect(&database.url, 1).await.expect("the new database can be opened");
        assert_eq!(store.raise_epoch("duties").await.expect("the write succeeds"), 1);
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()";
        execute(&database.url, end).await;
        let mut tries = 0;
        while let Err(error) = store.raise_epoch("duties").await {
            assert!(error.is_retryable(), "{error}");
            tries += 1;
            assert!(tries < 10, "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn unreachable_server_error_is_retryable_and_invalid_url_is_not() {
    let Err(error) = PostgresStore::connect("postgres://user@127.0.0.1:1/none", 1).await else {
        panic!("a connection to port 1 succeeded");
    };
    assert!(error.is_retryable(), "{error}");
    let Err(error) = PostgresStore::connect("not a url", 1).await else {
        panic!("an invalid URL was accepted")
    };
    assert!(!error.is_retryable(), "{error}");
}

/// Waits until a session of this database waits for a lock.
async fn wait_for_lock_wait(connection: &mut PgConnection) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    for _ in 0..500 {
        let count: i64 =
            sqlx::query_scalar(waiting).fetch_one(&mut *connection).await.expect("the read succeeds");
        if count > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no session waits for a lock");
}

/// Locks a row. Returns `false` if the server aborted this transaction to resolve a deadlock.
async fn lock_row(connection: &mut PgConnection, id: WorkflowId) -> bool {
    let lock = "SELECT 1 FROM dispatch WHERE workflow_id = $1 FOR UPDATE";
    match sqlx::query(lock).bind(id.0).execute(connection).await {
        Ok(_) => true,
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("40P01") => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_chosen_as_deadlock_victim_retries() {
    Database::with("", |database| async move {
        let store = PostgresStore::connect(&database.url, 4).await.expect("the new database can be opened");
        let plan = order().expect("the definition is a valid graph");
        let mut ids = Vec::new();
        for _ in 0..2 {
            let (flow, start) = Flow::start(&plan, StartOptions::default()).unwrap();
            store.write(vec![unkeyed(publishing(start))]).await.expect("the write succeeds");
            ids.push(flow.state.id);
        }
        let mut other = PgConnection::connect(&database.url).await.expect("the server accepts connections");
        let mut watcher = PgConnection::connect(&database.url).await.expect("the server accepts connections");
        let rows = ids.iter().map(|id| LedgerRowKey { id: *id, key: command(0, Side::Execute), attempt: 1 });
        let rows: Vec<_> = rows.collect();
        let mut store_was_victim = false;
        for _ in 0..10 {
            execute_in(&mut other, "BEGIN").await;
            assert!(lock_row(&mut other, ids[1]).await, "the row is free");
            let (rows, extending) = (rows.clone(), store.clone());
            let extended = tokio::spawn(async move { extending.extend(&rows, at(60)).await });
            wait_for_lock_wait(&mut watcher).await;
            // Both transactions now wait for each other. The first one whose `deadlock_timeout` of a second expires is
            // aborted. That is the store, unless this test took longer than a second to get here.
            store_was_victim = lock_row(&mut other, ids[0]).await;
            execute_in(&mut other, "ROLLBACK").await;
            extended.await.expect("the task does not panic").expect("the retry succeeds");
            if store_was_victim {
                break;
            }
        }
        assert!(store_was_victim, "the store was never the deadlock victim");
        let dues: Vec<_> =
            store.ledger(&ids).await.expect("the read succeeds").iter().map(|row| row.due_at).collect();
        assert_eq!(dues, [at(60), at(60)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn existing_rows_do_not_fail_a_batch() {
    Database::with("", |database| async move {
        let store = PostgresStore::connect(&database.url, 4).await.expect("the new database can be opened");
        let plan = order().expect("the definition is a valid graph");
        let [twice, stray, new] = [(); 3].map(|()| Flow::start(&plan, StartOptions::default()).unwrap());
        // A ledger row that a correct store would not contain.
        let row = "INSERT INTO dispatch VALUES ($1, '0/execute', 7, 'default', 'stock', 'run',
             'default/stock/execute', 5, 0, 5)";
        let mut other = PgConnection::connect(&database.url).await.expect("the server accepts connections");
        sqlx::query(row).bind(stray.0.state.id.0).execute(&mut other).await.expect("the insert succeeds");
        // A start whose first attempt is not committed yet when it is retried.
        execute_in(&mut other, "BEGIN").await;
        let record = &twice.1.record;
        sqlx::query(
            "INSERT INTO workflows (id, namespace, definition, version, status, cause, seq, state, created_at,
                 idempotency_key, labels) VALUES ($1, $2, $3, 1, $4, '', $5, $6, 0, '', '{}')",
        )
        .bind(record.id.0)
        .bind(&record.namespace)
        .bind(&record.definition)
        .bind(record.status.as_str())
        .bind(i64::try_from(record.seq).expect("the seq fits"))
        .bind(&*record.state)
        .execute(&mut other)
        .await
        .expect("the insert succeeds");
        let (writing, batch) =
            (store.clone(), [&twice, &stray, &new].map(|(_, start)| unkeyed(start.clone())));
        let written = tokio::spawn(async move { writing.write(batch.to_vec()).await });
        let mut watcher = PgConnection::connect(&database.url).await.expect("the server accepts connections");
        wait_for_lock_wait(&mut watcher).await;
        execute_in(&mut other, "COMMIT").await;
        let outcomes = written.await.expect("the task does not panic").expect("the retry succeeds");
        let [WriteOutcome::Lost(present), WriteOutcome::Written, WriteOutcome::Written] = outcomes.as_slice()
        else {
            panic!("{outcomes:?}");
        };
        assert_eq!(present.state, twice.0.state);
        let ledger = store.ledger(&[stray.0.state.id, new.0.state.id]).await.expect("the read succeeds");
        assert!(ledger.iter().all(|row| row.key.attempt == 1) && ledger.len() == 2, "{ledger:?}");
    })
    .await;
}

async fn execute_in(connection: &mut PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.expect("the SQL succeeds");
}

#[tokio::test]
async fn commit_is_durable_despite_synchronous_commit_off() {
    Database::with("", |database| async move {
        // The store must override the setting of the server, the database or the role.
        execute(&database.url, &format!("ALTER DATABASE {} SET synchronous_commit = off", database.name))
            .await;
        let store = PostgresStore::connect(&database.url, 2).await.expect("the new database can be opened");
        let note = "CREATE TABLE noted (setting TEXT);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN INSERT INTO noted VALUES (current_setting(''synchronous_commit'')); RETURN NEW; END';
             CREATE TRIGGER note BEFORE INSERT ON epochs FOR EACH ROW EXECUTE FUNCTION note()";
        execute(&database.url, note).await;
        store.raise_epoch("duties").await.expect("the write succeeds");
        let mut connection =
            PgConnection::connect(&database.url).await.expect("the server accepts connections");
        let noted: Vec<String> = sqlx::query_scalar("SELECT setting FROM noted")
            .fetch_all(&mut connection)
            .await
            .expect("the read succeeds");
        assert_eq!(noted, ["on"]);
    })
    .await;
}
