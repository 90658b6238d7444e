//! A transition: the change of one workflow by one commit.

use crate::lock_claims::released;
use crate::{Event, LockRelease, Owed, OwedKey, Plan, State, WorkflowId, owed};
use alloc::vec::Vec;

/// The atomic change of one workflow from one `seq` to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The id of the workflow.
    pub id: WorkflowId,
    /// The `seq` that the transition was computed from, or 0 for a start.
    pub from_seq: u64,
    /// The events, in order.
    pub events: Vec<Event>,
    /// The state after the events.
    pub state: State,
    /// The changes of the dispatch ledger: the difference between `owed(after)` and `owed(before)`.
    pub ledger: Vec<LedgerChange>,
    /// The locks that the commit releases.
    pub locks: Vec<LockRelease>,
}

/// A change of the dispatch ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerChange {
    /// Inserts a row. It replaces a row of an earlier attempt.
    Issue(Owed),
    /// Changes the row of an attempt that stays open.
    Change(Owed),
    /// Deletes the row of a settled command or timer.
    Settle(OwedKey),
}

/// Returns a decision in the form that a store commits.
#[must_use]
pub fn transition(plan: &Plan, before: Option<&State>, events: Vec<Event>, after: State) -> Transition {
    migrating_transition(plan, plan, before, events, after)
}

/// Like [`transition`], if the state before followed another plan than the state after.
#[must_use]
pub fn migrating_transition(
    plan_before: &Plan,
    plan: &Plan,
    before: Option<&State>,
    events: Vec<Event>,
    after: State,
) -> Transition {
    let owed_before = before.map(|state| owed(plan_before, state)).unwrap_or_default();
    let owed_after = owed(plan, &after);
    let mut ledger: Vec<LedgerChange> = owed_before
        .iter()
        .filter(|old| !owed_after.iter().any(|new| new.key == old.key))
        .map(|old| LedgerChange::Settle(old.key))
        .collect();
    for new in owed_after {
        match owed_before.iter().find(|old| old.key == new.key) {
            None => ledger.push(LedgerChange::Issue(new)),
            Some(old) if old.attempt != new.attempt => ledger.push(LedgerChange::Issue(new)),
            Some(old) if *old != new => ledger.push(LedgerChange::Change(new)),
            Some(_) => {}
        }
    }
    let from_seq = before.map_or(0, |state| state.seq);
    let locks = match before.filter(|_| plan_before.has_locks()) {
        Some(before) => released(before, &after),
        None => Vec::new(),
    };
    Transition { id: after.id, from_seq, events, state: after, ledger, locks }
}
