//! The batching store passes the conformance cases of the port.

use std::sync::Arc;

use async_trait::async_trait;
use goconductor_store::Store;
use goconductor_store::batching::{BatchingStore, Limits};
use goconductor_store::conformance::{CASES, Factory};
use goconductor_store::sqlite::SqliteStore;

#[derive(Debug)]
struct Batching(Limits);

#[async_trait]
impl Factory for Batching {
    async fn open(&self) -> Result<Arc<dyn Store>, String> {
        let backend = SqliteStore::ephemeral().map_err(|error| error.to_string())?;
        Ok(Arc::new(BatchingStore::new(Arc::new(backend), self.0)))
    }
}

async fn passes_all_cases(limits: Limits) {
    let mut failed = Vec::new();
    for case in CASES {
        if let Err(why) = case.check(Arc::new(Batching(limits))).await {
            failed.push(format!("{}: {why}", case.name));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn store_with_one_batch_in_flight_passes_all_cases() {
    passes_all_cases(Limits::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn store_with_small_concurrent_batches_passes_all_cases() {
    passes_all_cases(Limits { batch_size: 3, max_concurrent_batches: 4, queue_depth: 2 }).await;
}
