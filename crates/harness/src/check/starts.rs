//! T1: an acknowledged start is never lost, and one key is one workflow.

use super::digest::digest;
use super::evidence::Evidence;
use super::run::{History, Start};
use super::{Finding, Findings};
use std::collections::{BTreeMap, BTreeSet};

/// T1: every acknowledged start exists as requested. One key is one workflow. A start without an acknowledgement exists
/// at most once, and no workflow exists without a request.
#[must_use]
pub fn acknowledged_starts_survive(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T1");
    for id in &evidence.duplicates {
        found.push(id, "it is listed more than once");
    }
    acknowledged(evidence, &mut found);
    keys(evidence, &mut found);
    unasked(evidence, &mut found);
    found.list
}

fn acknowledged(evidence: &Evidence<'_>, found: &mut Findings) {
    for start in &evidence.run.starts {
        let Some(id) = &start.acknowledged else { continue };
        let Some(case) = evidence.cases.get(id.as_str()) else {
            let key = named(start.key.as_deref());
            found.push(
                id,
                format!("its start, sent at {} {key}, was acknowledged, but it does not exist", start.at),
            );
            continue;
        };
        let view = &case.history.view;
        if view.idempotency_key != start.key {
            let (was, is) = (named(start.key.as_deref()), named(view.idempotency_key.as_deref()));
            found.push(id, format!("it was started {was} but exists {is}"));
        }
        if !is_of(start, case.history) {
            let what = format!(
                "it was started as {} with input digest {} but is {} with {}",
                start.definition,
                start.input,
                view.definition,
                digest(&view.input)
            );
            found.push(id, what);
        }
    }
}

fn is_of(start: &Start, history: &History) -> bool {
    start.definition == history.view.definition && start.input == digest(&history.view.input)
}

fn named(key: Option<&str>) -> String {
    key.map_or_else(|| "without a key".to_owned(), |key| format!("under the key {key:?}"))
}

/// One key is one workflow, both among the existing workflows and among the acknowledgements.
fn keys(evidence: &Evidence<'_>, found: &mut Findings) {
    let mut by_key: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (id, case) in &evidence.cases {
        if let Some(key) = &case.history.view.idempotency_key {
            by_key.entry(key).or_default().insert(id);
        }
    }
    for start in &evidence.run.starts {
        if let (Some(key), Some(id)) = (&start.key, &start.acknowledged) {
            by_key.entry(key).or_default().insert(id);
        }
    }
    for (key, ids) in by_key {
        if ids.len() > 1 {
            let ids: Vec<&str> = ids.into_iter().collect();
            let first = ids.first().copied().unwrap_or_default();
            found.push(
                first,
                format!("the key {key:?} belongs to {} workflows: {}", ids.len(), ids.join(", ")),
            );
        }
    }
}

/// Every workflow was requested: by its key, by its acknowledgement, or by a start without a key whose response was
/// lost. Such a start accounts for at most one workflow.
fn unasked(evidence: &Evidence<'_>, found: &mut Findings) {
    let starts = &evidence.run.starts;
    let keys: BTreeSet<&str> = starts.iter().filter_map(|start| start.key.as_deref()).collect();
    let told: BTreeSet<&str> = starts.iter().filter_map(|start| start.acknowledged.as_deref()).collect();
    let mut untold: Vec<&Start> =
        starts.iter().filter(|start| start.key.is_none() && start.acknowledged.is_none()).collect();
    for (id, case) in &evidence.cases {
        let key = case.history.view.idempotency_key.as_deref();
        // The step of a parent requested it.
        let has_parent = |parent: &super::run::Relative| evidence.cases.contains_key(parent.id.as_str());
        if case.history.view.parent.as_ref().is_some_and(has_parent) {
            continue;
        }
        if told.contains(id) || key.is_some_and(|key| keys.contains(key)) {
            continue;
        }
        let lost = untold.iter().position(|start| key.is_none() && is_of(start, case.history));
        if let Some(at) = lost {
            untold.swap_remove(at);
        } else {
            found.push(id, format!("it was not requested {}, or less often", named(key)));
        }
    }
}
