//! The memory for large payloads of attempts: it is bounded, and attempts wait for it.

use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Payloads up to this size need no slot.
pub const LARGE_PAYLOAD_BYTES: u64 = 1 << 20;
/// Maximum mebibytes of the large payloads of all attempts. A payload takes several times its text in memory.
const SLOT_MEBIBYTES: u32 = 128;

/// The memory for the large payloads of all attempts of a process.
#[derive(Debug, Clone)]
pub(crate) struct PayloadSlots(Arc<Semaphore>);

impl PayloadSlots {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(SLOT_MEBIBYTES as usize)))
    }

    pub(crate) fn slot(&self) -> PayloadSlot {
        PayloadSlot { slots: Some(Arc::clone(&self.0)), held: Arc::default() }
    }
}

/// The memory for the large payloads of one attempt. It is free again when the last clone is dropped. The default is not
/// bounded.
#[derive(Debug, Clone, Default)]
pub struct PayloadSlot {
    slots: Option<Arc<Semaphore>>,
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl PayloadSlot {
    /// Waits for the memory for a payload of `bytes`. An attempt that has memory does not wait for more: two attempts
    /// that wait for each other would not end. Cancel-safe.
    pub async fn acquire(&self, bytes: u64) {
        let Some(slots) = &self.slots else { return };
        if bytes < LARGE_PAYLOAD_BYTES || self.held.lock().is_some() {
            return;
        }
        let wanted = u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX).min(SLOT_MEBIBYTES);
        // Never closed.
        let permit = Arc::clone(slots).acquire_many_owned(wanted).await.ok();
        *self.held.lock() = permit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn attempts_wait_for_the_memory_of_others() {
        let slots = PayloadSlots::new();
        let (first, second) = (slots.slot(), slots.slot());
        first.acquire(u64::MAX).await;
        // An attempt that has memory needs no more for its output.
        first.acquire(u64::MAX).await;
        second.acquire(LARGE_PAYLOAD_BYTES - 1).await;
        let waiting = second.acquire(LARGE_PAYLOAD_BYTES);
        assert!(tokio::time::timeout(Duration::from_millis(20), waiting).await.is_err());
        drop(first);
        second.acquire(LARGE_PAYLOAD_BYTES).await;
        slots.slot().acquire(LARGE_PAYLOAD_BYTES).await;
    }
}
