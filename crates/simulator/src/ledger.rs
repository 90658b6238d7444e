//! The dispatch ledger of a simulation.

use goconductor_saga::{Due, LedgerChange, Owed, OwedKey, Plan, State, TimerKind, Timestamp, owed};
use std::collections::BTreeMap;
use std::time::Duration;

/// The time after which a command that was lost is delivered again.
pub(crate) const REDELIVERY: Duration = Duration::from_secs(10);

/// A row of the ledger.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedRow {
    pub(crate) owed: Owed,
    /// How often the command of the open attempt was delivered.
    pub(crate) deliveries: u32,
    /// When the row is due. `None` while its attempt is in flight or the workflow is paused.
    pub(crate) due_at: Option<Timestamp>,
}

/// The rows by their keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    rows: BTreeMap<OwedKey, SimulatedRow>,
}

impl Ledger {
    /// Applies the changes of a transition.
    pub(crate) fn apply(&mut self, changes: Vec<LedgerChange>, now: Timestamp) {
        for change in changes {
            match change {
                LedgerChange::Issue(owed) => {
                    let due_at = due_time(&owed, 0, now);
                    self.rows.insert(owed.key, SimulatedRow { owed, deliveries: 0, due_at });
                }
                LedgerChange::Change(owed) => self.change(owed, now),
                LedgerChange::Settle(key) => {
                    self.rows.remove(&key);
                }
            }
        }
    }

    fn change(&mut self, owed: Owed, now: Timestamp) {
        let Some(row) = self.rows.get_mut(&owed.key) else { return };
        // The row of an attempt in flight is due again only if the attempt is lost.
        if row.deliveries == 0 {
            row.due_at = due_time(&owed, 0, now);
        }
        row.owed = owed;
    }

    /// Returns the row that is due first: its time, its key. Timers precede commands of the same time, because a limit
    /// that expires now must not be overtaken.
    pub(crate) fn first(&self) -> Option<(Timestamp, OwedKey)> {
        let due = self.rows.iter().filter_map(|(key, row)| Some((row.due_at?, *key)));
        due.min_by_key(|(at, key)| (*at, matches!(key, OwedKey::Command(..)), *key))
    }

    pub(crate) fn get(&self, key: &OwedKey) -> Option<&SimulatedRow> {
        self.rows.get(key)
    }

    /// Delivers a row: it is in flight until it settles or is lost. Returns how often it was delivered before.
    pub(crate) fn deliver(&mut self, key: &OwedKey) -> u32 {
        let Some(row) = self.rows.get_mut(key) else { return 0 };
        let before = row.deliveries;
        row.deliveries = before.saturating_add(1);
        row.due_at = None;
        before
    }

    /// Returns a command that was certainly not sent.
    pub(crate) fn release(&mut self, key: &OwedKey, due_at: Option<Timestamp>) {
        if let Some(row) = self.rows.get_mut(key) {
            row.deliveries = row.deliveries.saturating_sub(1);
            row.due_at = due_at;
        }
    }

    /// Delays a row.
    pub(crate) fn delay(&mut self, key: &OwedKey, until: Timestamp) {
        if let Some(row) = self.rows.get_mut(key) {
            row.due_at = Some(until);
        }
    }

    /// Rebuilds the rows from a state. The ledger is durable, so the number of deliveries of an open attempt remains.
    /// A command that was delivered is lost with its executor, and is due again after the redelivery interval.
    pub(crate) fn rebuild(&mut self, plan: &Plan, state: &State, now: Timestamp) {
        let before = std::mem::take(&mut self.rows);
        for owed in owed(plan, state) {
            let old = before.get(&owed.key).filter(|old| old.owed.attempt == owed.attempt);
            let deliveries = old.map_or(0, |old| old.deliveries);
            let is_child = matches!(owed.key, OwedKey::Timer(TimerKind::StepChild(_)));
            let due_at = if deliveries == 0 && !is_child {
                // A timer whose refusal delayed it keeps its time.
                old.map_or_else(|| due_time(&owed, 0, now), |old| old.due_at)
            } else {
                Some(now.after(REDELIVERY))
            };
            self.rows.insert(owed.key, SimulatedRow { owed, deliveries, due_at });
        }
    }

    /// Returns whether the keys and the attempts are those that a state owes.
    pub(crate) fn agrees_with(&self, plan: &Plan, state: &State) -> bool {
        let owed = owed(plan, state);
        owed.len() == self.rows.len()
            && owed.iter().all(|each| self.rows.get(&each.key).is_some_and(|row| row.owed == *each))
    }
}

/// Returns when a row is due that was delivered `deliveries` times.
fn due_time(owed: &Owed, deliveries: u32, now: Timestamp) -> Option<Timestamp> {
    match owed.due {
        Due::At(at) => Some(at),
        Due::Held => None,
        Due::Withdraw => (deliveries == 0).then_some(now),
    }
}
