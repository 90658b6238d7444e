//! The writer of the audit log: one task that appends all waiting events with one transaction.

use crate::metrics::{AUDIT_FAILING, AUDIT_RECORDS};
use goconductor_store::{AuditEvent, AuditStore};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Maximum number of events in one transaction.
const MAX_BATCH: usize = 256;
/// Maximum number of waiting events. They have some 10 MB if all values are large.
const QUEUE_DEPTH: usize = 2048;
/// Pause before a batch that could not be written is written again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A handle of the writer. The writer ends when the last handle is dropped and all events are written.
#[derive(Debug, Clone)]
pub(super) struct AuditWriter {
    queue: mpsc::Sender<WaitingEvent>,
    is_failing: Arc<AtomicBool>,
}

#[derive(Debug)]
struct WaitingEvent {
    event: AuditEvent,
    /// Notified when the event is durable. `None` if no caller waits.
    written: Option<oneshot::Sender<()>>,
}

impl AuditWriter {
    /// Starts the writer. Must be called within a Tokio runtime.
    pub(super) fn start(store: Arc<dyn AuditStore>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_DEPTH);
        let is_failing = Arc::new(AtomicBool::new(false));
        drop(goconductor_supervisor::spawn("audit-log", write_all(store, waiting, Arc::clone(&is_failing))));
        Self { queue, is_failing }
    }

    /// Whether the last write failed. It is retried until it succeeds.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Appends an event, and waits until it is durable. Returns whether it is. An event whose caller stops waiting is
    /// written nevertheless once the queue has accepted it.
    pub(super) async fn write(&self, event: AuditEvent) -> bool {
        let (written, durable) = oneshot::channel();
        let accepted = self.queue.send(WaitingEvent { event, written: Some(written) }).await.is_ok();
        accepted && durable.await.is_ok()
    }

    /// Appends an event in the background. Returns whether the queue had room for it.
    pub(super) fn offer(&self, event: AuditEvent) -> bool {
        self.queue.try_send(WaitingEvent { event, written: None }).is_ok()
    }
}

async fn write_all(
    store: Arc<dyn AuditStore>,
    mut queue: mpsc::Receiver<WaitingEvent>,
    is_failing: Arc<AtomicBool>,
) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while queue.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let (events, waiting): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|each| (each.event, each.written)).unzip();
        // The ids of the events make a repetition harmless.
        while let Err(error) = store.append_audit(&events).await {
            if !is_failing.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "audit log was not written; changes are refused until it is");
            }
            AUDIT_FAILING.set(1.0);
            tokio::time::sleep(RETRY_DELAY).await;
        }
        if is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("audit log was written again");
        }
        AUDIT_FAILING.set(0.0);
        for event in &events {
            AUDIT_RECORDS.with([event.outcome.clone().into()]).increment(1);
        }
        for waiting in waiting.into_iter().flatten() {
            // Fails if the caller has stopped waiting.
            let _ = waiting.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use goconductor_saga::Timestamp;
    use goconductor_store::{AuditHead, AuditRecord, AuditRequest, Error};
    use parking_lot::Mutex;

    /// A log that remembers its events, and whose writes may fail.
    #[derive(Debug, Default)]
    struct Recorded {
        events: Mutex<Vec<AuditEvent>>,
        calls: Mutex<Vec<usize>>,
        is_broken: AtomicBool,
    }

    impl Recorded {
        /// Waits for `number` events, and returns their counts.
        async fn counts(&self, number: usize) -> Vec<i64> {
            for _ in 0..1000 {
                if self.events.lock().len() >= number {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.events.lock().iter().map(|event| event.count).collect()
        }
    }

    #[async_trait]
    impl AuditStore for Recorded {
        async fn append_audit(&self, events: &[AuditEvent]) -> Result<AuditHead, Error> {
            tokio::task::yield_now().await;
            if self.is_broken.load(Ordering::Relaxed) {
                return Err(Error::unavailable("connection refused"));
            }
            self.calls.lock().push(events.len());
            self.events.lock().extend_from_slice(events);
            Ok(AuditHead::default())
        }

        async fn audit_records(&self, _: &AuditRequest) -> Result<Vec<AuditRecord>, Error> {
            Ok(Vec::new())
        }

        async fn audit_head(&self) -> Result<AuditHead, Error> {
            Ok(AuditHead::default())
        }

        async fn note_audit_intents(&self, _: &[AuditEvent]) -> Result<(), Error> {
            Ok(())
        }

        async fn settle_audit_intents(&self, _: Duration) -> Result<u64, Error> {
            Ok(0)
        }
    }

    fn event() -> AuditEvent {
        AuditEvent {
            id: uuid::Uuid::now_v7().to_string(),
            at: Timestamp(0),
            actor: "ada".to_owned(),
            credential: None,
            source: None,
            action: "workflows.cancel".to_owned(),
            namespace: None,
            target_kind: None,
            target_name: None,
            outcome: "ALLOWED".to_owned(),
            code: None,
            count: 1,
            before: None,
            after: None,
            trace_id: None,
        }
    }

    #[tokio::test]
    async fn concurrent_events_share_transactions() {
        let store = Arc::new(Recorded::default());
        let writer = AuditWriter::start(store.clone());
        let writes = (0..500).map(|_| {
            let writer = writer.clone();
            tokio::spawn(async move { writer.write(event()).await })
        });
        for write in writes.collect::<Vec<_>>() {
            assert!(write.await.unwrap());
        }
        let calls = store.calls.lock().clone();
        assert_eq!(calls.iter().sum::<usize>(), 500);
        assert!(calls.len() <= 10, "{calls:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn failed_write_is_retried_and_reported_meanwhile() {
        let store = Arc::new(Recorded::default());
        let writer = AuditWriter::start(store.clone());
        store.is_broken.store(true, Ordering::Relaxed);
        let write = writer.write(event());
        tokio::pin!(write);
        assert!(tokio::time::timeout(Duration::from_secs(3), &mut write).await.is_err());
        assert!(writer.is_failing());
        store.is_broken.store(false, Ordering::Relaxed);
        assert!(write.await);
        assert!(!writer.is_failing());
        assert_eq!(store.counts(1).await, [1]);
    }
}
