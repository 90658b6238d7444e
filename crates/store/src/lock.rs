//! Locks: a key that one owner holds at a time, for as long as its lease is renewed.
//!
//! A lock by itself protects nothing: an owner that was paused past its lease believes in it still. So each comes
//! with a fencing token that rises with every change of owner, for ever: whoever does something on behalf of the
//! lock shows it where it acts, and what acts refuses one that is lower than it has seen.

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
    async fn acquire_lock(&self, request: &LockRequest) -> Result<LockAnswer, Error>;

    /// Renews a held lock for `ttl` from now.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the lock was not renewed and `Error::OutcomeUnknown` if the response was lost.
    /// A repeated call returns the actual state.
    async fn renew_lock(&self, hold: &LockHold, ttl: Duration) -> Result<LockAnswer, Error>;

    /// Releases a held lock.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the lock was not released and `Error::OutcomeUnknown` if the response was lost.
    async fn release_lock(&self, hold: &LockHold) -> Result<LockAnswer, Error>;

    /// Returns a page of at most `limit` held locks of a namespace, by key, starting behind the key `after`.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn locks(&self, namespace: &str, after: Option<&str>, limit: u32) -> Result<Vec<Lock>, Error>;
}

layer!(LockStore, LockLayer {
    fn acquire_lock(request: &LockRequest) -> LockAnswer;
    fn renew_lock(hold: &LockHold, ttl: Duration) -> LockAnswer;
    fn release_lock(hold: &LockHold) -> LockAnswer;
    fn locks(namespace: &str, after: Option<&str>, limit: u32) -> Vec<Lock>;
});

/// How long a free lock's row is kept. Far longer than any statement takes that has drawn a token and not
/// written it yet: if the row were gone by then, a higher token could have been given and be forgotten.
pub(crate) const KEEP_FREE: Duration = Duration::from_secs(3600);

/// A lock that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// Where it lives.
    pub namespace: String,
    /// What is locked.
    pub key: String,
    /// Who holds it, as it calls itself.
    pub owner: String,
    /// Higher than that of every hold of the same key before it.
    pub token: u64,
    /// Since when it is held.
    pub acquired_at: Timestamp,
    /// When it is free unless it is renewed, by the database's clock.
    pub expires_at: Timestamp,
}

/// Somebody's wish for a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockRequest {
    /// Where it lives.
    pub namespace: String,
    /// What is to be locked.
    pub key: String,
    /// Who wants it: nobody else may call himself so.
    pub owner: String,
    /// For how long, from now.
    pub ttl: Duration,
}

/// Somebody's hold of a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHold {
    /// Where it lives.
    pub namespace: String,
    /// What is locked.
    pub key: String,
    /// Who holds it.
    pub owner: String,
    /// By which token; none: by any.
    pub token: Option<u64>,
}

/// What became of a wish, or of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockAnswer {
    /// It was done; the lock as it is held, or was until now.
    Granted(Lock),
    /// It was not, as somebody else holds the lock, or the same owner by another token.
    Held(Lock),
    /// It was not, as nobody holds the lock.
    Free,
}
