//! The audit log of the gateway: what is recorded, and when.
//!
//! A request that may change something is recorded with its outcome before its response is sent. Its intent is noted before
//! anything is done, so that a process that ends in between leaves a record with an unknown outcome. If the log cannot be
//! written, such a request is refused. A refused request is recorded in the background, and
//! equal refusals of one source are counted, so that an attacker cannot fill the disk. Streams that claim something, such
//! as campaigns, are recorded with their begin and their end in the same manner.

mod action;
mod stream;
mod writer;

use crate::audit_notes::Notes;
use crate::error::{AUDIT_DELAYED, AUDIT_UNAVAILABLE, ApiResult, Problem, RETRY_AFTER};
use axum::http::Extensions;
use goconductor_process::{CountedEvents, OfferEvent, PeerAddress};
use goconductor_saga::Timestamp;
use goconductor_store::{AuditEvent, AuditOutcome, AuditStore, Error};
use goconductor_transition::clock;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use writer::AuditWriter;

pub(crate) use action::name as action_name;
pub(crate) use stream::StreamRecord;

/// Time for which a request waits for its record. It is longer than a failover of the database's connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Age from which the process of an intent counts as ended. It is longer than a request takes, and a request that takes
/// longer has a second record.
const INTENT_AGE: Duration = Duration::from_secs(120);
/// Interval between two searches for such intents.
const SETTLE_INTERVAL: Duration = Duration::from_secs(15);
/// The caller of a request that is not authenticated.
pub(crate) const ANONYMOUS: &str = "anonymous";
/// Maximum characters of a text that a caller chose, such as a path.
const MAX_TEXT_CHARS: usize = 256;

/// The audit log.
#[derive(Debug)]
pub(crate) struct AuditLog {
    store: Arc<dyn AuditStore>,
    writer: AuditWriter,
    refusals: Arc<CountedEvents>,
    streams: Arc<CountedEvents>,
    /// Whether requests of applications are recorded, such as starts of workflows.
    starts: bool,
}

/// A request, as far as it is known before it is served.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The name of the caller.
    pub(crate) actor: String,
    /// The id of its credential.
    pub(crate) credential: Option<String>,
    /// The address of the peer.
    pub(crate) source: Option<IpAddr>,
    /// The operation, such as `workflows.cancel`, or the path of an rpc.
    pub(crate) action: String,
    /// The namespace.
    pub(crate) namespace: Option<String>,
    /// The method and the path.
    pub(crate) target: String,
}

/// How often a kind of request occurs, and therefore whether it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frequency {
    /// Requests of operators. They are always recorded.
    Operator,
    /// Requests that applications make in the course of their work: starts, signals and locks.
    Application,
}

impl AuditLog {
    /// Starts the log over a store. Must be called within a Tokio runtime.
    pub(crate) fn start(store: Arc<dyn AuditStore>, starts: bool, stop: CancellationToken) -> Arc<Self> {
        let writer = AuditWriter::start(store.clone());
        drop(goconductor_supervisor::spawn("audit-intents", settle_intents(store.clone(), stop.clone())));
        let offer = || -> OfferEvent {
            let writer = writer.clone();
            Box::new(move |event| writer.offer(event))
        };
        let refusals = CountedEvents::start("audit-refusals", offer(), stop.clone());
        let streams = CountedEvents::start("audit-streams", offer(), stop);
        Arc::new(Self { store, writer, refusals, streams, starts })
    }

    /// Whether a request that may change something is recorded.
    pub(crate) fn records(&self, frequency: Frequency) -> bool {
        frequency == Frequency::Operator || self.starts
    }

    /// Refuses a request that must be recorded while the log cannot be written.
    pub(crate) fn check(&self) -> ApiResult<()> {
        if self.writer.is_failing() { Err(unavailable()) } else { Ok(()) }
    }

