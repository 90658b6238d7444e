//! SQLite keeps every promise, in a file and in one that is gone when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use goconductor_store::Store;
use goconductor_store::conformance::{CASES, Factory};
use goconductor_store::sqlite::SqliteStore;
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
