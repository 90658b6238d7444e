//! Transitions and workflows as they are stored: texts, with what is looked for beside them.
//!
//! A value is made into text once, by whoever computed it, and read once, by whoever wants to know it: what is
//! in between, groups, connections and databases, passes the text on.

use crate::Error;
use crate::Loaded;
use crate::json::{json, parsed};
use bytestring::ByteString;
use goconductor_saga::{
    Event, LedgerChange, RollbackCause, State, Status, Timestamp, Transition, WorkflowId,
};
use std::collections::BTreeMap;

/// A transition as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The workflow.
    pub id: WorkflowId,
    /// The `seq` that it was computed from; 0 for a start.
    pub from_seq: u64,
    /// The `seq` after it.
    pub seq: u64,
    /// Where the workflow lives.
    pub namespace: String,
    /// The definition's name.
    pub definition: String,
    /// The definition's version.
    pub version: u32,
    /// The status after it.
    pub status: Status,
    /// Why it is rolled back.
    pub cause: Option<RollbackCause>,
    /// When its start was accepted.
    pub created_at: Timestamp,
    /// When it became final.
    pub ended_at: Option<Timestamp>,
    /// Whether this is what ended it.
    pub ends: bool,
    /// To find it by; only a start says them, as nothing changes them.
    pub labels: BTreeMap<String, String>,
    /// What went wrong first, as JSON.
    pub error: Option<String>,
    /// The [`State`] after it, as JSON.
    pub state: ByteString,
    /// What happened, in order: each [`Event`] as JSON, by its `seq`.
    pub events: Vec<(u64, ByteString)>,
    /// What changes in the dispatch ledger.
    pub ledger: Vec<LedgerChange>,
}

impl Record {
    /// A transition as it is to be stored.
    ///
    /// # Errors
    /// When a value has no JSON form.
    pub fn of(transition: &Transition) -> Result<Self, Error> {
        let Transition { id, from_seq, events, state, ledger } = transition;
        let ends = events.iter().any(|event| event.kind.ends());
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
            labels: if *from_seq == 0 { state.labels.clone() } else { BTreeMap::new() },
            error: state.error.as_ref().map(|error| json("an error", error)).transpose()?,
            state: json("a state", state)?.into(),
            events: events.collect::<Result<_, Error>>()?,
            ledger: ledger.clone(),
        })
    }

    /// The transition that it was made of.
    ///
    /// # Errors
    /// When its texts are none of a transition.
    pub fn transition(&self) -> Result<Transition, Error> {
        Ok(Transition {
            id: self.id,
            from_seq: self.from_seq,
            events: self.happened()?,
            state: parsed("a state", &self.state)?,
            ledger: self.ledger.clone(),
        })
    }

    /// What happened.
    ///
    /// # Errors
    /// When a text is none of an event.
    pub fn happened(&self) -> Result<Vec<Event>, Error> {
        self.events.iter().map(|(_, event)| parsed("an event", event)).collect()
    }
}

/// A workflow as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its [`State`], as JSON.
    pub state: ByteString,
    /// The key that it was started with.
    pub idempotency_key: Option<String>,
}

impl Stored {
    /// A workflow as it stands.
    ///
    /// # Errors
    /// When the text is none of a state: `id` says in the error of which.
    pub fn loaded(self, id: WorkflowId) -> Result<Loaded, Error> {
        let state: State = parsed(&format!("the state of {id}"), &self.state)?;
        Ok(Loaded { state, idempotency_key: self.idempotency_key })
    }
}
