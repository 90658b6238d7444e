//! The id and the status of a workflow, as the command line reads and prints them.

use crate::error::{CliError, Exit, Result};
use goconductor_client::Workflow;
use uuid::Uuid;

/// Parses a full workflow id and returns it in the server's form.
pub(super) fn parse_id(id: &str) -> Result<String> {
    match Uuid::try_parse(id) {
        Ok(uuid) => Ok(uuid.to_string()),
        Err(_) => Err(CliError::new(Exit::NotFound, format!("no workflow has the id {id:?}"))
            .hint("use the full id of 36 characters; `goconductor workflow list -o name` prints the ids")
            .code("GC3006")),
    }
}

/// Returns the status of a workflow, with the cause of its rollback.
pub(super) fn status_text(workflow: &Workflow) -> String {
    match &workflow.cause {
        Some(cause) => format!("{} ({cause})", workflow.status),
        None => workflow.status.to_string(),
    }
}
