//! Locks that hold themselves.

use crate::{Conductor, Error, Lock};
use goconductor_client::{Client, Error as ClientError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Between tries to get a lock that another holds.
const AGAIN: Duration = Duration::from_millis(250);
/// How often a lock is renewed within its lease.
const RENEWALS: u32 = 3;

/// A lock that is renewed for as long as this is there. Dropped, it is given back without waiting for it.
///
/// Its token, not this, is the proof: a process that was paused past its lease believes in the lock until it looks.
/// So the token goes with whatever is done on the lock's behalf, and what does it refuses one that is lower than it
/// has seen.
#[derive(Debug)]
pub struct Held {
    client: Client,
    lock: Lock,
    lost: watch::Receiver<bool>,
    keeper: JoinHandle<()>,
    is_released: bool,
}

impl Conductor {
    /// Waits until a lock is free, takes it, and renews it well within its lease. `ttl` is how long it stays locked if
    /// this process dies.
    ///
    /// Safe to cancel: what was taken for one who has gone is free after its lease.
    ///
    /// # Errors
    /// When the gateway can't be reached, or refuses the key or the lease.
    pub async fn lock(&self, key: impl Into<String>, ttl: Duration) -> Result<Held, Error> {
        let key = key.into();
        let owner = uuid::Uuid::now_v7().to_string();
        loop {
            if let Some(held) = self.take(&key, &owner, ttl).await? {
                return Ok(held);
            }
            sleep(AGAIN).await;
        }
    }

    /// Takes a lock if it is free now; none: another holds it.
    ///
    /// # Errors
    /// When the gateway can't be reached, or refuses the key or the lease.
    pub async fn try_lock(&self, key: impl Into<String>, ttl: Duration) -> Result<Option<Held>, Error> {
        self.take(&key.into(), &uuid::Uuid::now_v7().to_string(), ttl).await
    }

    async fn take(&self, key: &str, owner: &str, ttl: Duration) -> Result<Option<Held>, Error> {
        let client = self.client().clone();
        let asked = Instant::now();
        let lock = match client.acquire_lock(key, owner, ttl).await {
            Ok(reply) => reply.value,
            Err(ClientError::Conflict(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (tell, lost) = watch::channel(false);
        let keeper = tokio::spawn(keep(client.clone(), lock.clone(), ttl, asked, tell));
        Ok(Some(Held { client, lock, lost, keeper, is_released: false }))
    }
}

impl Held {
    /// What is locked.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.lock.key
    }

    /// Higher than that of every hold of this key before it, for ever.
    #[must_use]
    pub fn fencing_token(&self) -> u64 {
        self.lock.fencing_token
    }

    /// Whether the lock is held, as far as this process knows.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !*self.lost.borrow() && self.lost.has_changed().is_ok()
    }

    /// Waits until the lock is not held any more: it could not be renewed in time. Safe to cancel.
    pub async fn lost(&self) {
        // A closed channel is an end as well.
        drop(self.lost.clone().wait_for(|lost| *lost).await);
    }

    /// Gives the lock back; false: it was not held any more.
    ///
    /// # Errors
    /// When the gateway can't be reached: then it is free after its lease.
    pub async fn release(mut self) -> Result<bool, Error> {
        self.keeper.abort();
        self.is_released = true;
        let Lock { key, owner, fencing_token, .. } = &self.lock;
        match self.client.release_lock(key, owner, Some(*fencing_token)).await {
            Ok(reply) => Ok(reply.value.released),
            // Another holds it by now.
            Err(ClientError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keeper.abort();
        if self.is_released {
            return;
        }
        // Without a runtime the lease runs out by itself.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (client, lock) = (self.client.clone(), self.lock.clone());
            drop(runtime.spawn(async move {
                let given = client.release_lock(&lock.key, &lock.owner, Some(lock.fencing_token)).await;
                if let Err(error) = given {
                    tracing::debug!(key = lock.key, %error, "the lock's lease runs out by itself");
                }
            }));
        }
    }
}

/// Renews a lock until that can't be done in time.
async fn keep(client: Client, lock: Lock, ttl: Duration, mut held: Instant, lost: watch::Sender<bool>) {
    let Lock { key, owner, fencing_token, .. } = lock;
    loop {
        let end = held + ttl;
        sleep_until((held + ttl / RENEWALS).max(Instant::now() + ttl / 20)).await;
        let asked = Instant::now();
        match timeout_at(end, client.renew_lock(&key, &owner, Some(fencing_token), ttl)).await {
            Ok(Ok(_)) => held = asked,
            Ok(Err(ClientError::Conflict(_))) | Err(_) => break,
            Ok(Err(error)) => tracing::debug!(key, %error, "the lock is renewed again"),
        }
    }
    tracing::warn!(key, "the lock is held no longer");
    lost.send_replace(true);
}
