//! Batching: concurrent writes become one transaction, concurrent reads one query.
//!
//! A batch collects requests while earlier batches are in flight, so no request waits for a batch to fill. A single
//! write is sent at once, and batches grow with the load. Batches run concurrently only if each is large enough to be
//! worth its cost. [`BatchingStore`] implements the same traits as the store that it wraps.
//!
//! The module does not contain SQL and makes no decisions.
//!
//! Invariants:
//!
//! - The outcomes of a batch are returned after the batch is durable.
//! - A write that conflicts or fails does not affect the other writes of its batch.
//! - A caller that is cancelled does not cancel its batch.
//! - The changes of a workflow are published in the order of their `seq`.

mod batcher;
mod reads;
mod write_health;

use crate::{
    AccessKeyLayer, Announcement, AuditLayer, ClusterLayer, DeadLetterLayer, DefinitionLayer, DefinitionName,
    EncodedWorkflow, Error, LedgerLayer, LockLayer, MaintenanceLayer, PayloadLayer, ScheduleLayer,
    SecretLayer, ShardLeaseLayer, Store, StoreLayer, WorkflowBatchLayer, WorkflowHead, WorkflowLayer, Write,
    WriteOutcome, metrics,
};
use async_trait::async_trait;
use batcher::Batcher;
use goconductor_saga::WorkflowId;
use parking_lot::Mutex;
use reads::Reads;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::Instrument;
use write_health::WriteHealth;

/// Limits of the batches.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of writes or reads in one batch. Larger batches gain nothing: on PostgreSQL, batches of 500 were
    /// measured to be no faster than batches of 100. A lost batch also costs more the larger it is.
    pub batch_size: usize,
    /// Maximum number of batches in flight. SQLite needs one.
    pub max_concurrent_batches: usize,
    /// Maximum number of requests that are queued for the next batch. Further callers wait until there is room.
    pub queue_depth: usize,
}

impl Limits {
    /// Limits of a state store on PostgreSQL: one batch is written while the next is in transit. Measurements showed no
    /// gain from a higher concurrency.
    pub const POSTGRES: Self = Self { batch_size: 256, max_concurrent_batches: 3, queue_depth: 1024 };
    /// Limits of the requests that a process sends to a remote state store. One batch is written there while the next
    /// is in transit. With a higher concurrency the batches would only be smaller.
    pub const CALLS: Self = Self { batch_size: 256, max_concurrent_batches: 4, queue_depth: 1024 };
}

impl Default for Limits {
    fn default() -> Self {
        Self { batch_size: 256, max_concurrent_batches: 1, queue_depth: 1024 }
    }
}

/// The counter that a readiness check raises to find out whether writes succeed.
const READINESS_EPOCH: &str = "readiness";

/// Number of changes that a slow subscriber may lag behind before it misses some.
const CHANGES: usize = 4096;

type ReplySender = oneshot::Sender<Result<Vec<WriteOutcome>, Error>>;

/// The writes of one caller.
struct QueuedWrite {
    writes: Vec<Write>,
    reply: ReplySender,
}

/// A store that batches the writes and reads of its callers.
#[derive(Debug)]
pub struct BatchingStore {
    backend: Arc<dyn Store>,
    requests: mpsc::Sender<QueuedWrite>,
    workflows: Reads<WorkflowId, Option<EncodedWorkflow>>,
    newest: Reads<DefinitionName, Option<u32>>,
    changes: broadcast::Sender<WorkflowHead>,
    health: Arc<WriteHealth>,
}

impl BatchingStore {
    /// Creates a store that batches the requests to `backend`. Must be called within a Tokio runtime: it spawns tasks,
    /// which end when the store is dropped.
    #[must_use]
    pub fn new(backend: Arc<dyn Store>, limits: Limits) -> Self {
        goconductor_telemetry::describe(metrics::ALL);
        let (requests, queue) = mpsc::channel(limits.queue_depth.max(1));
        let (changes, _) = broadcast::channel(CHANGES);
        let sequencer = Arc::new(ChangeSequencer::default());
        let health: Arc<WriteHealth> = Arc::default();
        let writer = BatchWriter {
            backend: Arc::clone(&backend),
            changes: changes.clone(),
            sequencer,
            health: Arc::clone(&health),
        };
        let batcher = Batcher::new(queue, limits, |request: &QueuedWrite| request.writes.len());
        goconductor_supervisor::spawn("store-writes", writer.run(batcher));
        let workflows = Reads::new(&backend, limits, reads::load_encoded);
        let newest = Reads::new(&backend, limits, reads::newest);
        Self { backend, requests, workflows, newest, changes, health }
    }

