//! Locks: one owner at a time holds a key, for as long as it renews its lease.
//!
//! A lock alone does not protect a resource, because an owner that was paused beyond its lease still believes that it
//! holds the lock. Each lock therefore has a fencing token, which rises with every change of the owner. The owner sends
//! the token with each request to the resource, and the resource refuses a token lower than the highest it has seen.

use crate::Error;
use crate::layer::layer;
use async_trait::async_trait;
use goconductor_saga::{OwedKey, Timestamp, WorkflowId};
use std::time::Duration;

/// Locks with leases and fencing tokens.
#[async_trait]
pub trait LockStore: std::fmt::Debug + Send + Sync {
    /// Acquires a free lock. If `owner` already holds it, its lease is renewed for `ttl` from now.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the lock was not acquired and `Error::OutcomeUnknown` if the response was lost.
    /// A repeated call returns the actual state.
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockOutcome, Error>;

    /// Renews a held lock for `ttl` from now.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the lock was not renewed and `Error::OutcomeUnknown` if the response was lost.
    /// A repeated call returns the actual state.
    async fn renew_lock(&self, hold: &LockHold, ttl: Duration) -> Result<LockOutcome, Error>;

    /// Releases a held lock.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the lock was not released and `Error::OutcomeUnknown` if the response was lost.
    async fn release_lock(&self, hold: &LockHold) -> Result<LockOutcome, Error>;

    /// Acquires the locks of a request of a workflow, one by one in the order of their keys.
    ///
    /// The request takes its place in the queue of the first key that is not free, and keeps the locks before it. Each
    /// queue is served in the order of arrival. A repeated call continues where the last one ended, and returns the
    /// same tokens once all locks are held. While a request waits, its ledger row is due at `poll_at`, and at once when
    /// the lock that it waits for was released. The commit of a transition releases the locks, see
    /// [`EncodedTransition::locks`](crate::EncodedTransition::locks).
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written and `Error::OutcomeUnknown` if the response was lost.
    async fn acquire_workflow_locks(
        &self,
        request: &WorkflowLockRequest,
    ) -> Result<WorkflowLockOutcome, Error>;

    /// Returns the holder of a lock.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn lock_holder(&self, namespace: &str, key: &str) -> Result<Option<Lock>, Error>;

    /// Returns a page of at most `limit` held locks of a namespace, by key, starting behind the key `after`.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn locks(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<Lock>, Error>;
}

layer!(LockStore, LockLayer {
    fn acquire_lock(request: &LockRequest) -> LockOutcome;
    fn renew_lock(hold: &LockHold, ttl: Duration) -> LockOutcome;
    fn release_lock(hold: &LockHold) -> LockOutcome;
    fn acquire_workflow_locks(request: &WorkflowLockRequest) -> WorkflowLockOutcome;
    fn lock_holder(namespace: &str, key: &str) -> Option<Lock>;
    fn locks(namespace: &str, after: Option<&str>, limit: u32) -> Vec<Lock>;
});

/// Time for which the row of a free lock is kept. It is much longer than any statement needs from drawing a token to
/// writing it. Otherwise a row with a higher token could be inserted and removed in between, and the lower token would be
/// written after it.
pub(crate) const KEEP_FREE: Duration = Duration::from_secs(3600);

/// The duration of the lease of a workflow's lock: long enough that it never expires. The end of the step or of the
/// workflow releases the lock.
pub(crate) const WORKFLOW_LEASE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The owner of a lock that workflows share.
pub const SHARED_OWNER: &str = "workflow/shared";

/// A held lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The namespace.
    pub namespace: String,
    /// The key.
    pub key: String,
    /// The holder, by its own name.
    pub owner: String,
    /// The fencing token: higher than the tokens of all earlier holders of the key.
    pub token: u64,
    /// Time when the lock was acquired.
    pub acquired_at: Timestamp,
    /// Time when the lease expires unless it is renewed, by the database's clock.
    pub expires_at: Timestamp,
}

/// A request to acquire a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRequest {
    /// The namespace.
    pub namespace: String,
    /// The key.
    pub key: String,
    /// The owner. Its name must be unique.
    pub owner: String,
    /// Duration of the lease from now.
    pub ttl: Duration,
}

/// Identifies a hold of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHold {
    /// The namespace.
    pub namespace: String,
    /// The key.
    pub key: String,
    /// The holder.
    pub owner: String,
    /// The fencing token of the hold. `None` matches any token.
    pub token: Option<u64>,
}

/// The result of a lock operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockOutcome {
    /// The operation succeeded. Contains the lock; after a release, the lock as it was held until now.
    Granted(Lock),
    /// The operation failed because another owner holds the lock, or the same owner with another token.
    Held(Lock),
    /// The operation failed because the lock is free.
    Free,
}

/// A request of a workflow to acquire locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowLockRequest {
    /// The workflow.
    pub id: WorkflowId,
    /// The ledger row of the wait. Without it, the request was settled and nothing is acquired.
    pub row: OwedKey,
    /// The namespace.
    pub namespace: String,
    /// The owner of the exclusive locks, as operators see it.
    pub owner: String,
    /// The locks, by ascending key, each at most once.
    pub locks: Vec<WantedLock>,
    /// Time when the request is made again if no release wakes it before.
    pub poll_at: Timestamp,
}

/// A lock that a workflow wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedLock {
    /// The key.
    pub key: String,
    /// Whether several workflows may share the lock.
    pub shared: bool,
}

/// The result of a request of a workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkflowLockOutcome {
    /// All locks are held. Contains their fencing tokens, in the order of the request.
    Granted(Vec<u64>),
    /// The request waits for a lock.
    Waiting,
    /// The workflow no longer waits: the ledger has no row of the request, or its workflow is paused.
    Gone,
}
