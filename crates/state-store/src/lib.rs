//! The state store: groups what arrives together into one database transaction.
//!
//! A group forms while the one before it is being written, so nobody waits for it to fill: a lone write
//! goes at once, and under load the groups grow by themselves. [`StateStore`] is itself a
//! [`Store`], so a caller does not know whether it talks to a database or to a group.
//!
//! It deliberately knows no SQL and takes no decision.
//!
//! Invariants: the answers of a group are given once it is durable; a member that lost its race says so
//! and holds up nobody; a caller who goes away takes nothing with him.

use async_trait::async_trait;
use goconductor_saga::{Event, State, Timestamp, WorkflowId};
use goconductor_store::{
    Claim, ClaimRequest, Count, DefinitionRecord, Error, Field, Filter, LedgerRow, LedgerRowKey, ListPage,
    ListRequest, Loaded, NewDefinition, PutDefinition, Seen, ServiceRecord, Store, Write, WriteOutcome,
};
use std::sync::Arc;
use tokio::sync::{Mutex, broadcast, mpsc, oneshot};

/// How much is grouped, and how much may wait.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Starts and transitions in one database transaction at most: beyond this a group gains nothing
    /// (measured on PostgreSQL: groups of 500 are no faster than groups of 100), and a lost one costs more.
    pub group: usize,
    /// Groups that are being written at once: one for SQLite, two keep PostgreSQL's disk busy.
    pub lanes: usize,
    /// Callers that may wait for the next group; one more waits for a place.
    pub waiting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { group: 256, lanes: 1, waiting: 1024 }
    }
}

/// How many changes a slow listener may lag behind before it is told that it missed some.
const CHANGES: usize = 4096;

/// Where the answer to one caller goes.
type Answer = oneshot::Sender<Result<Vec<WriteOutcome>, Error>>;

/// One caller's writes, and where the answer goes.
struct Request {
    writes: Vec<Write>,
    answer: Answer,
}

/// A store that groups the writes of many callers.
#[derive(Debug)]
pub struct StateStore {
    backend: Arc<dyn Store>,
    requests: mpsc::Sender<Request>,
    changes: broadcast::Sender<Seen>,
}

impl StateStore {
    /// Groups the writes to a backend. To be called within a runtime: the lanes are its tasks, and end
    /// when the store is dropped.
    #[must_use]
    pub fn new(backend: Arc<dyn Store>, limits: Limits) -> Self {
        let (requests, waiting) = mpsc::channel(limits.waiting.max(1));
        let (changes, _) = broadcast::channel(CHANGES);
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..limits.lanes.max(1) {
            let lane = Lane {
                backend: Arc::clone(&backend),
                waiting: Arc::clone(&waiting),
                changes: changes.clone(),
                group: limits.group.max(1),
            };
            tokio::spawn(lane.run());
        }
        Self { backend, requests, changes }
    }

    /// Every durable change of a workflow that was written through this store, as it is written.
    #[must_use]
    pub fn changes(&self) -> broadcast::Sender<Seen> {
        self.changes.clone()
    }
}

struct Lane {
    backend: Arc<dyn Store>,
    waiting: Arc<Mutex<mpsc::Receiver<Request>>>,
    changes: broadcast::Sender<Seen>,
    group: usize,
}

impl Lane {
    async fn run(self) {
        loop {
            let group = self.next_group().await;
            if group.is_empty() {
                return;
            }
            self.write(group).await;
        }
    }

    /// All that waits now, but at least one; nothing once the store is gone.
    async fn next_group(&self) -> Vec<Request> {
        let mut waiting = self.waiting.lock().await;
        let Some(first) = waiting.recv().await else { return Vec::new() };
        let mut size = first.writes.len();
        let mut group = vec![first];
        while size < self.group
            && let Ok(next) = waiting.try_recv()
        {
            size += next.writes.len();
            group.push(next);
        }
        group
    }

    async fn write(&self, group: Vec<Request>) {
        let mut writes = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        for request in group {
            answers.push((request.writes.len(), request.answer));
            writes.extend(request.writes);
        }
        let seen: Vec<Seen> = writes.iter().map(after).collect();
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        metrics::histogram!("goconductor_store_group_size").record(writes.len() as f64);
        let begun = tokio::time::Instant::now();
        let written = self.backend.write(writes).await;
        metrics::histogram!("goconductor_store_write_seconds").record(begun.elapsed().as_secs_f64());
        match written {
            Ok(outcomes) => self.answer(answers, outcomes, &seen),
            Err(error) => {
                metrics::counter!("goconductor_store_write_errors_total").increment(1);
                for (_, answer) in answers {
                    // A caller who went away does not want to know.
                    drop(answer.send(Err(again(&error))));
                }
            }
        }
    }

