//! SQLite keeps every promise, in a file and in one that is gone when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use goconductor_store::conformance::{CASES, Factory};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{ClusterStore, LedgerStore, Store, WorkflowStore};
use tempfile::TempDir;

/// Each store is a file of its own.
#[derive(Debug)]
struct Files {
    folder: TempDir,
    opened: AtomicU64,
    last: std::sync::Mutex<std::path::PathBuf>,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("room for a folder");
        Self { folder, opened: AtomicU64::new(0), last: std::sync::Mutex::default() }
    }
}

fn opened(path: &std::path::Path) -> Result<Arc<dyn Store>, String> {
    SqliteStore::open(path).map(|store| Arc::new(store) as _).map_err(|error| error.to_string())
}

#[async_trait]
impl Factory for Files {
    async fn open(&self) -> Result<Arc<dyn Store>, String> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.path().join(format!("{number}.db"));
        self.last.lock().expect("no panic under the lock").clone_from(&path);
        opened(&path)
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Result<Arc<dyn Store>, String> {
        drop(store);
        opened(&self.last.lock().expect("no panic under the lock"))
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

async fn conformance(factory: Arc<dyn Factory>) {
    let mut found = Vec::new();
    for case in CASES {
        if let Err(what) = case.check(Arc::clone(&factory)).await {
            found.push(format!("{}: {what}", case.name));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conformance_in_a_file() {
    conformance(Arc::new(Files::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conformance_ephemeral() {
    conformance(Arc::new(Ephemeral)).await;
}

fn refused(path: &std::path::Path) -> String {
    SqliteStore::open(path).expect_err("it can't be used").to_string()
}

/// Runs SQL over a file that nobody has open.
fn execute(path: &std::path::Path, sql: &str) {
    rusqlite::Connection::open(path).expect("a file").execute_batch(sql).expect("it can be done");
}

#[tokio::test]
async fn a_file_of_another_release_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().expect("room for a folder");
    let path = folder.path().join("goconductor.db");
    drop(SqliteStore::open(&path).expect("a new file"));
    let before = std::fs::read(&path).expect("the file");
    let version: i64 = rusqlite::Connection::open(&path)
        .and_then(|file| file.pragma_query_value(None, "user_version", |row| row.get(0)))
        .expect("a number");
    execute(&path, "PRAGMA user_version = 999");
    let said = refused(&path);
    assert!(said.contains("it has version 999"), "{said}");
    assert!(said.contains("start the release that wrote it, or a newer one"), "{said}");
    let reading = SqliteStore::open_reading(&path).expect_err("it can't be read").to_string();
    assert!(reading.contains("or a newer one"), "{reading}");
    execute(&path, &format!("PRAGMA user_version = {version}"));
    assert_eq!(std::fs::read(&path).expect("the file").len(), before.len(), "it was changed");
    SqliteStore::open(&path).expect("as it was");
    let old = folder.path().join("old.db");
    execute(&old, "CREATE TABLE something (value INTEGER)");
    let said = SqliteStore::open_reading(&old).expect_err("it is none of ours").to_string();
    assert!(
        said.contains("it has version 0") && said.contains("start `goconductor dev` of this release on it"),
        "{said}"
    );
}

#[tokio::test]
async fn one_process_writes_a_file_and_others_read_it() {
    let folder = tempfile::tempdir().expect("room for a folder");
    let path = folder.path().join("deep/down/goconductor.db");
    let writing = SqliteStore::open(&path).expect("a new file, with its folders");
    let said = refused(&path);
    assert!(said.contains("is used by another process: stop that process, or choose another"), "{said}");
    let reading = SqliteStore::open_reading(&path).expect("one may read beside it");
    assert_eq!(writing.raise_epoch("duties").await.expect("writes"), 1);
    reading.check().await.expect("of this release");
    let denied = reading.raise_epoch("duties").await.expect_err("it only reads").to_string();
    assert!(denied.contains("opened read-only"), "{denied}");
    drop(reading);
    drop(writing);
    let again = SqliteStore::open(&path).expect("the one before has let go of it");
    assert_eq!(again.raise_epoch("duties").await.expect("writes"), 2);
    let nowhere = SqliteStore::open_reading(&folder.path().join("none.db")).expect_err("not there");
    assert!(nowhere.to_string().contains("does not exist"), "{nowhere}");
}

#[tokio::test]
async fn an_ephemeral_store_leaves_nothing() {
    let store = SqliteStore::ephemeral().expect("room for a folder");
    let said = format!("{store:?}");
    let path = said.split("path: \"").nth(1).and_then(|rest| rest.split('"').next()).expect("its path");
    let folder = std::path::Path::new(path).parent().expect("a folder").to_owned();
    assert!(folder.is_dir(), "{folder:?}");
    drop(store);
    assert!(!folder.exists(), "{folder:?} is left");
}

#[tokio::test]
async fn a_row_without_a_workflow_is_found() {
    let folder = tempfile::tempdir().expect("room for a folder");
    let path = folder.path().join("goconductor.db");
    drop(SqliteStore::open(&path).expect("a new file"));
    execute(
        &path,
        "INSERT INTO dispatch VALUES (x'0199c000000070008000000000000001', '0/execute', 1, 'default', 'stock',
             'run', 'default/stock/execute', 5, 0, 5)",
    );
    let store = SqliteStore::open(&path).expect("the file");
    let found = store.orphans(10).await.expect("a read");
    let named: Vec<String> = found.iter().map(|row| format!("{} {}", row.key.id, row.key.key)).collect();
    assert_eq!(named, ["0199c000-0000-7000-8000-000000000001 0/execute"]);
    assert!(store.orphans(0).await.expect("a read").is_empty());
}

#[tokio::test]
async fn what_can_not_be_read_is_named() {
    let folder = tempfile::tempdir().expect("room for a folder");
    let path = folder.path().join("goconductor.db");
    drop(SqliteStore::open(&path).expect("a new file"));
    let id = "0199c000-0000-7000-8000-000000000001";
    execute(
        &path,
        "INSERT INTO workflows VALUES (x'0199c000000070008000000000000001', 'default', 'order', 1, 'COMPLETED',
             '', 1, '{\"format\": 1}', 1, 1, '', '{}', NULL)",
    );
    let store = SqliteStore::open(&path).expect("the file");
    let said = store.load(&[id.parse().expect("an id")]).await.expect_err("no state").to_string();
    assert!(said.starts_with(&format!("failed to decode the state of {id}: ")), "{said}");
}
