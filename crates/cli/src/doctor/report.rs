//! The result of a consistency check.

use serde::Serialize;

/// A violated invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    /// The code of the error page.
    pub(crate) code: &'static str,
    /// The id of the workflow.
    pub(crate) workflow: String,
    /// The violation.
    pub(crate) detail: String,
}

/// The result of the check of a store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct DoctorReport {
    /// The number of checked workflows.
    pub(crate) checked: u64,
    /// The workflows that changed during each scan, so they could not be checked.
    pub(crate) too_busy: Vec<String>,
    /// The violated invariants.
    pub(crate) findings: Vec<Violation>,
}
