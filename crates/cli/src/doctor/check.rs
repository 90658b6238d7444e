//! What has to hold of one workflow. Pure.

use super::Finding;
use goconductor_saga::{Due, Event, Owed, OwedKey, Plan, State, evolve, owed};
use goconductor_store::{LedgerRow, RowKind};

/// A workflow as it was read.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) state: State,
    pub(super) events: Vec<Event>,
    pub(super) rows: Vec<LedgerRow>,
}

/// Everything that does not hold.
pub(super) fn findings(plan: &Plan, snapshot: &Snapshot) -> Vec<Finding> {
    let mut found = Vec::new();
    history(snapshot, &mut found);
    ledger(plan, snapshot, &mut found);
    found
}

fn history(snapshot: &Snapshot, found: &mut Vec<Finding>) {
    let Snapshot { state, events, .. } = snapshot;
    // Invariant: events are numbered 1…n, and n is the state's seq.
    let gap = (1..).zip(events).find(|(expected, event)| *expected != event.seq);
    let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
    if let Some((expected, event)) = gap {
        found.push(finding(state, "GC3011", format!("event {expected} is missing: {} is there", event.seq)));
    } else if count != state.seq {
        found.push(finding(state, "GC3011", format!("the state is at {}, the history at {count}", state.seq)));
    } else {
        // Invariant: the fold of the history is the state.
        let folded = events.iter().fold(None, evolve).and_then(normalized);
        if folded.as_ref() != Some(state) {
            let what = folded.map_or_else(|| "no state".to_owned(), |folded| difference(&folded, state));
            found.push(finding(state, "GC3012", format!("the history leads to {what}")));
        }
    }
}

/// A state as it comes out of a store: JSON does not tell an optional null from an absent one.
fn normalized(state: State) -> Option<State> {
    serde_json::from_value(serde_json::to_value(state).ok()?).ok()
}

/// Which part of two states differs, roughly: for a person to begin with.
fn difference(folded: &State, stored: &State) -> String {
    if folded.status() != stored.status() {
        return format!("{}, {} is stored", folded.status().as_str(), stored.status().as_str());
    }
    let step = folded.steps.iter().zip(&stored.steps).position(|(folded, stored)| folded != stored);
    match step {
        Some(nth) => format!("another state of step {nth}"),
        None => "another state of the workflow itself".to_owned(),
    }
}

fn ledger(plan: &Plan, snapshot: &Snapshot, found: &mut Vec<Finding>) {
    let Snapshot { state, rows, .. } = snapshot;
    if state.phase.is_final() {
        // Invariant: nothing follows an end.
        found.extend(rows.iter().map(|row| {
            finding(state, "GC3015", format!("{} is still in the ledger", row_name(plan, row.key.key)))
        }));
        return;
    }
    // Invariant: ledger = owed(state).
    let expected = owed(plan, state);
    for owed in &expected {
        match rows.iter().find(|row| row.key.key == owed.key) {
            None => {
                found.push(finding(state, "GC3013", format!("{} is not in the ledger", row_name(plan, owed.key))))
            }
            Some(row) => {
                if let Some(differs) = differs(owed, row) {
                    let detail = format!("{}: {differs}", row_name(plan, owed.key));
                    found.push(finding(state, "GC3013", detail));
                }
            }
        }
    }
    let extra = rows.iter().filter(|row| !expected.iter().any(|owed| owed.key == row.key.key));
    found.extend(extra.map(|row| {
        finding(state, "GC3013", format!("{} is in the ledger and not owed", row_name(plan, row.key.key)))
    }));
}

/// How a row differs from what is owed. When it is due is not compared: deliveries move it.
fn differs(owed: &Owed, row: &LedgerRow) -> Option<String> {
    let kind = match owed.due {
        Due::At(_) => RowKind::Run,
        Due::Held => RowKind::Held,
        Due::Withdraw => RowKind::Withdraw,
    };
    if row.key.attempt != owed.attempt {
        return Some(format!("attempt {} is owed, {} is there", owed.attempt, row.key.attempt));
    }
    if row.service != owed.service {
        return Some(format!("the service {:?} is owed, {:?} is there", owed.service, row.service));
    }
    (row.kind != kind).then(|| format!("{kind:?} is owed, {:?} is there", row.kind))
}

/// A row as people call it: by the step's name.
fn row_name(plan: &Plan, key: OwedKey) -> String {
    match key {
        OwedKey::Command(index, side) => match plan.step(index) {
            Some(step) => format!("{}/{}", step.name, side.as_str()),
            None => key.to_string(),
        },
        OwedKey::Timer(_) => key.to_string(),
    }
}

fn finding(state: &State, code: &'static str, detail: String) -> Finding {
    Finding { code, workflow: state.id.to_string(), detail }
}
