//! The conformance cases against SQLite, with a file and with an ephemeral database, and tests of its files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use goconductor_store::conformance::{CASES, Factory};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{ClusterStore, LedgerStore, Store, WorkflowStore};
use tempfile::TempDir;

/// Opens each store in its own file.
#[derive(Debug)]
struct Files {
    folder: TempDir,
    opened: AtomicU64,
    last: std::sync::Mutex<std::path::PathBuf>,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("the temporary directory is writable");
        Self { folder, opened: AtomicU64::new(0), last: std::sync::Mutex::default() }
    }
}

fn open_store(path: &std::path::Path) -> Result<Arc<dyn Store>, String> {
    SqliteStore::open(path).map(|store| Arc::new(store) as _).map_err(|error| error.to_string())
}

#[async_trait]
impl Factory for Files {
    async fn open(&self) -> Result<Arc<dyn Store>, String> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.path().join(format!("{number}.db"));
        self.last.lock().expect("no thread panics while it holds the lock").clone_from(&path);
        open_store(&path)
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Result<Arc<dyn Store>, String> {
        drop(store);
        open_store(&self.last.lock().expect("no thread panics while it holds the lock"))
    }
}

#[derive(Debug)]
struct Ephemeral;

#[async_trait]
impl Factory for Ephemeral {
    async fn open(&self) -> Result<Arc<dyn Store>, String> {
        SqliteStore::ephemeral().map(|store| Arc::new(store) as _).map_err(|error| error.to_string())
    }
}

async fn assert_conformance(factory: Arc<dyn Factory>) {
    let mut found = Vec::new();
    for case in CASES {
        if let Err(violation) = case.check(Arc::clone(&factory)).await {
            found.push(format!("{}: {violation}", case.name));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_file_passes_conformance() {
    assert_conformance(Arc::new(Files::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ephemeral_sqlite_passes_conformance() {
    assert_conformance(Arc::new(Ephemeral)).await;
}

fn open_error(path: &std::path::Path) -> String {
    SqliteStore::open(path).expect_err("the file is refused").to_string()
}

/// Runs SQL on a file that no store has open.
fn execute(path: &std::path::Path, sql: &str) {
    rusqlite::Connection::open(path)
        .expect("the file can be opened")
        .execute_batch(sql)
        .expect("the SQL succeeds");
}

#[tokio::test]
async fn file_of_another_release_is_refused_with_instructions() {
    let folder = tempfile::tempdir().expect("the temporary directory is writable");
    let path = folder.path().join("goconductor.db");
    drop(SqliteStore::open(&path).expect("the file can be created"));
    let before = std::fs::read(&path).expect("the file can be opened");
    let version: i64 = rusqlite::Connection::open(&path)
        .and_then(|file| file.pragma_query_value(None, "user_version", |row| row.get(0)))
        .expect("the version is a number");
    execute(&path, "PRAGMA user_version = 999");
    let message = open_error(&path);
    assert!(message.contains("it has version 999"), "{message}");
    assert!(message.contains("start the release that wrote it, or a newer one"), "{message}");
    let reading = SqliteStore::open_reading(&path).expect_err("a newer file is refused").to_string();
    assert!(reading.contains("or a newer one"), "{reading}");
    execute(&path, &format!("PRAGMA user_version = {version}"));
    assert_eq!(
        std::fs::read(&path).expect("the file can be opened").len(),
        before.len(),
        "the file was changed"
    );
    SqliteStore::open(&path).expect("the restored file can be opened");
    let old = folder.path().join("old.db");
    execute(&old, "CREATE TABLE something (value INTEGER)");
    let message =
        SqliteStore::open_reading(&old).expect_err("a file of another program is refused").to_string();
    assert!(message.contains("is a database of another program"), "{message}");
    assert_eq!(open_error(&old), message, "no table is added to it");
}

#[tokio::test]
async fn file_in_use_is_refused_to_writers_and_open_to_readers() {
    let folder = tempfile::tempdir().expect("the temporary directory is writable");
    let path = folder.path().join("deep/down/goconductor.db");
    let writing = SqliteStore::open(&path).expect("the file and its directories can be created");
    let message = open_error(&path);
    assert!(
        message.contains("is used by another process: stop that process, or choose another"),
        "{message}"
    );
    let reading = SqliteStore::open_reading(&path).expect("a reader may open a file in use");
    assert_eq!(writing.raise_epoch("duties").await.expect("the write succeeds"), 1);
    reading.check().await.expect("the file has the schema of this release");
    let denied = reading.raise_epoch("duties").await.expect_err("a reader cannot write").to_string();
    assert!(denied.contains("opened read-only"), "{denied}");
    drop(reading);
    drop(writing);
    let again = SqliteStore::open(&path).expect("the file is no longer in use");
    assert_eq!(again.raise_epoch("duties").await.expect("the write succeeds"), 2);
    let missing =
        SqliteStore::open_reading(&folder.path().join("none.db")).expect_err("a missing file is refused");
    assert!(missing.to_string().contains("does not exist"), "{missing}");
}

#[tokio::test]
async fn dropped_ephemeral_store_leaves_no_files() {
    let store = SqliteStore::ephemeral().expect("the temporary directory is writable");
    let message = format!("{store:?}");
    let path = message
        .split("path: \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("the debug output contains the path");
    let folder = std::path::Path::new(path).parent().expect("the path has a parent directory").to_owned();
    assert!(folder.is_dir(), "{folder:?}");
    drop(store);
    assert!(!folder.exists(), "{folder:?} was not removed");
}

#[tokio::test]
async fn ledger_row_without_workflow_is_reported_as_orphan() {
    let folder = tempfile::tempdir().expect("the temporary directory is writable");
    let path = folder.path().join("goconductor.db");
    drop(SqliteStore::open(&path).expect("the file can be created"));
    execute(
        &path,
        "INSERT INTO dispatch VALUES (x'0199c000000070008000000000000001', '0/execute', 1, 'default', 'stock',
             'run', 'default/stock/execute', 5, 0, 5)",
    );
    let store = SqliteStore::open(&path).expect("the file can be opened");
    let found = store.orphans(10).await.expect("the read succeeds");
    let named: Vec<String> = found.iter().map(|row| format!("{} {}", row.key.id, row.key.key)).collect();
    assert_eq!(named, ["0199c000-0000-7000-8000-000000000001 0/execute"]);
    assert!(store.orphans(0).await.expect("the read succeeds").is_empty());
}

#[tokio::test]
async fn undecodable_state_error_names_the_workflow() {
    let folder = tempfile::tempdir().expect("the temporary directory is writable");
    let path = folder.path().join("goconductor.db");
    drop(SqliteStore::open(&path).expect("the file can be created"));
    let id = "0199c000-0000-7000-8000-000000000001";
    execute(
        &path,
        "INSERT INTO workflows VALUES (x'0199c000000070008000000000000001', 'default', 'order', 1, 'COMPLETED',
             '', 1, '{\"format\": 1}', 1, 1, '', '{}', NULL)",
    );
    let store = SqliteStore::open(&path).expect("the file can be opened");
    let message = store
        .load(&[id.parse().expect("the id is valid")])
        .await
        .expect_err("the state cannot be decoded")
        .to_string();
    assert!(message.starts_with(&format!("failed to decode the state of {id}: ")), "{message}");
}
