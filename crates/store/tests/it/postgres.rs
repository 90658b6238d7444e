//! PostgreSQL keeps every promise. Needs one: `GOCONDUCTOR_TEST_POSTGRES_URL` says where; each run makes
//! a database of its own there, and drops it at the end.

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

/// Where PostgreSQL is; none: skipped, and said so.
fn server() -> Option<String> {
    let url = std::env::var("GOCONDUCTOR_TEST_POSTGRES_URL").ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let required = std::env::var("GOCONDUCTOR_TEST_REQUIRE_SERVICES").is_ok_and(|value| value == "1");
        assert!(!required, "GOCONDUCTOR_TEST_POSTGRES_URL is not set, and services are required");
        println!("skipped: GOCONDUCTOR_TEST_POSTGRES_URL is not set");
    }
    url
}

/// A database of a test's own.
#[derive(Debug)]
pub(super) struct Database {
    server: String,
    name: String,
    pub(super) url: String,
}

impl Database {
    async fn make(server: String, options: &str) -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("goconductor_test_{}_{number}", std::process::id());
        remove(&server, &name).await;
        execute(&server, &format!("CREATE DATABASE {name} {options}")).await;
        let (start, query) = server.split_once('?').map_or((server.as_str(), None), |(a, b)| (a, Some(b)));
        let (host, _) = start.rsplit_once('/').expect("a URL that names a database");
        let url = format!("{host}/{name}{}", query.map(|query| format!("?{query}")).unwrap_or_default());
        Self { server, name, url }
    }

    /// Runs a test with a database, and drops that whether the test passed or not.
    pub(super) async fn with<F: Future<Output = ()> + Send + 'static>(
        options: &str,
        test: impl FnOnce(Arc<Self>) -> F,
    ) {
        let Some(server) = server() else { return };
        let database = Arc::new(Self::make(server, options).await);
        let ended = tokio::spawn(test(Arc::clone(&database))).await;
        remove(&database.server, &database.name).await;
        if let Err(panicked) = ended {
            std::panic::resume_unwind(panicked.into_panic());
        }
    }
}

/// Removes a database, and ends our connections to it first. WITH (FORCE) would have to end a vacuum of the
/// server's own as well, which a role without privileges may not; without it the server does that itself.
async fn remove(server: &str, name: &str) {
    let ours =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND datname";
    execute(server, &format!("{ours} = '{name}'")).await;
    execute(server, &format!("DROP DATABASE IF EXISTS {name}")).await;
}

pub(super) async fn execute(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.expect("the server answers");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .expect("it can be done");
}

/// Each store is a schema of its own.
#[derive(Debug)]
struct Schemas {
    database: Arc<Database>,
    opened: AtomicU64,
    last: Mutex<String>,
}

async fn opened(url: &str) -> Result<Arc<dyn Store>, String> {
    PostgresStore::connect(url, 8).await.map(|store| Arc::new(store) as _).map_err(|error| error.to_string())
}

