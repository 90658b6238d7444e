//! A store that can be watched, held up, and made to fail.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;

use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{
    ClusterLayer, ClusterStore, DeadLetterLayer, DefinitionLayer, Error, LedgerLayer, LockLayer,
    MaintenanceLayer, ShardLeaseLayer, Store, StoreLayer, WorkflowLayer, WorkflowStore, Write, WriteOutcome,
};
use tokio::sync::Semaphore;

/// A place where groups can be made to wait.
#[derive(Debug)]
pub(crate) struct Gate {
    to_hold: AtomicUsize,
    permits: Semaphore,
    arrived: Semaphore,
}

impl Gate {
    fn open() -> Self {
        Self { to_hold: AtomicUsize::new(0), permits: Semaphore::new(0), arrived: Semaphore::new(0) }
    }

    /// Nobody has come so far, and the next one waits.
    pub(crate) fn hold_next(&self) {
        self.arrived.forget_permits(usize::MAX);
        self.to_hold.store(1, Ordering::Relaxed);
    }

    /// One more has come.
    pub(crate) async fn arrived(&self) {
        self.arrived.acquire().await.expect("never closed").forget();
    }

    /// The one who waits goes on.
    pub(crate) fn let_go(&self) {
        self.permits.add_permits(1);
    }

    async fn go_through(&self) {
        self.arrived.add_permits(1);
        if self.to_hold.swap(0, Ordering::Relaxed) > 0 {
            self.permits.acquire().await.expect("never closed").forget();
        }
    }
}

/// What a group is answered with instead of being written; none: it is written.
type Said = Option<fn() -> Error>;

#[derive(Debug)]
pub(crate) struct Watched {
    inner: SqliteStore,
    /// How many writes each group had, in the order in which they came.
    sizes: Mutex<Vec<usize>>,
    /// Before a group is written.
    pub(crate) before: Gate,
    /// After it is written, before that is said.
    pub(crate) after: Gate,
    /// What the next groups are answered with.
    pub(crate) says: Mutex<VecDeque<Said>>,
    /// Whether the database is well.
    pub(crate) well: AtomicBool,
}

impl Watched {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: SqliteStore::ephemeral().expect("room for a folder"),
            sizes: Mutex::default(),
            before: Gate::open(),
            after: Gate::open(),
            says: Mutex::default(),
            well: AtomicBool::new(true),
        })
    }

    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.sizes.lock().expect("no panic under the lock").clone()
    }

    pub(crate) fn says(&self, what: &[Said]) {
        self.says.lock().expect("no panic under the lock").extend(what.iter().copied());
    }
}

impl StoreLayer for Watched {
    fn inner(&self) -> &dyn Store {
        &self.inner
    }
}

#[async_trait]
impl WorkflowLayer for Watched {
    async fn write(&self, group: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        self.sizes.lock().expect("no panic under the lock").push(group.len());
        self.before.go_through().await;
        if let Some(Some(error)) = self.says.lock().expect("no panic under the lock").pop_front() {
            return Err(error());
        }
        let written = self.inner.write(group).await;
        self.after.go_through().await;
        written
    }
}

#[async_trait]
impl ClusterLayer for Watched {
    async fn check(&self) -> Result<(), Error> {
        if !self.well.load(Ordering::Relaxed) {
            return Err(Error::unavailable("away"));
        }
        self.inner.check().await
    }
}

impl LedgerLayer for Watched {}
impl DefinitionLayer for Watched {}
impl LockLayer for Watched {}
impl DeadLetterLayer for Watched {}
impl ShardLeaseLayer for Watched {}
impl MaintenanceLayer for Watched {}
