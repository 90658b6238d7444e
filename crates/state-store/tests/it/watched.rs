//! A store that can be watched, held up, and made to fail.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use goconductor_saga::{Event, Timestamp, WorkflowId};
use goconductor_store::sqlite::SqliteStore;
use goconductor_store::{
    Announcement, Claim, ClaimRequest, Count, DeadLetter, DeadLetterPlace, DefinitionName, DefinitionRecord,
    Error, Field, Filter, LeaseMark, LeaseTake, LedgerRow, LedgerRowKey, ListPage, ListRequest, Lock,
    LockAnswer, LockHold, LockRequest, Member, NewDefinition, NewLease, PutDefinition, Seen, ServiceRecord,
    ShardLease, Store, Stored, Upkeep, UpkeepRequest, Write, WriteOutcome,
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

#[async_trait]
impl Store for Watched {
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

    async fn stored(&self, ids: &[WorkflowId]) -> Result<Vec<Option<Stored>>, Error> {
        self.inner.stored(ids).await
    }

    async fn history(&self, id: WorkflowId, after_seq: u64, limit: u32) -> Result<Vec<Event>, Error> {
        self.inner.history(id, after_seq, limit).await
    }

    async fn seen(&self, ids: &[WorkflowId]) -> Result<Vec<Seen>, Error> {
        self.inner.seen(ids).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, Error> {
        self.inner.list(request).await
    }

    async fn counts(&self, namespace: &str, by: Field, filter: Option<&Filter>) -> Result<Vec<Count>, Error> {
        self.inner.counts(namespace, by, filter).await
    }

    async fn put_definition(&self, new: NewDefinition) -> Result<PutDefinition, Error> {
        self.inner.put_definition(new).await
    }

    async fn newest(&self, names: &[DefinitionName]) -> Result<Vec<Option<u32>>, Error> {
        self.inner.newest(names).await
    }

    async fn definition(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, Error> {
        self.inner.definition(namespace, name, version).await
    }

    async fn definitions(&self, namespace: &str, name: Option<&str>) -> Result<Vec<DefinitionRecord>, Error> {
        self.inner.definitions(namespace, name).await
    }

    async fn put_service(&self, service: ServiceRecord) -> Result<(), Error> {
        self.inner.put_service(service).await
    }

    async fn services(&self) -> Result<Vec<ServiceRecord>, Error> {
        self.inner.services().await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Error> {
        self.inner.claim(request).await
    }

    async fn extend(&self, rows: &[LedgerRowKey], due_at: Timestamp) -> Result<(), Error> {
        self.inner.extend(rows, due_at).await
    }

    async fn release(&self, rows: &[LedgerRowKey]) -> Result<(), Error> {
        self.inner.release(rows).await
    }

    async fn expire_deliveries(&self, now: Timestamp) -> Result<u64, Error> {
        self.inner.expire_deliveries(now).await
    }

    async fn ledger(&self, ids: &[WorkflowId]) -> Result<Vec<LedgerRow>, Error> {
        self.inner.ledger(ids).await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Vec<(String, u64)>, Error> {
        self.inner.backlog(now).await
    }

    async fn ids(&self, after: Option<WorkflowId>, limit: u32) -> Result<Vec<WorkflowId>, Error> {
        self.inner.ids(after, limit).await
    }

    async fn orphans(&self, limit: u32) -> Result<Vec<LedgerRow>, Error> {
        self.inner.orphans(limit).await
    }

    async fn raise_epoch(&self, name: &str) -> Result<u64, Error> {
        self.inner.raise_epoch(name).await
    }

    async fn agreement(&self, name: &str) -> Result<Option<goconductor_store::Agreement>, Error> {
        self.inner.agreement(name).await
    }

    async fn agree(
        &self,
        name: &str,
        revision: u64,
        value: &goconductor_saga::Json,
    ) -> Result<Option<goconductor_store::Agreement>, Error> {
        self.inner.agree(name, revision, value).await
    }

    async fn announce(&self, member: &Announcement) -> Result<(), Error> {
        self.inner.announce(member).await
    }

    async fn members(&self) -> Result<Vec<Member>, Error> {
        self.inner.members().await
    }

    async fn put_dead_letters(&self, letters: &[DeadLetter]) -> Result<u64, Error> {
        self.inner.put_dead_letters(letters).await
    }

    async fn dead_letters(
        &self,
        before: Option<&DeadLetterPlace>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error> {
        self.inner.dead_letters(before, limit).await
    }

    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, Error> {
        self.inner.dead_letter(id).await
    }

    async fn delete_dead_letter(&self, id: &str) -> Result<bool, Error> {
        self.inner.delete_dead_letter(id).await
    }

    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockAnswer, Error> {
        self.inner.acquire_lock(request).await
    }

    async fn renew_lock(&self, hold: &LockHold, ttl: Duration) -> Result<LockAnswer, Error> {
        self.inner.renew_lock(hold, ttl).await
    }

    async fn release_lock(&self, hold: &LockHold) -> Result<LockAnswer, Error> {
        self.inner.release_lock(hold).await
    }

    async fn locks(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<Lock>, Error> {
        self.inner.locks(namespace, after, limit).await
    }

    async fn leases(&self, stream: &str) -> Result<Vec<ShardLease>, Error> {
        self.inner.leases(stream).await
    }

    async fn sync_leases(&self, stream: &str, new: &[NewLease], gone: &[String]) -> Result<(), Error> {
        self.inner.sync_leases(stream, new, gone).await
    }

    async fn take_leases(&self, stream: &str, take: &LeaseTake) -> Result<Vec<bool>, Error> {
        self.inner.take_leases(stream, take).await
    }

    async fn mark_leases(&self, stream: &str, owner: &str, marks: &[LeaseMark]) -> Result<Vec<bool>, Error> {
        self.inner.mark_leases(stream, owner, marks).await
    }

    async fn upkeep(&self, request: &UpkeepRequest) -> Result<Upkeep, Error> {
        self.inner.upkeep(request).await
    }

    async fn now(&self) -> Result<Timestamp, Error> {
        self.inner.now().await
    }

    async fn check(&self) -> Result<(), Error> {
        if !self.well.load(Ordering::Relaxed) {
            return Err(Error::Unavailable { reason: "away".to_owned() });
        }
        self.inner.check().await
    }
}
