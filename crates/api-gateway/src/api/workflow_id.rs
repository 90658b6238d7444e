//! Ids of workflows in requests.

use crate::error::{ApiResult, NO_WORKFLOW, Problem};
use goconductor_saga::WorkflowId;

/// Parses the id of a workflow. Any other text is the id of no workflow.
pub(super) fn parse_id(text: &str) -> ApiResult<WorkflowId> {
    text.parse().map_err(|_| not_found(text))
}

pub(super) fn not_found(id: &str) -> Problem {
    Problem::new(NO_WORKFLOW, format!("workflow {id} not found in this namespace"))
}
