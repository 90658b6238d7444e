//! Groups what arrives together: writes into one transaction, reads of workflows into one read.
//!
//! A group forms while the one before it is under way, so nobody waits for it to fill: a lone write
//! goes at once, and under load the groups grow by themselves. Several are under way at once only where each
//! is large enough to be worth it. [`Grouped`] is itself a [`Store`], so a caller
//! does not know whether it talks to a database, to a state store in another process, or to a group.
//!
//! It deliberately knows no SQL and takes no decision.
//!
//! Invariants: the answers of a group are given once it is durable; a member that lost its race says so,
//! one that can't be written gets its error, and neither holds up anybody; a caller who goes away takes
//! nothing with him; changes of one workflow are announced in order.

mod former;
mod reads;

use crate::{
    ClusterLayer, DeadLetterLayer, DefinitionLayer, DefinitionName, Error, LedgerLayer, LockLayer,
    MaintenanceLayer, Seen, ShardLeaseLayer, Store, StoreLayer, Stored, WorkflowLayer, Write, WriteOutcome,
};
use async_trait::async_trait;
use former::Former;
use goconductor_saga::WorkflowId;
use reads::Reads;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;

/// How much is grouped, and how much may wait.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Starts and transitions in one database transaction at most: beyond this a group gains nothing
    /// (measured on PostgreSQL: groups of 500 are no faster than groups of 100), and a lost one costs more.
    pub group: usize,
    /// Groups that are being written at once: one for SQLite.
    pub lanes: usize,
    /// Callers that may wait for the next group; one more waits for a place.
    pub waiting: usize,
}

impl Limits {
    /// Of a state store over PostgreSQL: one group is written while the next is on its way. More lanes gain nothing
    /// (measured).
    pub const POSTGRES: Self = Self { group: 256, lanes: 3, waiting: 1024 };
    /// Of what one process has on its way to a state store in another. While one group is being written there
    /// the next is on its way; more of them would only be smaller.
    pub const CALLS: Self = Self { group: 256, lanes: 4, waiting: 1024 };
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

/// A store that groups the writes, and the reads, of many callers.
#[derive(Debug)]
pub struct Grouped {
    backend: Arc<dyn Store>,
    requests: mpsc::Sender<Request>,
    stored: Reads<WorkflowId, Option<Stored>>,
    newest: Reads<DefinitionName, Option<u32>>,
    changes: broadcast::Sender<Seen>,
}

impl Grouped {
    /// Groups the writes to a backend. To be called within a runtime: groups are its tasks, and end when the
    /// store is dropped.
    #[must_use]
    pub fn new(backend: Arc<dyn Store>, limits: Limits) -> Self {
        let (requests, waiting) = mpsc::channel(limits.waiting.max(1));
        let (changes, _) = broadcast::channel(CHANGES);
        let announcements = Arc::new(Announcements::default());
        let writer = Writer { backend: Arc::clone(&backend), changes: changes.clone(), announcements };
        tokio::spawn(writer.run(Former::new(waiting, limits, |request: &Request| request.writes.len())));
        let stored = Reads::new(&backend, limits, reads::stored);
        let newest = Reads::new(&backend, limits, reads::newest);
        Self { backend, requests, stored, newest, changes }
    }

    /// Every durable change of a workflow that was written through this store; those of one workflow in
    /// the order of their `seq`.
    #[must_use]
    pub fn changes(&self) -> broadcast::Sender<Seen> {
        self.changes.clone()
    }
}

/// Puts the changes of groups in the order in which the groups were formed. A group that builds on
/// another was formed after it, but with more lanes than one it may be heard of first.
#[derive(Debug, Default)]
struct Announcements {
    /// The groups that are being written, and those that wait for an earlier one with their changes.
    formed: std::sync::Mutex<VecDeque<(u64, Option<Vec<Seen>>)>>,
}

impl Announcements {
    /// The next group's number. To be called while groups are formed one at a time.
    fn form(&self) -> u64 {
        let mut formed = self.formed.lock().unwrap_or_else(PoisonError::into_inner);
        let number = formed.back().map_or(0, |(last, _)| last.wrapping_add(1));
        formed.push_back((number, None));
        number
    }

    /// Announces a group's changes once those of all earlier groups are; nobody waits for that here.
    fn written(&self, number: u64, changes: Vec<Seen>, to: &broadcast::Sender<Seen>) {
        let mut formed = self.formed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, slot)) = formed.iter_mut().find(|(each, _)| *each == number) {
            *slot = Some(changes);
        }
        while let Some((_, Some(changes))) = formed.front() {
            for seen in changes {
                // Nobody may be listening.
                drop(to.send(*seen));
            }
            formed.pop_front();
        }
    }
}

/// Carries groups out.
#[derive(Clone)]
struct Writer {
    backend: Arc<dyn Store>,
    changes: broadcast::Sender<Seen>,
    announcements: Arc<Announcements>,
}

