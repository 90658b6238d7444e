//! Problems of repairs: re-runs and migrations of workflows.

use super::{Kind, kind};
use axum::http::StatusCode;
use goconductor_saga::RerunRefusal;

pub(crate) const RERUN: Kind = kind(StatusCode::CONFLICT, "GC2132", "workflow that cannot be re-run");
pub(crate) const IRREVERSIBLE: Kind =
    kind(StatusCode::CONFLICT, "GC2133", "re-run of an effect that cannot be undone");
pub(crate) const RERUN_IN_DOUBT: Kind = kind(StatusCode::CONFLICT, "GC2134", "re-run of a step in doubt");
pub(crate) const MIGRATION: Kind = kind(StatusCode::CONFLICT, "GC2135", "workflow that cannot be migrated");

/// Returns the kind of a refused re-run.
pub(super) fn of_rerun(cause: RerunRefusal) -> Kind {
    match cause {
        RerunRefusal::NotPossible => RERUN,
        RerunRefusal::Irreversible => IRREVERSIBLE,
        RerunRefusal::InDoubt => RERUN_IN_DOUBT,
    }
}

#[cfg(test)]
pub(super) const KINDS: &[Kind] = &[RERUN, IRREVERSIBLE, RERUN_IN_DOUBT, MIGRATION];
