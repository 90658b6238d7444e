//! Wake-up of this process's dispatcher when the ledger gets a row that is due before its next poll.

use goconductor_saga::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::Notify;

/// Wakes the dispatcher when a row is due before the dispatcher's next planned poll.
#[derive(Debug)]
pub struct TimerNotifier {
    next_poll: AtomicI64,
    wake: Notify,
}

impl TimerNotifier {
    pub(crate) fn new() -> Self {
        Self { next_poll: AtomicI64::new(i64::MAX), wake: Notify::new() }
    }

    /// Wakes the dispatcher if `at`, when a row of the ledger is due, is before its next poll.
    pub fn notify_due(&self, at: Timestamp) {
        if at.0 < self.next_poll.load(Ordering::Acquire) {
            self.notify();
        }
    }

    /// Wakes the dispatcher, whenever its next poll is planned.
    pub fn notify(&self) {
        self.wake.notify_one();
    }

    /// Sets the time of the dispatcher's next poll.
    ///
    /// Call it before the ledger is read, so that a row that is written during the read causes a wake-up.
    pub fn set_next_poll(&self, at: Timestamp) {
        self.next_poll.store(at.0, Ordering::Release);
    }

    /// Waits for a wake-up.
    ///
    /// Cancel-safe: a wake-up that arrives while no call waits is kept for the next call.
    pub async fn notified(&self) {
        self.wake.notified().await;
    }
}