    /// Returns the channel on which every durable change that is written through this store is published. The changes
    /// of a workflow are in the order of their `seq`.
    #[must_use]
    pub fn changes(&self) -> broadcast::Sender<WorkflowHead> {
        self.changes.clone()
    }
}

impl StoreLayer for BatchingStore {
    fn inner(&self) -> &dyn Store {
        &*self.backend
    }
}

#[async_trait]
impl WorkflowLayer for BatchingStore {
    async fn write(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        let (reply, response) = oneshot::channel();
        self.requests.send(QueuedWrite { writes: batch, reply }).await.map_err(|_| writer_closed())?;
        let lost = || Error::outcome_unknown("the writer task ended before it responded");
        response.await.unwrap_or_else(|_| Err(lost()))
    }

    async fn load_encoded(&self, ids: &[WorkflowId]) -> Result<Vec<Option<EncodedWorkflow>>, Error> {
        self.workflows.read(ids).await
    }
}

#[async_trait]
impl DefinitionLayer for BatchingStore {
    async fn newest(&self, names: &[DefinitionName]) -> Result<Vec<Option<u32>>, Error> {
        self.newest.read(names).await
    }
}

#[async_trait]
impl ClusterLayer for BatchingStore {
    async fn announce(&self, member: &Announcement) -> Result<(), Error> {
        let announced = self.backend.announce(member).await;
        self.health.record(&announced);
        announced
    }

    /// Also checks that writes succeed.
    async fn check(&self) -> Result<(), Error> {
        self.backend.check().await?;
        self.health.check(self.backend.raise_epoch(READINESS_EPOCH)).await
    }
}

impl LedgerLayer for BatchingStore {}
impl AccessKeyLayer for BatchingStore {}
impl LockLayer for BatchingStore {}
impl DeadLetterLayer for BatchingStore {}
impl ShardLeaseLayer for BatchingStore {}
impl AuditLayer for BatchingStore {}
impl SecretLayer for BatchingStore {}

impl WorkflowBatchLayer for BatchingStore {}
impl ScheduleLayer for BatchingStore {}
impl PayloadLayer for BatchingStore {}
impl MaintenanceLayer for BatchingStore {}

/// Publishes the changes of batches in the order in which the batches were formed. A batch that builds on another one
/// was formed after it, but concurrent batches may complete in any order.
#[derive(Debug, Default)]
struct ChangeSequencer {
    /// The batches in flight, and those that completed before an earlier one, with their changes.
    batches: Mutex<VecDeque<(u64, Option<Vec<WorkflowHead>>)>>,
}

impl ChangeSequencer {
    /// Returns the number of a new batch. Must be called in the order in which the batches are formed.
    fn next_batch(&self) -> u64 {
        let mut batches = self.batches.lock();
        let number = batches.back().map_or(0, |(last, _)| last.wrapping_add(1));
        batches.push_back((number, None));
        number
    }

    /// Publishes the changes of a batch once those of all earlier batches are published. Does not block.
    fn complete(&self, number: u64, changes: Vec<WorkflowHead>, to: &broadcast::Sender<WorkflowHead>) {
        let mut batches = self.batches.lock();
        if let Some((_, slot)) = batches.iter_mut().find(|(each, _)| *each == number) {
            *slot = Some(changes);
        }
        while let Some((_, Some(changes))) = batches.front() {
            for seen in changes {
                // Fails if there is no subscriber.
                drop(to.send(*seen));
            }
            batches.pop_front();
        }
    }
}

/// Writes batches to the backend.
#[derive(Clone)]
struct BatchWriter {
    backend: Arc<dyn Store>,
    changes: broadcast::Sender<WorkflowHead>,
    sequencer: Arc<ChangeSequencer>,
    health: Arc<WriteHealth>,
}

impl BatchWriter {
    async fn run(self, mut batcher: Batcher<QueuedWrite>) {
        let mut in_flight = JoinSet::new();
        while let Some(batch) = batcher.next(&mut in_flight).await {
            let (writer, number) = (self.clone(), self.sequencer.next_batch());
            let span = tracing::debug_span!("write_batch", batch = number, requests = batch.len());
            in_flight.spawn(async move { writer.write(number, batch).await }.instrument(span));
        }
    }

