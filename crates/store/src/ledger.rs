//! The dispatch ledger: the commands and timers that are owed.

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

    /// Postpones the next delivery of claimed rows to `due_at`, because their commands are in flight or their timers were
    /// acted upon. A row that belongs to another attempt by now is not changed.
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

    /// Returns how many rows are due at `now`, how many are claimed, and when the next of the others is due. A row counts as
    /// claimed if it is due after `claimed_after`: a server with a virtual clock claims rows for longer than any timer
    /// lasts.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached, and `Error::Configuration` if it is not the
    /// embedded one, which alone serves a virtual clock.
    async fn waits(&self, now: Timestamp, claimed_after: Timestamp) -> Result<LedgerWaits, Error> {
        let _unused = (now, claimed_after);
        let reason = "only the embedded database serves a virtual clock".to_owned();
        Err(Error::Configuration { reason, source: None })
    }

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
    fn waits(now: Timestamp, claimed_after: Timestamp) -> LedgerWaits;
    fn orphans(limit: u32) -> Vec<LedgerRow>;
});

/// The identity of a ledger row and its attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LedgerRowKey {
    /// The workflow.
    pub id: WorkflowId,
    /// The command or timer.
    pub key: OwedKey,
    /// The open attempt. 0 for a timer.
    pub attempt: u32,
}

/// The number of rows that are due or claimed, and the next due time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerWaits {
    /// Rows that are due.
    pub due: u64,
    /// Rows that were claimed and are not settled: commands in flight, and timers that fire.
    pub claimed: u64,
    /// The earliest time at which one of the other rows is due. `None` if there is none.
    pub next_due: Option<Timestamp>,
}

/// The action that a due row requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowKind {
    /// Publish the command, or fire the timer.
    Run,
    /// No action, because the workflow waits for an operator. The row is never due.
    Held,
    /// Withdraw the command. The row is due at once if the command was never delivered, and otherwise when its
    /// redelivery is due.
    Withdraw,
}

/// A row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// The identity of the row.
    pub key: LedgerRowKey,
    /// The namespace of the workflow.
    pub namespace: String,
    /// The service whose queue receives the command. `None` for a timer.
    pub service: Option<String>,
    /// The required action.
    pub kind: RowKind,
    /// Time when the row is due.
    pub due_at: Timestamp,
    /// Number of times the command was, or may have been, published.
    pub deliveries: u32,
    /// Time when the command was last published, or was issued if it has not been published.
    pub issued_at: Timestamp,
}

/// Proof of leadership. A claim with a token lower than the newest is refused. A claim with a higher token makes it the
/// newest, even if no row is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The name of the election.
    pub name: String,
    /// The leader's token.
    pub token: u64,
}

/// A share of the workflows: those whose slot modulo `of` is `index`. The slot of a workflow is the last four bits of its
/// id. The bits are random, so the shares are even.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkflowShard {
    /// The index of the share, from 0.
    pub index: u8,
    /// The number of shares, at most [`WorkflowShard::MOST`].
    pub of: u8,
}

impl WorkflowShard {
    /// The number of slots.
    pub const MOST: u8 = 16;

    /// Returns the divisor and the remainder by which a claim selects the slots of a share. `None` selects all slots.
    pub(crate) fn slots(shard: Option<Self>) -> (i32, i32) {
        shard.map_or((1, 0), |shard| (i32::from(shard.of.clamp(1, Self::MOST)), i32::from(shard.index)))
    }
}

/// A request to claim due rows.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// Proof of leadership.
    pub fence: Option<Fence>,
    /// The share of the workflows whose rows are claimed. `None` claims the rows of all workflows.
    pub shard: Option<WorkflowShard>,
    /// The current time.
    pub now: Timestamp,
    /// The lanes whose commands are claimed.
    pub lanes: Vec<LaneClaim>,
    /// Whether to claim timers, and commands to withdraw that were never delivered, of any service.
    pub timers: bool,
    /// Maximum number of rows of each lane and of timers. The rows that are due longest come first.
    pub limit: u32,
    /// Time until a claimed row is due again. It grows with each delivery.
    pub redelivery: std::time::Duration,
}

/// A claim of the commands of one lane: one side of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneClaim {
    /// The namespace of the service.
    pub namespace: String,
    /// The name of the service.
    pub service: String,
    /// The side: execute or compensate.
    pub side: Side,
    /// Publish time of the oldest message in the queue. A row that was delivered at this time or later is still queued and
    /// is not claimed again. `None` if the queue is empty.
    pub waiting_since: Option<Timestamp>,
    /// Maximum number of rows: the free capacity of the service.
    pub limit: u32,
}

/// The result of a claim.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    /// The rows as they were before the claim.
    pub rows: Vec<LedgerRow>,
    /// Time when the next row of the lanes, or the next timer, is due. It is in the past if the limits excluded a due
    /// row, and `None` if there are no further rows. Of the delivered rows, only the one that was issued first may be
    /// taken into account.
    pub next_due: Option<Timestamp>,
}

/// Returns the `queue` column of a command's row, by which a claim selects the rows of a lane.
pub(crate) fn lane_queue(namespace: &str, service: &str, side: Side) -> String {
    format!("{}/{}", participant(namespace, service), side.as_str())
}

/// Returns the name of a service in the names of its lanes.
pub(crate) fn participant(namespace: &str, service: &str) -> String {
    format!("{}/{}", part(namespace), part(service))
}

/// Escapes slashes, so that two lanes never share a queue.
fn part(name: &str) -> Cow<'_, str> {
    if name.contains(['/', '%']) {
        return name.replace('%', "%25").replace('/', "%2F").into();
    }
    name.into()
}

/// Returns the `queue` column of a row. It is empty for a row that no service processes.
pub(crate) fn queue_of(namespace: &str, service: Option<&str>, key: OwedKey) -> String {
    match (key, service) {
        (OwedKey::Command(_, side), Some(service)) => lane_queue(namespace, service, side),
        (OwedKey::Command(..) | OwedKey::Timer(_), _) => String::new(),
    }
}
