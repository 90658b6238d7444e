//! A store that records its batches, and that tests can block and make fail.

use async_trait::async_trait;
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{
    AccessKeyLayer, AuditLayer, ClusterLayer, ClusterStore, DeadLetterLayer, DefinitionLayer, Error,
    LedgerLayer, LockLayer, MaintenanceLayer, PayloadLayer, ScheduleLayer, SecretLayer, ShardLeaseLayer,
    Store, StoreLayer, WorkflowBatchLayer, WorkflowLayer, WorkflowStore, Write, WriteOutcome,
};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// A point at which tests can block a batch.
#[derive(Debug)]
pub(crate) struct Gate {
    to_block: AtomicUsize,
    permits: Semaphore,
    arrived: Semaphore,
}

impl Gate {
    fn open() -> Self {
        Self { to_block: AtomicUsize::new(0), permits: Semaphore::new(0), arrived: Semaphore::new(0) }
    }

    /// Forgets all arrivals and blocks the next batch.
    pub(crate) fn block_next(&self) {
        self.arrived.forget_permits(usize::MAX);
        self.to_block.store(1, Ordering::Relaxed);
    }

    /// Waits for the arrival of a batch.
    pub(crate) async fn arrived(&self) {
        self.arrived.acquire().await.expect("never closed").forget();
    }

    /// Releases the blocked batch.
    pub(crate) fn release(&self) {
        self.permits.add_permits(1);
    }

    async fn pass(&self) {
        self.arrived.add_permits(1);
        if self.to_block.swap(0, Ordering::Relaxed) > 0 {
            self.permits.acquire().await.expect("never closed").forget();
        }
    }
}

/// The error of a batch that is not written. `None` if the batch is written.
type Failure = Option<fn() -> Error>;

#[derive(Debug)]
pub(crate) struct InstrumentedStore {
    inner: SqliteStore,
    /// The number of writes of each batch, in the order of the batches.
    sizes: Mutex<Vec<usize>>,
    /// The gate before a batch is written.
    pub(crate) before: Gate,
    /// The gate after a batch is written and before its outcomes are returned.
    pub(crate) after: Gate,
    /// The failures of the next batches.
    failures: Mutex<VecDeque<Failure>>,
    /// Whether `check` succeeds.
    pub(crate) healthy: AtomicBool,
}

impl InstrumentedStore {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: SqliteStore::ephemeral().expect("a temporary directory"),
            sizes: Mutex::default(),
            before: Gate::open(),
            after: Gate::open(),
            failures: Mutex::default(),
            healthy: AtomicBool::new(true),
        })
    }

    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().clone()
    }

    pub(crate) fn fail_next(&self, failures: &[Failure]) {
        self.failures.lock().extend(failures.iter().copied());
    }
}

impl StoreLayer for InstrumentedStore {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }
}

#[async_trait]
impl WorkflowLayer for InstrumentedStore {
    async fn write(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        self.sizes.lock().push(batch.len());
        self.before.pass().await;
        let failure = self.failures.lock().pop_front().flatten();
        if let Some(error) = failure {
            return Err(error());
        }
        let written = self.inner.write(batch).await;
        self.after.pass().await;
        written
    }
}

#[async_trait]
impl ClusterLayer for InstrumentedStore {
    async fn check(&self) -> Result<(), Error> {
        if !self.healthy.load(Ordering::Relaxed) {
            return Err(Error::unavailable("connection refused"));
        }
        self.inner.check().await
    }
}

impl LedgerLayer for InstrumentedStore {}
impl DefinitionLayer for InstrumentedStore {}
impl AccessKeyLayer for InstrumentedStore {}
impl LockLayer for InstrumentedStore {}
impl DeadLetterLayer for InstrumentedStore {}
impl ShardLeaseLayer for InstrumentedStore {}
impl AuditLayer for InstrumentedStore {}
impl SecretLayer for InstrumentedStore {}

impl WorkflowBatchLayer for InstrumentedStore {}
impl ScheduleLayer for InstrumentedStore {}

impl PayloadLayer for InstrumentedStore {}
impl MaintenanceLayer for InstrumentedStore {}
