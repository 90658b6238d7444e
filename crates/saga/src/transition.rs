//! A transition: what one commit changes of one workflow.

use crate::{Event, Owed, OwedKey, Plan, State, WorkflowId, owed};
use alloc::vec::Vec;

/// The atomic change of one workflow from one `seq` to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The workflow.
    pub id: WorkflowId,
    /// The `seq` that it was computed from; 0 for a start.
    pub from_seq: u64,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The state after it.
    pub state: State,
    /// What changes in the dispatch ledger: `owed(after) − owed(before)`.
    pub ledger: Vec<LedgerChange>,
}

/// One change of the dispatch ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerChange {
    /// A row comes in. One that is there for an earlier attempt is replaced.
    Issue(Owed),
    /// The row of an attempt that stays open is to be treated in another way.
    Change(Owed),
    /// A row is settled.
    Settle(OwedKey),
}

/// Puts a decision into the form that a store commits.
#[must_use]
pub fn transition(plan: &Plan, before: Option<&State>, events: Vec<Event>, after: State) -> Transition {
    let was = before.map(|state| owed(plan, state)).unwrap_or_default();
    let is = owed(plan, &after);
    let mut ledger: Vec<LedgerChange> = was
        .iter()
        .filter(|old| !is.iter().any(|new| new.key == old.key))
        .map(|old| LedgerChange::Settle(old.key))
        .collect();
    for new in is {
        match was.iter().find(|old| old.key == new.key) {
            None => ledger.push(LedgerChange::Issue(new)),
            Some(old) if old.attempt != new.attempt => ledger.push(LedgerChange::Issue(new)),
            Some(old) if *old != new => ledger.push(LedgerChange::Change(new)),
            Some(_) => {}
        }
    }
    let from_seq = before.map_or(0, |state| state.seq);
    Transition { id: after.id, from_seq, events, state: after, ledger }
}
