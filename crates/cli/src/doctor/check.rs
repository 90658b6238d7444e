//! The invariants of one workflow. Performs no IO.

use super::report::Violation;
use goconductor_saga::{Due, Event, Owed, OwedKey, Plan, State, evolve, owed};
use goconductor_store::{LedgerRow, RowKind};
use goconductor_transition::without_payload;

/// The state, the history and the ledger rows of a workflow.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) state: State,
    pub(super) history: HistoryFold,
    pub(super) rows: Vec<LedgerRow>,
}

/// The fold of a history. The events are not kept, because a history can be long.
#[derive(Debug, Clone, Default)]
pub(super) struct HistoryFold {
    count: u64,
    /// The number of the first missing event, and that of the event in its place.
    gap: Option<(u64, u64)>,
    state: Option<State>,
    is_sealed: bool,
}

impl HistoryFold {
    /// Adds the next event.
    pub(super) fn add(&mut self, event: &Event) {
        self.count = self.count.saturating_add(1);
        self.is_sealed |= event.sealed.is_some();
        if event.seq != self.count && self.gap.is_none() {
            self.gap = Some((self.count, event.seq));
        }
        if self.gap.is_none() {
            self.state = evolve(self.state.take(), event);
        }
    }
}

/// Returns the violated invariants.
pub(super) fn findings(plan: &Plan, snapshot: &Snapshot) -> Vec<Violation> {
    let mut found = Vec::new();
    history(snapshot, &mut found);
    ledger(plan, snapshot, &mut found);
    found
}

fn history(snapshot: &Snapshot, found: &mut Vec<Violation>) {
    let Snapshot { state, history, .. } = snapshot;
    let count = history.count;
    // Invariant: events are numbered 1…n, and n is the state's seq.
    if let Some((expected, next)) = history.gap {
        found.push(violation(
            state,
            "GC3011",
            format!("event {expected} is missing; the next event is {next}"),
        ));
    } else if count != state.seq {
        found.push(violation(
            state,
            "GC3011",
            format!("the state has seq {}, the history has {count} events", state.seq),
        ));
    } else {
        // Invariant: the fold of the history is the state.
        let folded = history.state.clone().and_then(normalized);
        let is_equal = |folded: &State| {
            folded == state || {
                let is_sealed = state.sealed.is_some() || history.is_sealed;
                comparable(folded, is_sealed) == comparable(state, is_sealed)
            }
        };
        if !folded.as_ref().is_some_and(is_equal) {
            let what = folded.map_or_else(|| "no state".to_owned(), |folded| difference(&folded, state));
            found.push(violation(state, "GC3012", format!("the history evolves to {what}")));
        }
    }
}

/// Returns a state without its traces. A release that does not know them drops them from the state, and no rule uses them.
/// The encrypted payload of a state and those of its events are not compared, because doctor has no keys.
fn comparable(state: &State, is_sealed: bool) -> State {
    let mut state = if is_sealed { without_payload(state.clone()) } else { state.clone() };
    state.trace = None;
    for step in &mut state.steps {
        for progress in [&mut step.execute, &mut step.compensate] {
            if let Some(running) = &mut progress.running {
                running.trace = None;
            }
        }
    }
    state
}

/// Returns a state as a store returns it: JSON does not distinguish an optional null from an absent value.
fn normalized(state: State) -> Option<State> {
    serde_json::from_value(serde_json::to_value(state).ok()?).ok()
}

/// Names the part in which two states differ, as a starting point for a person.
fn difference(folded: &State, stored: &State) -> String {
    if folded.status() != stored.status() {
        return format!("{}, but the stored state is {}", folded.status().as_str(), stored.status().as_str());
    }
    let step = folded.steps.iter().zip(&stored.steps).position(|(folded, stored)| folded != stored);
    match step {
        Some(nth) => format!("a different state of step {nth}"),
        None => "a different state of the workflow itself".to_owned(),
    }
}

fn ledger(plan: &Plan, snapshot: &Snapshot, found: &mut Vec<Violation>) {
    let Snapshot { state, rows, .. } = snapshot;
    if state.phase.is_final() {
        // Invariant: an ended workflow has no ledger rows.
        found.extend(rows.iter().map(|row| {
            violation(state, "GC3015", format!("{} is still in the ledger", row_name(plan, row.key.key)))
        }));
        return;
    }
    // Invariant: ledger = owed(state).
    let expected = owed(plan, state);
    for owed in &expected {
        match rows.iter().find(|row| row.key.key == owed.key) {
            None => found.push(violation(
                state,
                "GC3013",
                format!("{} is missing from the ledger", row_name(plan, owed.key)),
            )),
            Some(row) => {
                if let Some(difference) = row_difference(owed, row) {
                    let detail = format!("{}: {difference}", row_name(plan, owed.key));
                    found.push(violation(state, "GC3013", detail));
                }
            }
        }
    }
    let extra = rows.iter().filter(|row| !expected.iter().any(|owed| owed.key == row.key.key));
    found.extend(extra.map(|row| {
        violation(state, "GC3013", format!("{} is in the ledger, but not owed", row_name(plan, row.key.key)))
    }));
}

/// Describes how a row differs from the owed command. The due time is not compared, because deliveries change it.
fn row_difference(owed: &Owed, row: &LedgerRow) -> Option<String> {
    let kind = match owed.due {
        Due::At(_) => RowKind::Run,
        Due::Held => RowKind::Held,
        Due::Withdraw => RowKind::Withdraw,
    };
    if row.key.attempt != owed.attempt {
        return Some(format!("attempt {} is owed, found {}", owed.attempt, row.key.attempt));
    }
    if row.service != owed.service {
        return Some(format!("service {:?} is owed, found {:?}", owed.service, row.service));
    }
    (row.kind != kind).then(|| format!("{kind:?} is owed, found {:?}", row.kind))
}

/// Returns the name of a ledger row, with the name of the step.
fn row_name(plan: &Plan, key: OwedKey) -> String {
    match key {
        OwedKey::Command(index, side) => match plan.step(index) {
            Some(step) => format!("{}/{}", step.name, side.as_str()),
            None => key.to_string(),
        },
        OwedKey::Timer(_) => key.to_string(),
    }
}

fn violation(state: &State, code: &'static str, detail: String) -> Violation {
    Violation { code, workflow: state.id.to_string(), detail }
}
