//! The connections of workers in the audit log, and the workers that were refused.
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
    connections: Arc<CountedEvents>,
    refusals: Arc<CountedEvents>,
}

/// A worker that connects, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ConnectingWorker<'c> {
    pub(crate) principal: Option<&'c Principal>,
    pub(crate) source: Option<IpAddr>,
    pub(crate) namespace: Option<&'c str>,
    pub(crate) service: Option<&'c str>,
}

/// An open connection of a worker. Its end is recorded when [`end`](Self::end) is called.
#[derive(Debug)]
pub(crate) struct RecordedConnection {
    log: Arc<ConnectionLog>,
    source: Option<IpAddr>,
    begin: AuditEvent,
}

impl ConnectionLog {
    /// Starts the log over a store. Must be called within a Tokio runtime.
    pub(crate) fn start(store: Arc<dyn AuditStore>, stop: CancellationToken) -> Arc<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE_DEPTH);
        drop(goconductor_supervisor::spawn("worker-audit", write_all(store, waiting)));
        let offer = || -> OfferEvent {
            let queue = queue.clone();
            Box::new(move |event| queue.try_send(event).is_ok())
        };
        let connections = CountedEvents::start("worker-audit-counts", offer(), stop.clone());
        let refusals = CountedEvents::start("worker-audit-refusals", offer(), stop);
        Arc::new(Self { connections, refusals })
    }

    /// Records the begin of a connection.
    pub(crate) fn begin(self: &Arc<Self>, worker: ConnectingWorker<'_>) -> RecordedConnection {
        let begin = event(worker, AuditOutcome::Allowed);
        self.connections.add(worker.source, begin.target_name.clone(), begin.clone());
        RecordedConnection { log: Arc::clone(self), source: worker.source, begin }
    }

    /// Records a connection that was refused with an error code.
    pub(crate) fn refused(&self, worker: ConnectingWorker<'_>, code: &str) {
        let event = AuditEvent { code: Some(code.to_owned()), ..event(worker, AuditOutcome::Refused) };
        // The worker chooses the name of the service, so refusals are not counted apart by it.
        self.refusals.add(worker.source, None, event);
    }
}

impl RecordedConnection {
    /// Records the end of the connection.
    pub(crate) fn end(&self, reason: &'static str) {
        let event = AuditEvent {
            id: uuid::Uuid::now_v7().to_string(),
            at: clock::now(),
            action: END.to_owned(),
            after: Some(serde_json::json!({ "reason": reason }).to_string()),
            ..self.begin.clone()
        };
        self.log.connections.add(self.source, event.target_name.clone(), event);
    }
}

fn event(worker: ConnectingWorker<'_>, outcome: AuditOutcome) -> AuditEvent {
    let ConnectingWorker { principal, source, namespace, service } = worker;
    AuditEvent {
        id: uuid::Uuid::now_v7().to_string(),
        at: clock::now(),
        actor: principal.map_or_else(|| ANONYMOUS.to_owned(), |principal| principal.actor.clone()),
        credential: principal.map(|principal| principal.credential.to_string()),
        source: source.map(|source| source.to_canonical().to_string()),
        action: CONNECT.to_owned(),
        namespace: namespace.map(str::to_owned),
        target_kind: service.map(|_| "service".to_owned()),
        target_name: service.map(str::to_owned),
        outcome: outcome.as_str().to_owned(),
        code: None,
        count: 1,
        before: None,
        after: None,
        trace_id: None,
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

    fn gifts() -> ConnectingWorker<'static> {
        ConnectingWorker {
            source: Some(IpAddr::from([192, 0, 2, 1])),
            namespace: Some("shop"),
            service: Some("gifts"),
            ..ConnectingWorker::default()
        }
    }

    /// Waits until the log has `number` records, and returns a summary of each.
    async fn summaries(store: &SqliteStore, number: usize) -> Vec<String> {
        let request = AuditRequest { limit: u32::MAX, ..AuditRequest::default() };
        let mut records: Vec<AuditRecord> = Vec::new();
        for _ in 0..500 {
            records = store.audit_records(&request).await.unwrap();
            if records.len() >= number {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let summary = |record: &AuditRecord| {
            let event = &record.event;
            let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let [target, code, after] = [&event.target_name, &event.code, &event.after].map(text);
            format!("{} {target} {} {code} {after}", event.action, event.outcome)
        };
        records.iter().map(summary).collect()
    }

    #[tokio::test]
    async fn begin_and_end_of_a_connection_are_recorded_once_for_equal_ones() {
        let store = Arc::new(SqliteStore::ephemeral().unwrap());
        let log = ConnectionLog::start(store.clone(), CancellationToken::new());
        for _ in 0..10 {
            log.begin(gifts()).end("the worker closed the stream");
        }
        let end = r#"workers.connect.end gifts ALLOWED - {"reason":"the worker closed the stream"}"#;
        assert_eq!(summaries(&store, 2).await, ["workers.connect gifts ALLOWED - -", end]);
    }

    #[tokio::test]
    async fn refused_connection_is_recorded_once_for_each_code() {
        let store = Arc::new(SqliteStore::ephemeral().unwrap());
        let log = ConnectionLog::start(store.clone(), CancellationToken::new());
        for service in ["gifts", "gifts", "cards"] {
            log.refused(ConnectingWorker { service: None, ..gifts() }, "GC2062");
            log.refused(ConnectingWorker { service: Some(service), ..gifts() }, "GC2063");
        }
        let expected = ["workers.connect - REFUSED GC2062 -", "workers.connect gifts REFUSED GC2063 -"];
        assert_eq!(summaries(&store, 2).await, expected);
    }
}
