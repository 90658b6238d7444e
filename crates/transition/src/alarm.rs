//! Wakes the duty runner of this process when something becomes due earlier than it means to look.

use goconductor_saga::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::Notify;

/// What is left to the ledger becomes due at some time; who sleeps past it is woken.
#[derive(Debug)]
pub struct Alarm {
    sleeps_until: AtomicI64,
    wake: Notify,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self { sleeps_until: AtomicI64::new(i64::MAX), wake: Notify::new() }
    }

    /// Something is due at this time that only the ledger knows of.
    pub fn due(&self, at: Timestamp) {
        if at.0 < self.sleeps_until.load(Ordering::Acquire) {
            self.wake.notify_one();
        }
    }

    /// Something is to be looked at now, whatever the sleeper knows.
    pub fn ring(&self) {
        self.wake.notify_one();
    }

    /// Says until when the duty runner means to sleep. To be said before the ledger is read: what is
    /// written in between rings.
    pub fn sleeps_until(&self, at: Timestamp) {
        self.sleeps_until.store(at.0, Ordering::Release);
    }

    /// Waits until it rings. Cancel-safe: a ring that nobody waited for is kept.
    pub async fn rung(&self) {
        self.wake.notified().await;
    }
}