    async fn write(&self, number: u64, batch: Vec<QueuedWrite>) {
        let batch_in_sequence = BatchInSequence { writer: self, number, changes: Vec::new() };
        let writes: Vec<Write> = batch.iter().flat_map(|request| request.writes.iter().cloned()).collect();
        let changes = match self.write_batch(writes).await {
            Ok(outcomes) => {
                let changes = changes(batch.iter().flat_map(|request| &request.writes), &outcomes);
                batch_in_sequence.complete(changes);
                let mut outcomes = outcomes.into_iter();
                for request in batch {
                    let count = request.writes.len();
                    request.reply(Ok(outcomes.by_ref().take(count).collect()));
                }
                return;
            }
            Err(error) if batch.len() > 1 && self.is_of_one_request(&error).await => {
                self.write_each(batch).await
            }
            Err(error) => {
                reject(batch, &error);
                Vec::new()
            }
        };
        batch_in_sequence.complete(changes);
    }

    async fn write_batch(&self, writes: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        #[allow(clippy::cast_precision_loss, reason = "a batch has at most a few hundred writes")]
        metrics::BATCH_SIZE.record(writes.len() as f64);
        let started = tokio::time::Instant::now();
        let written = self.backend.write(writes).await;
        metrics::WRITE_TIME.record(started.elapsed().as_secs_f64());
        self.health.record(&written);
        if written.is_err() {
            metrics::WRITE_ERRORS.increment(1);
        }
        written
    }

    /// Returns whether a batch was certainly not written although the database is available. Then one of its requests
    /// may be at fault, and the others can be written without it.
    async fn is_of_one_request(&self, error: &Error) -> bool {
        let certain = match error {
            Error::Unavailable { .. } | Error::Corrupt { .. } => true,
            Error::OutcomeUnknown { .. }
            | Error::Fenced { .. }
            | Error::Schema { .. }
            | Error::Configuration { .. } => false,
        };
        certain && self.backend.check().await.is_ok()
    }

    /// Writes the requests of a batch one by one for as long as the database is available, and returns their changes.
    async fn write_each(&self, batch: Vec<QueuedWrite>) -> Vec<WorkflowHead> {
        let mut all = Vec::new();
        let mut requests = batch.into_iter();
        while let Some(request) = requests.next() {
            match self.write_batch(request.writes.clone()).await {
                Ok(outcomes) => {
                    all.extend(changes(&request.writes, &outcomes));
                    request.reply(Ok(outcomes));
                }
                Err(error) => {
                    if self.is_of_one_request(&error).await {
                        tracing::warn!(%error, "a write failed and was removed from its batch");
                    } else {
                        reject(requests.by_ref(), &error);
                    }
                    request.reply(Err(error));
                }
            }
        }
        all
    }
}

/// The place of a batch in the sequence of changes. The batch is completed when the place is dropped, also by a panic and
/// then without changes, because the changes of all later batches wait for it.
struct BatchInSequence<'a> {
    writer: &'a BatchWriter,
    number: u64,
    changes: Vec<WorkflowHead>,
}

impl BatchInSequence<'_> {
    fn complete(mut self, changes: Vec<WorkflowHead>) {
        self.changes = changes;
    }
}

impl Drop for BatchInSequence<'_> {
    fn drop(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        self.writer.sequencer.complete(self.number, changes, &self.writer.changes);
    }
}

impl QueuedWrite {
    fn reply(self, result: Result<Vec<WriteOutcome>, Error>) {
        // Fails if the caller was cancelled.
        drop(self.reply.send(result));
    }
}

fn reject(batch: impl IntoIterator<Item = QueuedWrite>, error: &Error) {
    for request in batch {
        request.reply(Err(error.clone()));
    }
}

/// Returns the changes that the successful writes of a batch made.
fn changes<'a>(writes: impl IntoIterator<Item = &'a Write>, outcomes: &[WriteOutcome]) -> Vec<WorkflowHead> {
    let written = outcomes.iter().map(|outcome| matches!(outcome, WriteOutcome::Written));
    writes.into_iter().zip(written).filter(|(_, written)| *written).map(|(write, _)| change(write)).collect()
}

fn change(write: &Write) -> WorkflowHead {
    let record = match write {
        Write::Start(new) => &new.write.record,
        Write::Transition(write) => &write.record,
    };
    WorkflowHead { id: record.id, seq: record.seq, status: record.status }
}

fn writer_closed() -> Error {
    Error::unavailable("the store has been shut down")
}
