//! The audit log: who did what, in a chain of hashes.
//!
//! A record contains the hash of the record before it. A row that was altered, removed or inserted therefore breaks the
//! chain, and [`AuditVerifier`] names it. The hash is not keyed: a party that can write to the database can compute a
//! whole new chain. Only a head that was exported before, the *anchor*, shows that.

mod chain;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod intent;
mod verify;

pub use chain::{AuditHead, AuditRecord};
pub use verify::{AuditProblem, AuditProblemKind, AuditReport, AuditVerifier};

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use chain::chained;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use intent::{encoded_intent, unknown_outcomes};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use sql::page_of_records;

use crate::Error;
use crate::layer::layer;
use async_trait::async_trait;
use goconductor_saga::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The audit log.
#[async_trait]
pub trait AuditStore: std::fmt::Debug + Send + Sync {
    /// Appends events in order, all or none, and returns the new head. An event whose id is in the log already is left
    /// out, so that a call whose response was lost can be repeated.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written, `Error::OutcomeUnknown` if the response was lost, and
    /// `Error::Corrupt` if the head of the log is missing.
    async fn append_audit(&self, events: &[AuditEvent]) -> Result<AuditHead, Error>;

    /// Returns a page of records.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached.
    async fn audit_records(&self, request: &AuditRequest) -> Result<Vec<AuditRecord>, Error>;

    /// Returns the head. Its `seq` is 0 if the log is empty.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the database cannot be reached, and `Error::Corrupt` if the head of the log is
    /// missing.
    async fn audit_head(&self) -> Result<AuditHead, Error>;

    /// Notes changes that are about to be made. [`append_audit`](Self::append_audit) of an event with the same id deletes the
    /// note with the same commit. A repeated call has no further effect.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written, and `Error::OutcomeUnknown` if the response was lost.
    async fn note_audit_intents(&self, events: &[AuditEvent]) -> Result<(), Error>;

    /// Appends a record with the outcome [`AuditOutcome::Unknown`] for each intent that is older than `age` by the
    /// database's clock, and deletes the intents. Returns their number. The id of such a record is that of the intent
    /// followed by `.unknown`, so that a late record of the outcome is not left out. An intent whose outcome is already
    /// recorded is only deleted.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if nothing was written, `Error::OutcomeUnknown` if the response was lost, and
    /// `Error::Corrupt` if an intent cannot be read.
    async fn settle_audit_intents(&self, age: Duration) -> Result<u64, Error>;
}

layer!(AuditStore, AuditLayer {
    fn append_audit(events: &[AuditEvent]) -> AuditHead;
    fn audit_records(request: &AuditRequest) -> Vec<AuditRecord>;
    fn audit_head() -> AuditHead;
    fn note_audit_intents(events: &[AuditEvent]) -> ();
    fn settle_audit_intents(age: Duration) -> u64;
});

/// An event to be appended. Texts are stored unchanged. Values must be redacted before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Identifies the event, so that it is stored once.
    pub id: String,
    /// Time of the event, by the clock of the process that observed it.
    pub at: Timestamp,
    /// The subject that acted.
    pub actor: String,
    /// The id of its credential.
    pub credential: Option<String>,
    /// The address of the peer.
    pub source: Option<String>,
    /// The operation, such as `workflows.cancel`, or the path of an rpc.
    pub action: String,
    /// The namespace of the target.
    pub namespace: Option<String>,
    /// The kind of the target, such as `workflow`.
    pub target_kind: Option<String>,
    /// The name or the id of the target.
    pub target_name: Option<String>,
    /// The outcome, see [`AuditOutcome`].
    pub outcome: String,
    /// The error code of an action that was refused or failed.
    pub code: Option<String>,
    /// How many equal events the record stands for, at least 1.
    pub count: i64,
    /// The value before the change, as JSON text.
    pub before: Option<String>,
    /// The value after the change, or the parameters of the action, as JSON text.
    pub after: Option<String>,
    /// The trace of the request.
    pub trace_id: Option<String>,
}

/// The outcome of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOutcome {
    /// It was carried out.
    Allowed,
    /// The caller was not authenticated or not authorised. Nothing was changed.
    Refused,
    /// The caller was authorised, and the action failed.
    Failed,
    /// The process ended while it carried out the action.
    Unknown,
}

impl AuditOutcome {
    /// The name in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "ALLOWED",
            Self::Refused => "REFUSED",
            Self::Failed => "FAILED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// Parameters of [`AuditStore::audit_records`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditRequest {
    /// Conditions. All must hold.
    pub filter: AuditFilter,
    /// Records above this number only.
    pub after: u64,
    /// Records below this number only.
    pub before: Option<u64>,
    /// Whether the newest records come first.
    pub newest_first: bool,
    /// Maximum number of records.
    pub limit: u32,
}

/// Conditions on records. `None` accepts every value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// The subject that acted.
    pub actor: Option<String>,
    /// The id of its credential.
    pub credential: Option<String>,
    /// The address of the peer.
    pub source: Option<String>,
    /// The action.
    pub action: Option<String>,
    /// The namespace of the target.
    pub namespace: Option<String>,
    /// The kind of the target.
    pub target_kind: Option<String>,
    /// The name of the target.
    pub target_name: Option<String>,
    /// The outcome.
    pub outcome: Option<String>,
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

impl AuditFilter {
    /// Returns the conditions on texts, in the order of the query of a page.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn texts(&self) -> [Option<&str>; 8] {
        let Self {
            actor,
            credential,
            source,
            action,
            namespace,
            target_kind,
            target_name,
            outcome,
            since: _,
            until: _,
        } = self;
        [actor, credential, source, action, namespace, target_kind, target_name, outcome]
            .map(|text| text.as_deref())
    }
}
