//! Holds what the participants have on record against what the workflows say of themselves, and proves the
//! promises for every workflow of a run. Pure: a run is plain data, wherever it comes from.
//!
//! J is a workflow's history, E the participants' own logs. Each promise is a function by itself, so that
//! none leans on another; none stops at the first finding.

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
pub use effects::{t7, t8, t9, t10, t12};
pub use ends::{t4, t11};
pub use evidence::{Clocks, Evidence};
pub use ledger::t15;
pub use order::t6;
pub use owners::t3;
pub use run::{
    CompensationView, Doctor, DoctorFinding, Edge, Effect, Fence, Graph, History, LedgerRow, Moment, Node,
    Run, ShownEvent, Start, StepView, Took, View, Waiting,
};
pub use shown::{t2, t5};
pub use starts::t1;

use serde::Serialize;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The promise that is broken: `T7`.
    pub promise: &'static str,
    /// The workflow; empty: the run as a whole.
    pub workflow: String,
    /// What is wrong, and where to look.
    pub what: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let workflow = if self.workflow.is_empty() { "the run" } else { &self.workflow };
        write!(f, "{} {workflow}: {}", self.promise, self.what)
    }
}

/// A promise, and how it is proved.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// `T1`, …
    pub name: &'static str,
    /// What it says.
    pub says: &'static str,
    /// What breaks it.
    pub prove: fn(&Evidence<'_>) -> Vec<Finding>,
}

/// The promises that a run can be held to after it has come to rest.
pub const PROMISES: [Promise; 13] = [
    promise("T1", "an acknowledged start is never lost; one key is one workflow", t1),
    promise("T2", "a history has no gap and no double, and what is shown follows from it", t2),
    promise("T3", "tokens never fall, and one has one owner", t3),
    promise("T4", "every workflow ends, or says how an operator may help it", t4),
    promise("T5", "nothing follows an end", t5),
    promise("T6", "a step starts only after what it depends on, and none after a roll-back began", t6),
    promise("T7", "nothing is executed after its compensate", t7),
    promise("T8", "nothing is compensated once the pivot has completed", t8),
    promise("T9", "a compensation begins after those of all that depend on it", t9),
    promise("T10", "each effect is applied once at most, under one key", t10),
    promise("T11", "an end says what was done and what was not", t11),
    promise("T12", "nothing is done that was not commanded before", t12),
    promise("T15", "the ledger equals what is owed", t15),
];

const fn promise(
    name: &'static str,
    says: &'static str,
    prove: fn(&Evidence<'_>) -> Vec<Finding>,
) -> Promise {
    Promise { name, says, prove }
}

/// Everything that breaks one of the promises, in their order.
#[must_use]
pub fn check(run: &Run, clocks: Clocks) -> Vec<Finding> {
    let evidence = Evidence::new(run, clocks);
    PROMISES.iter().flat_map(|promise| (promise.prove)(&evidence)).collect()
}

/// Whether nothing can follow a status.
fn is_final(status: &str) -> bool {
    matches!(status, "COMPLETED" | "ROLLED_BACK" | "TERMINATED")
}

/// The findings about one promise.
struct Findings {
    promise: &'static str,
    list: Vec<Finding>,
}

impl Findings {
    fn of(promise: &'static str) -> Self {
        Self { promise, list: Vec::new() }
    }

    fn push(&mut self, workflow: &str, what: impl Into<String>) {
        self.list.push(Finding { promise: self.promise, workflow: workflow.to_owned(), what: what.into() });
    }
}