impl Writer {
    async fn run(self, mut former: Former<Request>) {
        let mut under_way = JoinSet::new();
        while let Some(group) = former.next(&mut under_way).await {
            let (writer, number) = (self.clone(), self.announcements.form());
            under_way.spawn(async move { writer.write(number, group).await });
        }
    }

    async fn write(&self, number: u64, group: Vec<Request>) {
        let writes: Vec<Write> = group.iter().flat_map(|request| request.writes.iter().cloned()).collect();
        let changes = match self.write_group(writes).await {
            Ok(outcomes) => {
                let changes = changes(group.iter().flat_map(|request| &request.writes), &outcomes);
                self.announcements.written(number, changes, &self.changes);
                let mut outcomes = outcomes.into_iter();
                for request in group {
                    let count = request.writes.len();
                    request.answer(Ok(outcomes.by_ref().take(count).collect()));
                }
                return;
            }
            Err(error) if group.len() > 1 && self.is_a_members(&error).await => self.write_each(group).await,
            Err(error) => {
                refuse(group, &error);
                Vec::new()
            }
        };
        self.announcements.written(number, changes, &self.changes);
    }

    async fn write_group(&self, writes: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        metrics::histogram!("goconductor_store_group_size").record(writes.len() as f64);
        let begun = tokio::time::Instant::now();
        let written = self.backend.write(writes).await;
        metrics::histogram!("goconductor_store_write_seconds").record(begun.elapsed().as_secs_f64());
        if written.is_err() {
            metrics::counter!("goconductor_store_write_errors_total").increment(1);
        }
        written
    }

    /// Whether a group was certainly not written though the database is well: then it may be for one
    /// member that can't be written, which is nothing to the others.
    async fn is_a_members(&self, error: &Error) -> bool {
        let certain = match error {
            Error::Unavailable { .. } | Error::Corrupt { .. } => true,
            Error::OutcomeUnknown { .. }
            | Error::Fenced { .. }
            | Error::Schema { .. }
            | Error::Configuration { .. } => false,
        };
        certain && self.backend.check().await.is_ok()
    }

    /// Writes the members of a group one by one, for as long as the database is well; what changed.
    async fn write_each(&self, group: Vec<Request>) -> Vec<Seen> {
        let mut all = Vec::new();
        let mut members = group.into_iter();
        while let Some(member) = members.next() {
            match self.write_group(member.writes.clone()).await {
                Ok(outcomes) => {
                    all.extend(changes(&member.writes, &outcomes));
                    member.answer(Ok(outcomes));
                }
                Err(error) => {
                    let is_a_members = self.is_a_members(&error).await;
                    if is_a_members {
                        tracing::warn!(%error, "a write can't be done, and was taken out of its group");
                    } else {
                        refuse(members.by_ref(), &error);
                    }
                    member.answer(Err(error));
                }
            }
        }
        all
    }
}

impl Request {
    fn answer(self, answer: Result<Vec<WriteOutcome>, Error>) {
        // A caller who went away does not want to know.
        drop(self.answer.send(answer));
    }
}

fn refuse(group: impl IntoIterator<Item = Request>, error: &Error) {
    for request in group {
        request.answer(Err(error.clone()));
    }
}

/// What a group changed.
fn changes<'a>(writes: impl IntoIterator<Item = &'a Write>, outcomes: &[WriteOutcome]) -> Vec<Seen> {
    let written = outcomes.iter().map(|outcome| matches!(outcome, WriteOutcome::Written));
    writes.into_iter().zip(written).filter(|(_, written)| *written).map(|(write, _)| after(write)).collect()
}

fn after(write: &Write) -> Seen {
    let record = match write {
        Write::Start(new) => &new.write.record,
        Write::Transition(write) => &write.record,
    };
    Seen { id: record.id, seq: record.seq, status: record.status }
}

fn writer_closed() -> Error {
    Error::unavailable("the store has been shut down")
}

impl StoreLayer for Grouped {
    fn inner(&self) -> &dyn Store {
        &*self.backend
    }
}

#[async_trait]
impl WorkflowLayer for Grouped {
    async fn write(&self, batch: Vec<Write>) -> Result<Vec<WriteOutcome>, Error> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { writes: batch, answer }).await.map_err(|_| writer_closed())?;
        let lost = || Error::outcome_unknown("the writer task ended before it responded");
        answered.await.unwrap_or_else(|_| Err(lost()))
    }

    async fn stored(&self, ids: &[WorkflowId]) -> Result<Vec<Option<Stored>>, Error> {
        self.stored.read(ids).await
    }
}

#[async_trait]
impl DefinitionLayer for Grouped {
    async fn newest(&self, names: &[DefinitionName]) -> Result<Vec<Option<u32>>, Error> {
        self.newest.read(names).await
    }
}

impl LedgerLayer for Grouped {}
impl ClusterLayer for Grouped {}
impl LockLayer for Grouped {}
impl DeadLetterLayer for Grouped {}
impl ShardLeaseLayer for Grouped {}
impl MaintenanceLayer for Grouped {}
