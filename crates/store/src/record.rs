//! Encoded transitions and workflows: JSON text, with the columns by which they are queried.
//!
//! A value is encoded once, by the process that computes it, and decoded once, by the process that uses it. Batches,
//! connections and databases in between pass the text on.

use crate::Error;
use crate::json::{json, parsed};
use bytestring::ByteString;
use goconductor_saga::{
    Event, EventKind, LedgerChange, LockRelease, RollbackCause, State, Status, Timestamp, Transition,
    WorkflowId,
};
use std::collections::BTreeMap;

/// An encoded transition.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedTransition {
    /// The workflow.
    pub id: WorkflowId,
    /// The `seq` from which the transition was computed. 0 for a start.
    pub from_seq: u64,
    /// The `seq` after the transition.
    pub seq: u64,
    /// The namespace of the workflow.
    pub namespace: String,
    /// The definition's name.
    pub definition: String,
    /// The definition's version.
    pub version: u32,
    /// The status after the transition.
    pub status: Status,
    /// The cause of the rollback.
    pub cause: Option<RollbackCause>,
    /// Time when the start was accepted.
    pub created_at: Timestamp,
    /// Time when the workflow became final.
    pub ended_at: Option<Timestamp>,
    /// Whether this transition ends the workflow.
    pub ends: bool,
    /// How the workflow had ended, if this transition reopens it: the rollback of a completed workflow, or a re-run. Such
    /// a transition can also end the workflow, if there is nothing to compensate and nothing to execute.
    pub reopens: Option<FormerEnd>,
    /// Whether the workflow follows another version of its definition after this transition.
    pub migrates: bool,
    /// The workflow whose step started this one as its child. Only a start contains it, because it never changes.
    pub parent: Option<WorkflowId>,
    /// The labels. Only a start contains them, because they never change.
    pub labels: BTreeMap<String, String>,
    /// The first error, as JSON.
    pub error: Option<String>,
    /// The [`State`] after the transition, as JSON.
    pub state: ByteString,
    /// The events in order, each [`Event`] as JSON with its `seq`.
    pub events: Vec<(u64, ByteString)>,
    /// The changes of the dispatch ledger.
    pub ledger: Vec<LedgerChange>,
    /// The locks that the commit releases.
    pub locks: Vec<LockRelease>,
}

impl EncodedTransition {
    /// Encodes a transition.
    ///
    /// # Errors
    /// Returns `Error::Corrupt` if a value has no JSON form.
    pub fn of(transition: &Transition) -> Result<Self, Error> {
        let Transition { id, from_seq, events, state, ledger, locks } = transition;
        let ends = state.phase.is_final() && events.iter().any(|event| event.kind.ends());
        let reopens = if *from_seq > 0 { former_end(events) } else { None };
        let migrates = events.iter().any(|event| matches!(event.kind, EventKind::WorkflowMigrated { .. }));
        let events = events.iter().map(|event| Ok((event.seq, json("an event", event)?.into())));
        Ok(Self {
            id: *id,
            from_seq: *from_seq,
            seq: state.seq,
            namespace: state.namespace.clone(),
            definition: state.definition.clone(),
            version: state.version,
            status: state.status(),
            cause: state.cause,
            created_at: state.created_at,
            ended_at: state.ended_at,
            ends,
            reopens,
            migrates,
            parent: state.parent.filter(|_| *from_seq == 0).map(|parent| parent.id),
            labels: if *from_seq == 0 { state.labels.clone() } else { BTreeMap::new() },
            error: state.error.as_ref().map(|error| json("an error", error)).transpose()?,
            state: json("a state", state)?.into(),
            events: events.collect::<Result<_, Error>>()?,
            ledger: ledger.clone(),
            locks: locks.clone(),
        })
    }

    /// Decodes the transition.
    ///
    /// # Errors
    /// Returns `Error::Corrupt` if the state or an event cannot be decoded.
    pub fn transition(&self) -> Result<Transition, Error> {
        Ok(Transition {
            id: self.id,
            from_seq: self.from_seq,
            events: self.decode_events()?,
            state: parsed("a state", &self.state)?,
            ledger: self.ledger.clone(),
            locks: self.locks.clone(),
        })
    }

    /// Decodes the events.
    ///
    /// # Errors
    /// Returns `Error::Corrupt` if an event cannot be decoded.
    pub fn decode_events(&self) -> Result<Vec<Event>, Error> {
        self.events.iter().map(|(_, event)| parsed("an event", event)).collect()
    }
}

/// The status of a workflow that had ended and was reopened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormerEnd {
    /// The final status.
    pub status: Status,
    /// The cause of the rollback, if there was one.
    pub cause: Option<RollbackCause>,
}

impl FormerEnd {
    /// The end of a completed workflow.
    pub const COMPLETED: Self = Self { status: Status::Completed, cause: None };

    /// Returns the cause as the tables have it. It is empty if there was no rollback.
    pub(crate) fn cause_text(self) -> &'static str {
        self.cause.map_or("", |cause| cause.as_str())
    }
}

/// Returns how the workflow had ended before these events, if the first event that ends or reopens it reopens it.
fn former_end(events: &[Event]) -> Option<FormerEnd> {
    let mut decisive = events.iter().filter(|event| event.kind.ends() || event.kind.reopens());
    let first = decisive.next().filter(|event| event.kind.reopens())?;
    if let EventKind::RerunStarted { from, from_cause, .. } = &first.kind {
        return Some(FormerEnd { status: *from, cause: *from_cause });
    }
    Some(FormerEnd::COMPLETED)
}

/// An encoded workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedWorkflow {
    /// The [`State`], as JSON.
    pub state: ByteString,
    /// The idempotency key of the start.
    pub idempotency_key: Option<String>,
}

impl EncodedWorkflow {
    /// Decodes the workflow. `id` names it in the error.
    ///
    /// # Errors
    /// Returns `Error::Corrupt` if the state cannot be decoded.
    pub fn decode(self, id: WorkflowId) -> Result<Loaded, Error> {
        let state: State = parsed(&format!("the state of {id}"), &self.state)?;
        Ok(Loaded { state, idempotency_key: self.idempotency_key })
    }
}

/// A loaded workflow.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The state.
    pub state: State,
    /// The idempotency key of the start.
    pub idempotency_key: Option<String>,
}