    /// Notes a request that is about to be served, and waits until the note is durable. Refuses the request otherwise.
    pub(crate) async fn intend(&self, subject: &Subject) -> ApiResult<AuditIntent> {
        let event = event(subject.clone(), Notes::default(), AuditOutcome::Unknown, clock::now());
        let id = event.id.clone();
        match tokio::time::timeout(WRITE_TIMEOUT, self.store.note_audit_intents(&[event])).await {
            // A state store of an earlier release does not know intents.
            Ok(Ok(()) | Err(Error::Corrupt { .. })) => Ok(AuditIntent(id)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "audit log failed to record the intent of a change; the change was refused");
                Err(self.not_intended(subject, id))
            }
            Err(_) => Err(self.not_intended(subject, id)),
        }
    }

    /// Records that a request was not served because its intent was not noted. The writer repeats the record until the log
    /// can be written, and changes are refused until then. The intent may have been noted, so the record has its id.
    fn not_intended(&self, subject: &Subject, id: String) -> Problem {
        let failed = event(subject.clone(), Notes::default(), AuditOutcome::Failed, clock::now());
        // A full queue means that the writer repeats already.
        let _ = self.writer.offer(AuditEvent { id, ..failed });
        unavailable()
    }

    /// Records the outcome of a request that may have changed something, and waits until the record is durable.
    pub(crate) async fn record(
        &self,
        intent: Option<AuditIntent>,
        subject: Subject,
        notes: Notes,
        is_failed: bool,
    ) -> ApiResult<()> {
        let outcome = if is_failed { AuditOutcome::Failed } else { AuditOutcome::Allowed };
        let mut event = event(subject, notes, outcome, clock::now());
        if let Some(AuditIntent(id)) = intent {
            event.id = id;
        }
        let written = self.writer.write(event);
        if tokio::time::timeout(WRITE_TIMEOUT, written).await.is_ok_and(|written| written) {
            return Ok(());
        }
        let carried_out = if is_failed { "the request failed" } else { "the request was carried out" };
        let detail = format!(
            "{carried_out}, but its audit record is not confirmed yet: check its effect before you repeat it"
        );
        Err(Problem::new(AUDIT_DELAYED, detail))
    }

    /// Records a refused request in the background.
    pub(crate) fn refused(&self, subject: Subject, notes: Notes) {
        let source = subject.source;
        self.refusals.add(source, None, event(subject, notes, AuditOutcome::Refused, clock::now()));
    }

    /// Records the begin or the end of a stream in the background.
    fn streamed(&self, subject: Subject, notes: Notes) {
        let source = subject.source;
        let event = event(subject, notes, AuditOutcome::Allowed, clock::now());
        let target = event.target_name.clone();
        self.streams.add(source, target, event);
    }
}

/// A request whose intent was noted: the id of its record.
#[derive(Debug)]
pub(crate) struct AuditIntent(String);

fn unavailable() -> Problem {
    let detail =
        "the audit log cannot be written, so changes are refused; retry when the database is available";
    Problem::new(AUDIT_UNAVAILABLE, detail).retry_after(RETRY_AFTER)
}

/// Records the requests whose process has ended before their outcome was recorded.
async fn settle_intents(store: Arc<dyn AuditStore>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match store.settle_audit_intents(INTENT_AGE).await {
            Ok(0) => {}
            Ok(settled) => {
                tracing::warn!(settled, "changes with an unknown outcome were recorded in the audit log")
            }
            Err(error) => tracing::debug!(%error, "intents of changes were not settled"),
        }
        // Safe to cancel: both branches only wait.
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(SETTLE_INTERVAL) => {}
        }
    }
}

fn event(subject: Subject, notes: Notes, outcome: AuditOutcome, at: Timestamp) -> AuditEvent {
    let Subject { actor, credential, source, action, namespace, target } = subject;
    let (target_kind, target_name) = match notes.target {
        Some((kind, name)) => (kind.to_owned(), name),
        None => ("request".to_owned(), target),
    };
    AuditEvent {
        id: uuid::Uuid::now_v7().to_string(),
        at,
        actor: shortened(&actor),
        credential,
        source: source.map(|source| source.to_canonical().to_string()),
        action: shortened(&action),
        namespace: namespace.as_deref().map(shortened),
        target_kind: Some(target_kind),
        target_name: Some(shortened(&target_name)),
        outcome: outcome.as_str().to_owned(),
        code: notes.code.map(str::to_owned),
        count: 1,
        before: notes.before,
        after: notes.after,
        trace_id: notes.trace_id.or_else(current_trace),
    }
}

fn current_trace() -> Option<String> {
    goconductor_telemetry::trace::current().map(|span| span.trace_id().to_owned())
}

/// Returns the text without control characters, cut to a length that a record may have.
fn shortened(text: &str) -> String {
    text.chars().filter(|each| !each.is_control()).take(MAX_TEXT_CHARS).collect()
}

/// Returns the address of the peer. `None` if the request did not come by a listener, as in tests.
pub(crate) fn peer_address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<PeerAddress>().map(|peer| peer.0)
}
