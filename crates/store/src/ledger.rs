//! The dispatch ledger: everything that is owed.

use crate::Error;
use crate::layer::layer;
use async_trait::async_trait;
use goconductor_saga::{OwedKey, Side, Timestamp, WorkflowId};
use std::borrow::Cow;

/// The dispatch ledger.
#[async_trait]
pub trait LedgerStore: std::fmt::Debug + Send + Sync {
    /// Claims due rows of the ledger.
    ///
    /// The same transaction counts one more delivery of each row and makes it due again after `redelivery`, so two
    /// concurrent claims never return the same row.
    ///
    /// # Errors
    /// Returns `Error::Fenced` if a newer fencing token has been seen and `Error::Unavailable` if nothing was claimed.
    async fn claim(&self, request: &ClaimRequest) -> Result<Claim, Error>;

    /// Postpones the next delivery of rows to `due_at` because their commands are in flight. A row that belongs to
    /// another attempt by now is not changed.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn extend(&self, rows: &[LedgerRowKey], due_at: Timestamp) -> Result<(), Error>;

    /// Reverts one delivery of rows whose commands were accepted but certainly not sent. The rows are due at once.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn release(&self, rows: &[LedgerRowKey]) -> Result<(), Error>;

    /// Makes every delivered row due now and returns how many rows that were. A process whose in-memory queue was lost
    /// with it calls this at its start.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn expire_deliveries(&self, now: Timestamp) -> Result<u64, Error>;

    /// Returns the ledger rows of some workflows. Used by checks and by `waiting_on`.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn ledger(&self, ids: &[WorkflowId]) -> Result<Vec<LedgerRow>, Error>;

    /// Counts the due rows of each lane. A lane is named `namespace/service/side`; in its parts, `/` is encoded as
    /// `%2F` and `%` as `%25`.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn backlog(&self, now: Timestamp) -> Result<Vec<(String, u64)>, Error>;

    /// Returns ledger rows whose workflow does not exist. A healthy store has none; `goconductor doctor` checks that.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn orphans(&self, limit: u32) -> Result<Vec<LedgerRow>, Error>;
}

layer!(LedgerStore, LedgerLayer {
    fn claim(request: &ClaimRequest) -> Claim;
    fn extend(rows: &[LedgerRowKey], due_at: Timestamp) -> ();
    fn release(rows: &[LedgerRowKey]) -> ();
    fn expire_deliveries(now: Timestamp) -> u64;
    fn ledger(ids: &[WorkflowId]) -> Vec<LedgerRow>;
    fn backlog(now: Timestamp) -> Vec<(String, u64)>;
    fn orphans(limit: u32) -> Vec<LedgerRow>;
});

/// Names one row, of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LedgerRowKey {
    /// The workflow.
    pub id: WorkflowId,
    /// What it is for.
    pub key: OwedKey,
    /// The attempt that is open; 0 for a timer.
    pub attempt: u32,
}

/// What is to be done with a row when it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// Publish the command, or act on the timer.
    Run,
    /// Nothing: an operator holds the workflow. Never due.
    Held,
    /// Take the command back if it was never delivered. Due at once if so; else after its redelivery.
    Withdraw,
}

/// A row as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// Which.
    pub key: LedgerRowKey,
    /// Where its workflow lives.
    pub namespace: String,
    /// The service whose queue it goes to; none for a timer.
    pub service: Option<String>,
    /// What is to be done with it.
    pub kind: RowKind,
    /// When it is due.
    pub due_at: Timestamp,
    /// How often its command was, or may have been, published.
    pub deliveries: u32,
    /// When its command was last published, or else issued.
    pub issued_at: Timestamp,
}

/// Proof of leadership: a claim with a token that is not the newest is refused, and one with a newer token
/// than any before makes that the newest, even if nothing is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// What is led.
    pub name: String,
    /// The leader's token.
    pub token: u64,
}

/// A share of the workflows: those whose slot, the last four bits of the id, divided by `of` leaves `index`.
/// The slots are random, so that shares are even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 0.
    pub index: u8,
    /// Of how many: at most [`Shard::MOST`].
    pub of: u8,
}

impl Shard {
    /// There are no more slots.
    pub const MOST: u8 = 16;

    /// The slots of this share, as a claim looks for them; all if there is no share.
    pub(crate) fn slots(shard: Option<Self>) -> (i32, i32) {
        shard.map_or((1, 0), |shard| (i32::from(shard.of.clamp(1, Self::MOST)), i32::from(shard.index)))
    }
}

/// What to claim.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// Proof of leadership.
    pub fence: Option<Fence>,
    /// Rows of this share of the workflows only; none: of all.
    pub shard: Option<Shard>,
    /// The present time.
    pub now: Timestamp,
    /// Commands of these namespaces' services and lanes, each with how far its queue has been taken: a row
    /// that was delivered after that still waits in the queue and is no loss. None: the queue is empty.
    pub lanes: Vec<LaneClaim>,
    /// Whether timers, and commands to withdraw that were never delivered, are claimed too, of whatever service.
    pub timers: bool,
    /// At most so many of each lane, and of the timers, the longest due first.
    pub limit: u32,
    /// Claimed rows are due again after this, longer with each delivery.
    pub redelivery: std::time::Duration,
}

/// The commands of one service, of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneClaim {
    /// Where the service lives.
    pub namespace: String,
    /// The service.
    pub service: String,
    /// Execute or compensate.
    pub side: Side,
    /// Rows last delivered at or after this time still wait in the queue.
    pub waiting_since: Option<Timestamp>,
    /// At most so many: how many the service can take now.
    pub limit: u32,
}

/// What was claimed.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    /// The rows as they were before the claim.
    pub rows: Vec<LedgerRow>,
    /// When the next row of these lanes, or the next timer, is due: in the past if the limits left no room
    /// for one that is due already; none: there is none. Of rows that were delivered, the one that was issued
    /// first may stand for them all.
    pub next_due: Option<Timestamp>,
}

/// The queue column of a command's row: what a lane's claim looks for.
pub(crate) fn lane_queue(namespace: &str, service: &str, side: Side) -> String {
    format!("{}/{}/{}", part(namespace), part(service), side.as_str())
}

/// A name without a slash, so that no two lanes have one queue.
fn part(name: &str) -> Cow<'_, str> {
    if name.contains(['/', '%']) {
        return name.replace('%', "%25").replace('/', "%2F").into();
    }
    name.into()
}

/// The queue column of any row; empty for what no service has to do.
pub(crate) fn queue_of(namespace: &str, service: Option<&str>, key: OwedKey) -> String {
    match (key, service) {
        (OwedKey::Command(_, side), Some(service)) => lane_queue(namespace, service, side),
        (OwedKey::Command(..) | OwedKey::Timer(_), _) => String::new(),
    }
}