#[async_trait]
impl Factory for Schemas {
    async fn open(&self) -> Result<Arc<dyn Store>, String> {
        let schema = format!("s{}", self.opened.fetch_add(1, Ordering::Relaxed));
        execute(&self.database.url, &format!("CREATE SCHEMA {schema}")).await;
        let joined = if self.database.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{joined}options=-c%20search_path%3D{schema}", self.database.url);
        self.last.lock().expect("no panic under the lock").clone_from(&url);
        opened(&url).await
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Result<Arc<dyn Store>, String> {
        drop(store);
        let url = self.last.lock().expect("no panic under the lock").clone();
        opened(&url).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conformance() {
    Database::with("", |database| async move {
        let factory: Arc<dyn Factory> =
            Arc::new(Schemas { database, opened: AtomicU64::new(0), last: Mutex::default() });
        let mut found = Vec::new();
        for case in CASES {
            if let Err(what) = case.check(Arc::clone(&factory)).await {
                found.push(format!("{}: {what}", case.name));
            }
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
    })
    .await;
}

async fn said_by_connect(url: &str) -> String {
    PostgresStore::connect(url, 2).await.expect_err("it can't be used").to_string()
}

#[tokio::test]
async fn a_database_of_another_release_is_refused_with_what_to_do() {
    Database::with("", |database| async move {
        let store = PostgresStore::connect(&database.url, 2).await.expect("a new database");
        store.check().await.expect("of this release");
        execute(&database.url, "INSERT INTO schema_version (version) VALUES (999)").await;
        let said = store.check().await.expect_err("it is newer").to_string();
        assert!(said.contains("it has version 999"), "{said}");
        assert!(said.contains("start the release that wrote it, or a newer one"), "{said}");
        assert_eq!(said_by_connect(&database.url).await, said);
        execute(&database.url, "TRUNCATE schema_version").await;
        let said = store.check().await.expect_err("it is older").to_string();
        assert!(
            said.contains("it has version 0") && said.contains("start a server of this release on it"),
            "{said}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_database_that_can_not_hold_every_character_is_refused() {
    let latin = "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    Database::with(latin, |database| async move {
        let said = said_by_connect(&database.url).await;
        assert!(said.contains("LATIN1") && said.contains("ENCODING 'UTF8'"), "{said}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_open_a_new_database_at_once() {
    Database::with("", |database| async move {
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let database = Arc::clone(&database);
            opening.spawn(async move { PostgresStore::connect(&database.url, 1).await });
        }
        let opened = opening.join_all().await;
        for (number, store) in opened.into_iter().enumerate() {
            let store = store.unwrap_or_else(|error| panic!("the one of number {number}: {error}"));
            store.check().await.expect("of this release");
        }
    })
    .await;
}

#[tokio::test]
async fn a_row_without_a_workflow_is_found() {
    Database::with("", |database| async move {
        let store = PostgresStore::connect(&database.url, 2).await.expect("a new database");
        let row =
            "INSERT INTO dispatch VALUES ('0199c000-0000-7000-8000-000000000001', '0/execute', 1, 'default',
             'stock', 'run', 'default/stock/execute', 5, 0, 5)";
        execute(&database.url, row).await;
        let found = store.orphans(10).await.expect("a read");
        let named: Vec<String> = found.iter().map(|row| format!("{} {}", row.key.id, row.key.key)).collect();
        assert_eq!(named, ["0199c000-0000-7000-8000-000000000001 0/execute"]);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_broke_is_replaced() {
    Database::with("", |database| async move {
        let store = PostgresStore::connect(&database.url, 1).await.expect("a new database");
        assert_eq!(store.raise_epoch("duties").await.expect("writes"), 1);
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
async fn nobody_there_is_an_error_with_the_reason() {
    let Err(error) = PostgresStore::connect("postgres://nobody@127.0.0.1:1/none", 1).await else {
        panic!("there is no server at port 1");
    };
    assert!(error.is_retryable(), "{error}");
    let Err(error) = PostgresStore::connect("not a url", 1).await else { panic!("that is no address") };
    assert!(!error.is_retryable(), "{error}");
}

/// Whether somebody in this database waits for a lock.
async fn somebody_waits(connection: &mut PgConnection) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock'";
    for _ in 0..500 {
        let count: i64 = sqlx::query_scalar(waiting).fetch_one(&mut *connection).await.expect("a read");
        if count > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody waits for a lock");
}

/// Whether the row is locked; if not, this transaction was the one that had to give way.
async fn lock_row(connection: &mut PgConnection, id: WorkflowId) -> bool {
    let lock = "SELECT 1 FROM dispatch WHERE workflow_id = $1 FOR UPDATE";
    match sqlx::query(lock).bind(id.0).execute(connection).await {
        Ok(_) => true,
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("40P01") => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_gives_way_to_another_tries_again() {
    Database::with("", |database| async move {
        let store = PostgresStore::connect(&database.url, 4).await.expect("a new database");
        let plan = order().expect("a graph");
        let mut ids = Vec::new();
        for _ in 0..2 {
            let (flow, start) = Flow::start(&plan, StartOptions::default()).unwrap();
            store.write(vec![unkeyed(publishing(start))]).await.expect("written");
            ids.push(flow.state.id);
        }
        let mut other = PgConnection::connect(&database.url).await.expect("the server answers");
        let mut watcher = PgConnection::connect(&database.url).await.expect("the server answers");
        let rows = ids.iter().map(|id| LedgerRowKey { id: *id, key: command(0, Side::Execute), attempt: 1 });
        let rows: Vec<_> = rows.collect();
        let mut gave_way = false;
        for _ in 0..10 {
            execute_in(&mut other, "BEGIN").await;
            assert!(lock_row(&mut other, ids[1]).await, "nobody else has it");
            let (rows, extending) = (rows.clone(), store.clone());
            let extended = tokio::spawn(async move { extending.extend(&rows, at(60)).await });
            somebody_waits(&mut watcher).await;
            // Each waits for the other now. The one who has waited for a second finds out, and gives way: that is
            // the store, unless this took a second.
            gave_way = lock_row(&mut other, ids[0]).await;
            execute_in(&mut other, "ROLLBACK").await;
            extended.await.expect("no panic").expect("the second try");
            if gave_way {
                break;
            }
        }
        assert!(gave_way, "the store never had to give way");
        let dues: Vec<_> = store.ledger(&ids).await.expect("a read").iter().map(|row| row.due_at).collect();
        assert_eq!(dues, [at(60), at(60)]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_already_fails_no_group() {
    Database::with("", |database| async move {
        let store = PostgresStore::connect(&database.url, 4).await.expect("a new database");
        let plan = order().expect("a graph");
        let [twice, stray, new] = [(); 3].map(|()| Flow::start(&plan, StartOptions::default()).unwrap());
        // A row of the ledger that should not be there.
        let row = "INSERT INTO dispatch VALUES ($1, '0/execute', 7, 'default', 'stock', 'run',
             'default/stock/execute', 5, 0, 5)";
        let mut other = PgConnection::connect(&database.url).await.expect("the server answers");
        sqlx::query(row).bind(stray.0.state.id.0).execute(&mut other).await.expect("a row");
        // A start whose first try is not committed yet when it is written once more.
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
        .bind(i64::try_from(record.seq).expect("a small number"))
        .bind(&*record.state)
        .execute(&mut other)
        .await
        .expect("a row");
        let (writing, group) =
            (store.clone(), [&twice, &stray, &new].map(|(_, start)| unkeyed(start.clone())));
        let written = tokio::spawn(async move { writing.write(group.to_vec()).await });
        let mut watcher = PgConnection::connect(&database.url).await.expect("the server answers");
        somebody_waits(&mut watcher).await;
        execute_in(&mut other, "COMMIT").await;
        let outcomes = written.await.expect("no panic").expect("the second try");
        let [WriteOutcome::Lost(present), WriteOutcome::Written, WriteOutcome::Written] = outcomes.as_slice()
        else {
            panic!("{outcomes:?}");
        };
        assert_eq!(present.state, twice.0.state);
        let ledger = store.ledger(&[stray.0.state.id, new.0.state.id]).await.expect("a read");
        assert!(ledger.iter().all(|row| row.key.attempt == 1) && ledger.len() == 2, "{ledger:?}");
    })
    .await;
}

async fn execute_in(connection: &mut PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.expect("it can be done");
}

#[tokio::test]
async fn a_commit_is_on_disk_when_it_answers() {
    Database::with("", |database| async move {
        // Whatever the server, the database or the role is set to.
        execute(&database.url, &format!("ALTER DATABASE {} SET synchronous_commit = off", database.name))
            .await;
        let store = PostgresStore::connect(&database.url, 2).await.expect("a new database");
        let note = "CREATE TABLE noted (setting TEXT);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN INSERT INTO noted VALUES (current_setting(''synchronous_commit'')); RETURN NEW; END';
             CREATE TRIGGER note BEFORE INSERT ON epochs FOR EACH ROW EXECUTE FUNCTION note()";
        execute(&database.url, note).await;
        store.raise_epoch("duties").await.expect("writes");
        let mut connection = PgConnection::connect(&database.url).await.expect("the server answers");
        let noted: Vec<String> =
            sqlx::query_scalar("SELECT setting FROM noted").fetch_all(&mut connection).await.expect("a read");
        assert_eq!(noted, ["on"]);
    })
    .await;
}
