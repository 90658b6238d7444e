//! A store and a queue that fail or wait when a test asks for it.

use async_trait::async_trait;
use goconductor_queue::memory::{Limits, MemoryQueue};
use goconductor_queue::{Backlog, Consumer, Message, Queue, Topic};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{
    AccessKeyLayer, AuditLayer, ClusterLayer, DeadLetterLayer, DefinitionLayer, Error, LedgerLayer,
    LockLayer, MaintenanceLayer, PayloadLayer, ScheduleLayer, SecretLayer, ShardLeaseLayer, Store,
    StoreLayer, WorkflowBatchLayer, WorkflowLayer, WorkflowStore, Write, WriteOutcome,
};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A fault of one write.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// The write is committed, and its response is lost.
    LoseResponse,
    /// The write is not committed, and the store cannot say so.
    LoseRequest,
}

/// A point at which writes can be blocked.
#[derive(Debug)]
pub(crate) struct Gate {
    blocked: Mutex<bool>,
    entered: Semaphore,
    permits: Semaphore,
}

impl Gate {
    fn new() -> Self {
        Self { blocked: Mutex::new(false), entered: Semaphore::new(0), permits: Semaphore::new(0) }
    }

    /// Blocks the next write.
    pub(crate) fn block_next(&self) {
        *self.blocked.lock() = true;
    }

    /// Waits until a write is blocked.
    pub(crate) async fn entered(&self) {
        self.entered.acquire().await.unwrap().forget();
    }

    /// Lets the blocked write continue.
    pub(crate) fn open(&self) {
        self.permits.add_permits(1);
    }

    async fn pass(&self) {
        if !std::mem::take(&mut *self.blocked.lock()) {
            return;
        }
        self.entered.add_permits(1);
        self.permits.acquire().await.unwrap().forget();
    }
}

/// A store that records its writes, and that fails or blocks them on demand.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<SqliteStore>,
    pub(crate) gate: Gate,
    fault: Mutex<Option<Fault>>,
    /// The number of events of each write, in order of arrival.
    writes: Mutex<Vec<usize>>,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<SqliteStore>) -> Arc<Self> {
        Arc::new(Self { inner, gate: Gate::new(), fault: Mutex::new(None), writes: Mutex::default() })
    }

    /// Makes the next write fail.
    pub(crate) fn fail_next(&self, fault: Fault) {
        *self.fault.lock() = Some(fault);
    }

    /// Returns the number of events of each write since the last call.
    pub(crate) fn take_writes(&self) -> Vec<usize> {
        std::mem::take(&mut *self.writes.lock())
    }
}

impl StoreLayer for FaultyStore {
    fn inner(&self) -> &dyn Store {
        &*self.inner
    }
}

#[async_trait]
impl WorkflowLayer for FaultyStore {
    async fn write(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        for write in &batch {
            let record = match write {
                Write::Start(new) => &new.write.record,
                Write::Transition(transition) => &transition.record,
            };
            self.writes.lock().push(record.events.len());
        }
        self.gate.pass().await;
        let fault = self.fault.lock().take();
        if let Some(Fault::LoseRequest) = fault {
            return Err(Error::outcome_unknown("the connection was closed before the commit"));
        }
        let outcomes = self.inner.write(batch).await?;
        match fault {
            Some(Fault::LoseResponse) => {
                Err(Error::outcome_unknown("the connection was closed after the commit"))
            }
            Some(Fault::LoseRequest) | None => Ok(outcomes),
        }
    }
}

impl LedgerLayer for FaultyStore {}
impl DefinitionLayer for FaultyStore {}
impl ClusterLayer for FaultyStore {}
impl AccessKeyLayer for FaultyStore {}
impl LockLayer for FaultyStore {}
impl DeadLetterLayer for FaultyStore {}
impl ShardLeaseLayer for FaultyStore {}
impl AuditLayer for FaultyStore {}
impl SecretLayer for FaultyStore {}

impl WorkflowBatchLayer for FaultyStore {}
impl ScheduleLayer for FaultyStore {}

impl PayloadLayer for FaultyStore {}
impl MaintenanceLayer for FaultyStore {}

/// A queue whose publishes fail on demand.
#[derive(Debug)]
pub(crate) struct FaultyQueue {
    inner: MemoryQueue,
    error: Mutex<Option<goconductor_queue::Error>>,
}

impl FaultyQueue {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { inner: MemoryQueue::new(Limits::default()), error: Mutex::new(None) })
    }

    /// Makes the next publish fail without publishing a message.
    pub(crate) fn fail_next(&self, error: goconductor_queue::Error) {
        *self.error.lock() = Some(error);
    }
}

#[async_trait]
impl Queue for FaultyQueue {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), goconductor_queue::Error> {
        if let Some(error) = self.error.lock().take() {
            return Err(error);
        }
        self.inner.publish(topic, messages).await
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, goconductor_queue::Error> {
        self.inner.consume(topic).await
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, goconductor_queue::Error> {
        self.inner.backlog(topic).await
    }

    async fn has_consumer(&self, topic: &Topic) -> Result<bool, goconductor_queue::Error> {
        self.inner.has_consumer(topic).await
    }
}
