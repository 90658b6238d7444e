//! Holds the participants' logs against what the workflows say of themselves.

use crate::Call;
use std::collections::{BTreeMap, BTreeSet};

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// The workflow.
    pub workflow: String,
    /// What is wrong.
    pub what: String,
}

/// Checks the effects of ended workflows, by id, with the status that each ended in.
///
/// Each effect is applied once at most; one key belongs to one side of one step; nothing is executed
/// after its compensation; `ROLLED_BACK` leaves nothing applied, `COMPLETED` nothing undone.
#[must_use]
pub fn check_effects(calls: &[Call], ended: &BTreeMap<String, String>) -> Vec<Finding> {
    let mut findings = BTreeSet::new();
    let mut by_workflow: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
    for call in calls {
        by_workflow.entry(&call.workflow).or_default().push(call);
    }
    for (workflow, calls) in by_workflow {
        let mut find = |what: String| {
            findings.insert(Finding { workflow: workflow.to_owned(), what });
        };
        let Some(status) = ended.get(workflow) else {
            find("it has effects, but nobody was told of its start".to_owned());
            continue;
        };
        let mut keys: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        let mut applied: BTreeSet<&str> = BTreeSet::new();
        let mut undone: BTreeSet<&str> = BTreeSet::new();
        for call in calls {
            keys.entry((&call.step, &call.operation)).or_default().insert(&call.key);
            match (call.operation.as_str(), call.effect) {
                ("execute", "applied") => {
                    if undone.contains(call.step.as_str()) {
                        find(format!("{} was executed after its compensation", call.step));
                    }
                    applied.insert(&call.step);
                }
                ("compensate", "applied" | "null") => {
                    undone.insert(&call.step);
                }
                _ => {}
            }
        }
        for ((step, operation), keys) in keys {
            if keys.len() > 1 {
                find(format!("{step}/{operation} was asked for under {} keys", keys.len()));
            }
        }
        let left: Vec<_> = applied.difference(&undone).copied().collect();
        if status == "ROLLED_BACK" && !left.is_empty() {
            find(format!("it is rolled back, but still applied: {}", left.join(", ")));
        }
        if status == "COMPLETED" && !undone.is_empty() {
            find(format!("it is completed, but undone: {undone:?}"));
        }
    }
    findings.into_iter().collect()
}
