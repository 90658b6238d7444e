//! Locks that renew themselves.

use crate::conductor::Conductor;
use crate::error::Error;
use goconductor_client::{Client, Error as ClientError, Lock};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// The delay before the next attempt to acquire a lock that has another owner.
const RETRY_DELAY: Duration = Duration::from_millis(250);
/// Renewals within a lease.
const RENEWALS_PER_LEASE: u32 = 3;
/// After a failed renewal, the next attempt follows after the lease divided by this.
const RETRIES_PER_LEASE: u32 = 20;

/// A lock that is renewed until the guard is dropped. Dropping the guard releases the lock in the background.
///
/// The fencing token is the proof of ownership, not the guard: a process that was paused past its lease still has the
/// guard. Pass the token along with every operation on the protected resource, and have the resource refuse a token
/// that is lower than one it has seen.
#[derive(Debug)]
pub struct LockGuard {
    client: Client,
    lock: Lock,
    lost: watch::Receiver<bool>,
    renewal: JoinHandle<()>,
    is_released: bool,
}

impl Conductor {
    /// Waits until a lock is free, acquires it, and renews it well within its lease. `ttl` is the time after which
    /// the lock is free if this process dies.
    ///
    /// Cancel-safe: if the response to a dropped request was lost, the lock is free after `ttl`.
    ///
    /// ```no_run
    /// # async fn run(conductor: goconductor::Conductor) -> Result<(), goconductor::Error> {
    /// use std::time::Duration;
    ///
    /// let guard = conductor.lock("reports/daily", Duration::from_secs(10)).await?;
    /// println!("acquired {} with token {}", guard.key(), guard.fencing_token());
    /// guard.release().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the gateway cannot be reached, or refuses the key or the lease.
    pub async fn lock(&self, key: impl Into<String>, ttl: Duration) -> Result<LockGuard, Error> {
        let key = key.into();
        let owner = uuid::Uuid::now_v7().to_string();
        loop {
            if let Some(guard) = self.acquire(&key, &owner, ttl).await? {
                return Ok(guard);
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// Acquires a lock if it is free now. Returns `None` if it has another owner.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the gateway cannot be reached, or refuses the key or the lease.
    pub async fn try_lock(&self, key: impl Into<String>, ttl: Duration) -> Result<Option<LockGuard>, Error> {
        self.acquire(&key.into(), &uuid::Uuid::now_v7().to_string(), ttl).await
    }

    async fn acquire(&self, key: &str, owner: &str, ttl: Duration) -> Result<Option<LockGuard>, Error> {
        let client = self.client().clone();
        let requested_at = Instant::now();
        let lock = match client.acquire_lock(key, owner, ttl).await {
            Ok(reply) => reply.value,
            Err(ClientError::Conflict(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (sender, lost) = watch::channel(false);
        let renewal = tokio::spawn(renew(client.clone(), lock.clone(), ttl, requested_at, sender));
        Ok(Some(LockGuard { client, lock, lost, renewal, is_released: false }))
    }
}

impl LockGuard {
    /// Returns the key of the lock.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.lock.key
    }

    /// Returns the fencing token. It is higher than the tokens of all earlier owners of the key.
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.lock.fencing_token
    }

    /// Returns whether this process still owns the lock, as far as it knows.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !*self.lost.borrow() && self.lost.has_changed().is_ok()
    }

    /// Waits until the lock is lost because it could not be renewed in time. Cancel-safe.
    pub async fn lost(&self) {
        // A closed channel means that the renewal has ended.
        drop(self.lost.clone().wait_for(|lost| *lost).await);
    }

    /// Releases the lock. Returns `false` if it was lost before.
    ///
    /// # Errors
    /// Returns [`Error::Call`] if the gateway cannot be reached. The lock is then free when its lease expires.
    pub async fn release(mut self) -> Result<bool, Error> {
        self.renewal.abort();
        self.is_released = true;
        let Lock { key, owner, fencing_token, .. } = &self.lock;
        match self.client.release_lock(key, owner, Some(*fencing_token)).await {
            Ok(reply) => Ok(reply.value.released),
            // The lock has another owner by now.
            Err(ClientError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.renewal.abort();
        if self.is_released {
            return;
        }
        // Outside a runtime, the lease expires.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (client, lock) = (self.client.clone(), self.lock.clone());
            drop(runtime.spawn(async move {
                let released = client.release_lock(&lock.key, &lock.owner, Some(lock.fencing_token)).await;
                if let Err(error) = released {
                    tracing::debug!(key = lock.key, %error, "client failed to release a lock; its lease must expire first");
                }
            }));
        }
    }
}

/// Renews a lock until its lease expires or it has another owner.
async fn renew(
    client: Client,
    lock: Lock,
    ttl: Duration,
    mut renewed_at: Instant,
    lost: watch::Sender<bool>,
) {
    let Lock { key, owner, fencing_token, .. } = lock;
    loop {
        let expires_at = renewed_at + ttl;
        let earliest = Instant::now() + ttl / RETRIES_PER_LEASE;
        sleep_until((renewed_at + ttl / RENEWALS_PER_LEASE).max(earliest)).await;
        let requested_at = Instant::now();
        match timeout_at(expires_at, client.renew_lock(&key, &owner, Some(fencing_token), ttl)).await {
            Ok(Ok(_)) => renewed_at = requested_at,
            Ok(Err(ClientError::Conflict(_))) | Err(_) => break,
            Ok(Err(error)) => tracing::debug!(key, %error, "client failed to renew a lock; retrying"),
        }
    }
    tracing::warn!(key, "client lost a lock");
    lost.send_replace(true);
}
