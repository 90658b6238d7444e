//! A caller does not know whether it talks to a database or to a group.

use std::sync::Arc;

use async_trait::async_trait;
use goconductor_store::Store;
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::conformance::{CASES, Factory};
use goconductor_store::sqlite::SqliteStore;

#[derive(Debug)]
struct Groups(Limits);

#[async_trait]
impl Factory for Groups {
    async fn open(&self) -> Result<Arc<dyn Store>, String> {
        let backend = SqliteStore::ephemeral().map_err(|error| error.to_string())?;
        Ok(Arc::new(BatchingStore::new(Arc::new(backend), self.0)))
    }
}

async fn keeps_every_promise(limits: Limits, but: &[&str]) {
    let mut found = Vec::new();
    for case in CASES.iter().filter(|case| !but.contains(&case.name)) {
        if let Err(what) = case.check(Arc::new(Groups(limits))).await {
            found.push(format!("{}: {what}", case.name));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_one_lane() {
    keeps_every_promise(Limits::default(), &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_small_groups_on_many_lanes() {
    keeps_every_promise(Limits { batch_size: 3, max_concurrent_batches: 4, queue_depth: 2 }, &[]).await;
}
