//! Compares the effect logs of the participants with the histories of the workflows, and checks the guarantees for
//! every workflow of a run. The checks are pure: a run is plain data from any source.
//!
//! Each guarantee is a separate function that does not rely on the others and reports all of its findings.

mod coverage;
mod digest;
mod effects;
mod ends;
mod evidence;
mod ledger;
mod order;
mod owners;
mod replay;
mod run;
mod shown;
mod starts;

pub use coverage::{Coverage, Fault};
pub use digest::digest;
pub use effects::{
    compensations_run_in_reverse, effects_are_applied_once, effects_follow_commands,
    nothing_runs_after_its_compensate, pivot_is_final,
};
pub use ends::{ends_agree_with_effects, workflows_end};
pub use evidence::{Clocks, Evidence};
pub use ledger::ledger_equals_owed;
pub use order::steps_start_in_order;
pub use owners::stale_writes_are_refused;
pub use run::{
    CompensationView, Doctor, DoctorFinding, Edge, Effect, EffectKind, Fence, Graph, History, LedgerRow,
    Node, Relative, Run, ShownEvent, Start, StepView, UtcTime, View, Waiting,
};
pub use shown::{histories_are_complete, nothing_follows_an_end};
pub use starts::acknowledged_starts_survive;

use serde::Serialize;

/// A violation of a guarantee.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The guarantee: `T7`.
    pub guarantee: &'static str,
    /// The workflow, or an empty text for the run as a whole.
    pub workflow: String,
    /// The violation and its place.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let workflow = if self.workflow.is_empty() { "the run" } else { &self.workflow };
        write!(f, "{} {workflow}: {}", self.guarantee, self.what)
    }
}

/// A guarantee and its check.
#[derive(Debug, Clone, Copy)]
pub struct Guarantee {
    /// `T1`, …
    pub name: &'static str,
    /// The statement of the guarantee.
    pub statement: &'static str,
    /// Returns every violation.
    pub check: fn(&Evidence<'_>) -> Vec<Finding>,
}

/// The guarantees that a run must meet when all of its workflows are at rest.
pub const GUARANTEES: [Guarantee; 13] = [
    guarantee(
        "T1",
        "an acknowledged start is never lost; one key is one workflow",
        acknowledged_starts_survive,
    ),
    guarantee("T2", "events are numbered without gaps, and the API shows their fold", histories_are_complete),
    guarantee("T3", "tokens never decrease, and one token has one owner", stale_writes_are_refused),
    guarantee("T4", "every workflow ends, or states what an operator can do", workflows_end),
    guarantee("T5", "nothing follows an end", nothing_follows_an_end),
    guarantee(
        "T6",
        "a step starts after its dependencies, and none starts after a rollback began",
        steps_start_in_order,
    ),
    guarantee("T7", "nothing is executed after its compensate", nothing_runs_after_its_compensate),
    guarantee("T8", "nothing is compensated after the pivot completed", pivot_is_final),
    guarantee("T9", "a compensation begins after those of all dependent steps", compensations_run_in_reverse),
    guarantee("T10", "each effect is applied at most once, under one key", effects_are_applied_once),
    guarantee("T11", "the final status agrees with the effects", ends_agree_with_effects),
    guarantee("T12", "no effect precedes its command", effects_follow_commands),
    guarantee("T15", "the ledger equals the owed commands and timers", ledger_equals_owed),
];

const fn guarantee(
    name: &'static str,
    statement: &'static str,
    check: fn(&Evidence<'_>) -> Vec<Finding>,
) -> Guarantee {
    Guarantee { name, statement, check }
}

/// Returns every violation, in the order of the guarantees.
#[must_use]
pub fn check(run: &Run, clocks: Clocks) -> Vec<Finding> {
    let evidence = Evidence::new(run, clocks);
    GUARANTEES.iter().flat_map(|guarantee| (guarantee.check)(&evidence)).collect()
}

/// Whether the status is final.
fn is_final(status: &str) -> bool {
    matches!(status, "COMPLETED" | "ROLLED_BACK" | "TERMINATED")
}

/// The violations of one guarantee.
struct Findings {
    guarantee: &'static str,
    list: Vec<Finding>,
}

impl Findings {
    fn of(guarantee: &'static str) -> Self {
        Self { guarantee, list: Vec::new() }
    }

    fn push(&mut self, workflow: &str, what: impl Into<String>) {
        self.list.push(Finding {
            guarantee: self.guarantee,
            workflow: workflow.to_owned(),
            what: what.into(),
        });
    }
}
