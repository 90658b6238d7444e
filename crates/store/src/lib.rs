//! What durable state has to promise.
//!
//! [`Store`] is the port; [`sqlite`] and [`postgres`] are its adapters; [`conformance`] is the one array
//! of cases that both run. The state store service wraps an adapter in the same trait, so a caller
//! does not know whether it talks to a database, to a group, or to another process.
//!
//! The crate deliberately knows nothing of queues, services or expressions, and takes no decision: it
//! commits what `saga` decided, if the workflow is still at the `seq` that it was decided from.
//!
//! Texts may hold any character, U+0000 among them, and values may be of any size and depth: all come
//! back as they were given, and are told apart in lists and by keys.
//!
//! Invariants: what was answered is durable; a write of a workflow changes its row, its history and its
//! ledger together or not at all; history has no gap; the ledger equals `owed(state)`; a write with a
//! fencing token is refused once a higher one was seen; a lock has one holder at most, and its tokens rise for
//! ever.

mod agreement;
pub mod conformance;
mod dead_letter;
mod definition;
mod error;
mod filter;
pub mod grouped;
pub mod json;
mod lease;
mod ledger;
mod lock;
mod member;
pub mod postgres;
mod record;
pub mod sqlite;
mod upkeep;
mod workflow;

use async_trait::async_trait;
use goconductor_saga::{Event, Timestamp, WorkflowId};
use std::time::Duration;

pub use agreement::Agreement;
pub use dead_letter::{DeadLetter, DeadLetterPlace};
pub use definition::{
    ActionLimits, DefinitionName, DefinitionRecord, HttpEndpoint, NewDefinition, PutDefinition,
    ServiceRecord, ServiceSettings,
};
pub use error::Error;
pub use filter::{Comparison, Field, Filter, Value};
pub use lease::{LeaseMark, LeaseProgress, LeaseTake, NewLease, ShardLease};
pub use ledger::{Claim, ClaimRequest, Fence, LaneClaim, LedgerRow, LedgerRowKey, RowKind, Shard};
pub use lock::{Lock, LockAnswer, LockHold, LockRequest};
pub use member::{ActionBacklog, Announcement, Member, ProcessInfo, QueueView, ServedService};
pub use record::{Record, Stored};
pub use upkeep::{KEEP, Upkeep, UpkeepRequest, keep_up};
pub use workflow::{
    Count, ListPage, ListRequest, Loaded, NewWorkflow, Seen, Summary, TransitionWrite, Write, WriteOutcome,
};

