//! T15: the ledger equals the owed commands and timers.

use super::evidence::{Case, Evidence};
use super::shown::is_of_histories;
use super::{Finding, Findings, is_final};
use std::collections::{BTreeMap, BTreeSet};

/// T15: `doctor` checked every workflow and found the ledger correct. If the ledger was read, it has a command for
/// exactly the steps that the API shows as in progress.
#[must_use]
pub fn ledger_equals_owed(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T15");
    doctor(evidence, &mut found);
    rows(evidence, &mut found);
    found.list
}

fn doctor(evidence: &Evidence<'_>, found: &mut Findings) {
    let Some(doctor) = &evidence.run.doctor else {
        found.push("", "doctor was not run; run `goconductor doctor -o json` on the store of the run");
        return;
    };
    let there = evidence.cases.len();
    if doctor.checked < u64::try_from(there).unwrap_or(u64::MAX) {
        found.push(
            "",
            format!(
                "doctor checked {} of {there} workflows; check that it read the store of the run",
                doctor.checked
            ),
        );
    }
    for id in &doctor.too_busy {
        found.push(id, "it changed whenever doctor read it; run doctor again when the run is at rest");
    }
    for each in doctor.findings.iter().filter(|each| !is_of_histories(&each.code)) {
        found.push(&each.workflow, format!("doctor reports {}: {}", each.code, each.detail));
    }
}

fn rows(evidence: &Evidence<'_>, found: &mut Findings) {
    let Some(ledger) = &evidence.run.ledger else { return };
    let mut by_workflow: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for row in ledger {
        by_workflow.entry(&row.workflow).or_default().insert(&row.key);
    }
    for (id, case) in &evidence.cases {
        let is = by_workflow.remove(id).unwrap_or_default();
        if is_final(&case.history.view.status) {
            for key in is {
                found.push(id, format!("it has ended, but {key} is still in the ledger"));
            }
            continue;
        }
        let is: BTreeSet<String> =
            is.into_iter().filter(|key| !key.contains("timer")).map(str::to_owned).collect();
        let should = open_commands(case);
        for key in should.difference(&is) {
            found.push(id, format!("{key} is in progress but missing from the ledger"));
        }
        for key in is.difference(&should) {
            found.push(id, format!("{key} is in the ledger but not in progress"));
        }
    }
    for (id, keys) in by_workflow {
        let keys: Vec<&str> = keys.into_iter().collect();
        found.push(id, format!("{} is in the ledger, but the workflow does not exist", keys.join(", ")));
    }
}

fn open_commands(case: &Case<'_>) -> BTreeSet<String> {
    let steps = case.history.view.steps.iter().zip(0..);
    // The row of a wait, or of a child, is a timer.
    let has_command = |(_, index): &(&super::run::StepView, u32)| {
        let step = usize::try_from(*index).ok().and_then(|index| case.after.step(index));
        step.is_none_or(|step| !step.is_wait && !step.has_child)
    };
    let key = |(step, index): (&super::run::StepView, u32)| match step.status.as_str() {
        "QUEUED" | "IN_PROGRESS" | "RETRYING" => Some(format!("{index}/execute")),
        "COMPENSATION_QUEUED" | "COMPENSATING" | "COMPENSATION_RETRYING" => {
            Some(format!("{index}/compensate"))
        }
        _ => None,
    };
    steps.filter(has_command).filter_map(key).collect()
}