    fn answer(&self, answers: Vec<(usize, Answer)>, outcomes: Vec<WriteOutcome>, seen: &[Seen]) {
        for (outcome, seen) in outcomes.iter().zip(seen) {
            if matches!(outcome, WriteOutcome::Written) {
                // Nobody may be listening.
                drop(self.changes.send(*seen));
            }
        }
        let mut outcomes = outcomes.into_iter();
        for (count, answer) in answers {
            drop(answer.send(Ok(outcomes.by_ref().take(count).collect())));
        }
    }
}

fn after(write: &Write) -> Seen {
    let state: &State = match write {
        Write::Start(new) => &new.write.transition.state,
        Write::Transition(write) => &write.transition.state,
    };
    Seen { id: state.id, seq: state.seq, status: state.status() }
}

/// The same error for each member of a group.
fn again(error: &Error) -> Error {
    match error {
        Error::Unavailable { reason } => Error::Unavailable { reason: reason.clone() },
        Error::OutcomeUnknown { reason } => Error::OutcomeUnknown { reason: reason.clone() },
        Error::Fenced { name, token, newest } => {
            Error::Fenced { name: name.clone(), token: *token, newest: *newest }
        }
        Error::Schema { reason } => Error::Schema { reason: reason.clone() },
        Error::Corrupt { what, reason } => Error::Corrupt { what: what.clone(), reason: reason.clone() },
        Error::Configuration { reason } => Error::Configuration { reason: reason.clone() },
    }
}

fn gone() -> Error {
    Error::Unavailable { reason: "the state store has been shut down".to_owned() }
}

#[async_trait]
impl Store for StateStore {
    async fn write(&self, group: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { writes: group, answer }).await.map_err(|_| gone())?;
        let lost = || Error::OutcomeUnknown { reason: "the writer has gone".to_owned() };
        answered.await.unwrap_or_else(|_| Err(lost()))
    }

    async fn load(&self, ids: &[WorkflowId]) -> Result<Vec<Option<Loaded>>, Error> {
        self.backend.load(ids).await
    }

    async fn history(&self, id: WorkflowId, after_seq: u64, limit: u32) -> Result<Vec<Event>, Error> {
        self.backend.history(id, after_seq, limit).await
    }

    async fn seen(&self, ids: &[WorkflowId]) -> Result<Vec<Seen>, Error> {
        self.backend.seen(ids).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, Error> {
        self.backend.list(request).await
    }

    async fn counts(&self, namespace: &str, by: Field, filter: Option<&Filter>) -> Result<Vec<Count>, Error> {
        self.backend.counts(namespace, by, filter).await
    }

    async fn put_definition(&self, new: NewDefinition) -> Result<PutDefinition, Error> {
        self.backend.put_definition(new).await
    }

    async fn definition(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, Error> {
        self.backend.definition(namespace, name, version).await
    }

    async fn definitions(&self, namespace: &str, name: Option<&str>) -> Result<Vec<DefinitionRecord>, Error> {
        self.backend.definitions(namespace, name).await
    }

    async fn put_service(&self, service: ServiceRecord) -> Result<(), Error> {
        self.backend.put_service(service).await
    }

    async fn services(&self) -> Result<Vec<ServiceRecord>, Error> {
        self.backend.services().await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Error> {
        self.backend.claim(request).await
    }

    async fn extend(&self, rows: &[LedgerRowKey], due_at: Timestamp) -> Result<(), Error> {
        self.backend.extend(rows, due_at).await
    }

    async fn release(&self, rows: &[LedgerRowKey]) -> Result<(), Error> {
        self.backend.release(rows).await
    }

    async fn expire_deliveries(&self, now: Timestamp) -> Result<u64, Error> {
        self.backend.expire_deliveries(now).await
    }

    async fn ledger(&self, ids: &[WorkflowId]) -> Result<Vec<LedgerRow>, Error> {
        self.backend.ledger(ids).await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Vec<(String, u64)>, Error> {
        self.backend.backlog(now).await
    }

    async fn ids(&self, after: Option<WorkflowId>, limit: u32) -> Result<Vec<WorkflowId>, Error> {
        self.backend.ids(after, limit).await
    }

    async fn orphans(&self, limit: u32) -> Result<Vec<LedgerRow>, Error> {
        self.backend.orphans(limit).await
    }

    async fn raise_epoch(&self, name: &str) -> Result<u64, Error> {
        self.backend.raise_epoch(name).await
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        self.backend.now().await
    }

    async fn check(&self) -> Result<(), Error> {
        self.backend.check().await
    }
}