/// Durable state: definitions, services, workflows with their histories, and the dispatch ledger.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync {
    /// Writes a group of starts and transitions in one database transaction, each judged on its own:
    /// one that lost its race says so and holds up nobody; so does a start whose id is taken. The answers
    /// are in the order of the group, and are given only once the group is durable.
    ///
    /// # Errors
    /// When nobody can say whether the group was written, or it certainly was not; then none was.
    async fn write(&self, group: Vec<Write>) -> Result<Vec<WriteOutcome>, Error>;

    /// Workflows as they stand, in the order of the ids; none: no such workflow.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn load(&self, ids: &[WorkflowId]) -> Result<Vec<Option<Loaded>>, Error> {
        let stored = self.stored(ids).await?;
        ids.iter().zip(stored).map(|(id, found)| found.map(|found| found.loaded(*id)).transpose()).collect()
    }

    /// The same, for those who pass them on: as they are stored.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn stored(&self, ids: &[WorkflowId]) -> Result<Vec<Option<Stored>>, Error>;

    /// A part of a workflow's history, in order.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn history(&self, id: WorkflowId, after_seq: u64, limit: u32) -> Result<Vec<Event>, Error>;

    /// What changed: `seq` and status of those of `ids` that exist. One read, however many wait.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn seen(&self, ids: &[WorkflowId]) -> Result<Vec<Seen>, Error>;

    /// A page of workflows, newest first.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn list(&self, request: &ListRequest) -> Result<ListPage, Error>;

    /// How many workflows there are of each status, or of each definition, that fit the filter.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn counts(&self, namespace: &str, by: Field, filter: Option<&Filter>) -> Result<Vec<Count>, Error>;

    /// Applies a definition: equal content changes nothing, changed content is the next version.
    ///
    /// # Errors
    /// When it certainly was not, or nobody can say whether it was, written.
    async fn put_definition(&self, new: NewDefinition) -> Result<PutDefinition, Error>;

    /// The newest version of each of these definitions, in their order; none where there is none.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn newest(&self, names: &[DefinitionName]) -> Result<Vec<Option<u32>>, Error>;

    /// A definition; none for `version` means the newest.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn definition(
        &self,
        namespace: &str,
        name: &str,
        version: Option<u32>,
    ) -> Result<Option<DefinitionRecord>, Error>;

    /// The newest version of each definition, by name; or every version of one, newest first.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn definitions(&self, namespace: &str, name: Option<&str>) -> Result<Vec<DefinitionRecord>, Error>;

    /// Says how a service is reached; what is there is replaced.
    ///
    /// # Errors
    /// When it certainly was not, or nobody can say whether it was, written.
    async fn put_service(&self, service: ServiceRecord) -> Result<(), Error>;

    /// All services of all namespaces, by name.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn services(&self) -> Result<Vec<ServiceRecord>, Error>;

    /// Claims rows of the ledger that are due: marks them, in the same transaction, as delivered once
    /// more and due again after `redelivery`, so that two claimers never get the same row.
    ///
    /// # Errors
    /// When the fence's token is not the newest, or the claim certainly was not made.
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Error>;

    /// Moves the next delivery of rows to `due_at`: their commands are under way. A row whose attempt is
    /// another one by now is left as it is.
    ///
    /// # Errors
    /// When the database can't be written.
    async fn extend(&self, rows: &[LedgerRowKey], due_at: Timestamp) -> Result<(), Error>;

    /// Takes back one delivery of rows whose commands were taken but certainly not sent: due at once.
    ///
    /// # Errors
    /// When the database can't be written.
    async fn release(&self, rows: &[LedgerRowKey]) -> Result<(), Error>;

    /// Makes every delivered row due now: for a process whose queue died with it, at its start.
    ///
    /// # Errors
    /// When the database can't be written.
    async fn expire_deliveries(&self, now: Timestamp) -> Result<u64, Error>;

    /// The ledger's rows of some workflows; for checks and for `waiting_on`.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn ledger(&self, ids: &[WorkflowId]) -> Result<Vec<LedgerRow>, Error>;

    /// How many rows of each lane, as `namespace/service/side`, are in the ledger and due. A slash in a
    /// name stands as `%2F`, and `%` as `%25`.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn backlog(&self, now: Timestamp) -> Result<Vec<(String, u64)>, Error>;

    /// Workflow ids of all namespaces in order, after `after`: for a check that reads everything.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn ids(&self, after: Option<WorkflowId>, limit: u32) -> Result<Vec<WorkflowId>, Error>;

    /// Ledger rows whose workflow does not exist: there are none, which a check wants to see.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn orphans(&self, limit: u32) -> Result<Vec<LedgerRow>, Error>;

    /// Raises a named counter that outlives every process, and returns it: the source of fencing tokens.
    ///
    /// # Errors
    /// When the database can't be written.
    async fn raise_epoch(&self, name: &str) -> Result<u64, Error>;

    /// What all processes agree on under a name; none: nothing yet.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn agreement(&self, name: &str) -> Result<Option<Agreement>, Error>;

    /// Changes what all processes agree on under a name, if it is still of that revision, which is 0 where there is
    /// nothing yet; what they agree on then. None: it was changed before, and was left as it is.
    ///
    /// # Errors
    /// When it certainly was not, or nobody can say whether it was, written.
    async fn agree(
        &self,
        name: &str,
        revision: u64,
        value: &goconductor_saga::Json,
    ) -> Result<Option<Agreement>, Error>;

    /// Says of a process that it is there.
    ///
    /// # Errors
    /// When the database can't be written.
    async fn announce(&self, member: &Announcement) -> Result<(), Error>;

    /// The processes that are there, by the database's clock: by kind and identity.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn members(&self) -> Result<Vec<Member>, Error>;

    /// Keeps messages that nobody could act on; how many of them were not there before.
    ///
    /// # Errors
    /// When it certainly was not, or nobody can say whether it was, written.
    async fn put_dead_letters(&self, letters: &[DeadLetter]) -> Result<u64, Error>;

    /// A page of dead letters, newest first, at most `limit`, behind a place.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn dead_letters(
        &self,
        before: Option<&DeadLetterPlace>,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, Error>;

    /// A dead letter.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, Error>;

    /// Removes a dead letter; whether it was there.
    ///
    /// # Errors
    /// When it certainly was not, or nobody can say whether it was, written.
    async fn delete_dead_letter(&self, id: &str) -> Result<bool, Error>;

    /// Takes a lock that is free. One that this owner holds already lasts for so long from now.
    ///
    /// # Errors
    /// When it certainly was not, or nobody can say whether it was, taken: the same call again tells.
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockAnswer, Error>;

    /// Has a lock that is held last for so long from now.
    ///
    /// # Errors
    /// When it certainly does not, or nobody can say whether it does: the same call again tells.
    async fn renew_lock(&self, hold: &LockHold, ttl: Duration) -> Result<LockAnswer, Error>;

    /// Gives a lock back.
    ///
    /// # Errors
    /// When it certainly was not, or nobody can say whether it was, given back.
    async fn release_lock(&self, hold: &LockHold) -> Result<LockAnswer, Error>;

    /// A page of the locks of a namespace that are held, by key, at most `limit`, behind a key.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn locks(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<Lock>, Error>;

    /// All leases of a stream, by their shards.
    ///
    /// # Errors
    /// When the database can't be read.
    async fn leases(&self, stream: &str) -> Result<Vec<ShardLease>, Error>;

    /// Adds leases of shards that have none, owned by nobody, with nothing read; and removes those of shards that
    /// are no more.
    ///
    /// # Errors
    /// When it certainly was not, or nobody can say whether it was, written.
    async fn sync_leases(&self, stream: &str, new: &[NewLease], gone: &[String]) -> Result<(), Error>;

    /// Takes leases whose counters are still those that are given, and that nobody holds by the database's clock,
    /// unless it is said to steal; of each whether it was taken. Its counter is raised by one.
    ///
    /// # Errors
    /// When it certainly was not, or nobody can say whether it was, written.
    async fn take_leases(&self, stream: &str, take: &LeaseTake) -> Result<Vec<bool>, Error>;

    /// Writes down how far shards were read, and keeps their leases or gives them up; of each whether it was still
    /// its owner's, by the counter. May be repeated: it comes to the same. One that arrives late, after another that
    /// has more messages taken, changes nothing.
    ///
    /// # Errors
    /// When it certainly was not, or nobody can say whether it was, written.
    async fn mark_leases(&self, stream: &str, owner: &str, marks: &[LeaseMark]) -> Result<Vec<bool>, Error>;

    /// A part of what keeps the store steady: room is made for what is to come, and workflows that ended long
    /// enough ago are removed with their histories and their keys. It takes a moment, holds up nobody, and may
    /// be called by many at once.
    ///
    /// # Errors
    /// When it was not done, or not all of it.
    async fn upkeep(&self, request: &UpkeepRequest) -> Result<Upkeep, Error>;

    /// Clears away what rows of the ledger leave behind where they come and go, for whoever keeps the store: every
    /// few seconds, as looks at the ledger would read it. Mostly there is nothing to be done, and in many stores
    /// there never is.
    ///
    /// # Errors
    /// When it was not done.
    async fn sweep(&self) -> Result<(), Error> {
        Ok(())
    }

    /// The time by the database's clock: leases and timers go by it.
    ///
    /// # Errors
    /// When the database can't be asked.
    async fn now(&self) -> Result<Timestamp, Error>;

    /// Whether the database answers and its tables are those of this release.
    ///
    /// # Errors
    /// When they are not, with what to do.
    async fn check(&self) -> Result<(), Error>;
}
