//! Locks: one owner at a time holds a key, for as long as it renews its lease.
//!
//! A lock alone does not protect a resource, because an owner that was paused beyond its lease still believes that it
//! holds the lock. Each lock therefore has a fencing token, which rises with every change of the owner. The owner sends
//! the token with each request to the resource, and the resource refuses a token lower than the highest it has seen.

use crate::Error;
use crate::layer::layer;
use async_trait::async_trait;
use goconductor_saga::Timestamp;
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
    fn locks(namespace: &str, after: Option<&str>, limit: u32) -> Vec<Lock>;
});

/// Time for which the row of a free lock is kept. It is much longer than any statement needs from drawing a token to
/// writing it. Otherwise a row with a higher token could be inserted and removed in between, and the lower token would be
/// written after it.
pub(crate) const KEEP_FREE: Duration = Duration::from_secs(3600);

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
