//! The connections of workers in the audit log.
//!
//! Equal connections are counted, so that a worker that connects again and again cannot fill the log. Work continues if the
//! log cannot be written.

use goconductor_access::Principal;
use goconductor_process::{CountedEvents, OfferEvent};
use goconductor_store::{AuditEvent, AuditOutcome, AuditStore};
use goconductor_transition::clock;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Maximum number of events that wait for the store.
const QUEUE_DEPTH: usize = 256;
/// Delay before events that could not be written are written again.
const RETRY_DELAY: Duration = Duration::from_secs(5);
/// The worker of a connection that is not authenticated.
const ANONYMOUS: &str = "anonymous";
const CONNECT: &str = "workers.connect";
const END: &str = "workers.connect.end";

/// The log of the connections.
#[derive(Debug)]
pub(crate) struct ConnectionLog {
    events: Arc<CountedEvents>,
}

/// An open connection of a worker. Its end is recorded when [`end`](Self::end) is called.
#[derive(Debug)]
pub(crate) struct RecordedConnection {
    log: Arc<ConnectionLog>,
    actor: String,
    credential: Option<String>,
    source: Option<IpAddr>,
    namespace: String,
    service: String,
}

impl ConnectionLog {
    /// Starts the log over a store. Must be called within a Tokio runtime.
    pub(crate) fn start(store: Arc<dyn AuditStore>, stop: CancellationToken) -> Arc<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE_DEPTH);
        drop(goconductor_supervisor::spawn("worker-audit", write_all(store, waiting)));
        let offer: OfferEvent = Box::new(move |event| queue.try_send(event).is_ok());
        Arc::new(Self { events: CountedEvents::start("worker-audit-counts", offer, stop) })
    }

    /// Records the begin of a connection.
    pub(crate) fn begin(
        self: &Arc<Self>,
        principal: Option<&Principal>,
        source: Option<IpAddr>,
        (namespace, service): (&str, &str),
    ) -> RecordedConnection {
        let connection = RecordedConnection {
            log: Arc::clone(self),
            actor: principal.map_or_else(|| ANONYMOUS.to_owned(), |principal| principal.actor.clone()),
            credential: principal.map(|principal| principal.credential.to_string()),
            source,
            namespace: namespace.to_owned(),
            service: service.to_owned(),
        };
        connection.record(CONNECT, None);
        connection
    }
}

impl RecordedConnection {
    /// Records the end of the connection.
    pub(crate) fn end(&self, reason: &'static str) {
        self.record(END, Some(serde_json::json!({ "reason": reason }).to_string()));
    }

    fn record(&self, action: &str, after: Option<String>) {
        let event = AuditEvent {
            id: uuid::Uuid::now_v7().to_string(),
            at: clock::now(),
            actor: self.actor.clone(),
            credential: self.credential.clone(),
            source: self.source.map(|source| source.to_canonical().to_string()),
            action: action.to_owned(),
            namespace: Some(self.namespace.clone()),
            target_kind: Some("service".to_owned()),
            target_name: Some(self.service.clone()),
            outcome: AuditOutcome::Allowed.as_str().to_owned(),
            code: None,
            count: 1,
            before: None,
            after,
            trace_id: None,
        };
        self.log.events.add(self.source, Some(self.service.clone()), event);
    }
}

/// Writes events until the log is dropped.
async fn write_all(store: Arc<dyn AuditStore>, mut queue: mpsc::Receiver<AuditEvent>) {
    let mut batch = Vec::with_capacity(QUEUE_DEPTH);
    let mut is_failing = false;
    while queue.recv_many(&mut batch, QUEUE_DEPTH).await > 0 {
        // The ids of the events make a repetition harmless.
        while let Err(error) = store.append_audit(&batch).await {
            if !std::mem::replace(&mut is_failing, true) {
                tracing::warn!(%error, "connections of workers were not recorded in the audit log");
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
        is_failing = false;
        batch.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_store::sqlite::SqliteStore;
    use goconductor_store::{AuditRecord, AuditRequest};

    #[tokio::test]
    async fn begin_and_end_of_a_connection_are_recorded_once_for_equal_ones() {
        let store = Arc::new(SqliteStore::ephemeral().unwrap());
        let log = ConnectionLog::start(store.clone(), CancellationToken::new());
        for _ in 0..10 {
            let source = Some(IpAddr::from([192, 0, 2, 1]));
            log.begin(None, source, ("shop", "gifts")).end("the worker closed the stream");
        }
        let request = AuditRequest { limit: u32::MAX, ..AuditRequest::default() };
        let mut records: Vec<AuditRecord> = Vec::new();
        for _ in 0..500 {
            records = store.audit_records(&request).await.unwrap();
            if records.len() >= 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let shown: Vec<String> = records
            .iter()
            .map(|record| {
                let event = &record.event;
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                format!("{} {} {}", event.action, text(&event.target_name), text(&event.after))
            })
            .collect();
        let end = r#"workers.connect.end gifts {"reason":"the worker closed the stream"}"#;
        assert_eq!(shown, ["workers.connect gifts ", end]);
    }
}
