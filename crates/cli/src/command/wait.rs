//! Waiting for the end of a workflow, and the exit code for its outcome.

use crate::error::{CliError, Exit, Result};
use crate::session::ServerSession;
use goconductor_client::{Event, Reply, Status, Workflow};
use std::time::Duration;

/// Returns the exit code of a command that waited.
pub(super) fn exit_of(status: &Status) -> Exit {
    match status {
        Status::RolledBack => Exit::RolledBack,
        Status::Error => Exit::InError,
        Status::Terminated => Exit::Other,
        Status::Completed
        | Status::Queued
        | Status::InProgress
        | Status::RollingBack
        | Status::Paused
        | Status::Other(_) => Exit::Success,
    }
}

/// Whether the workflow may be in error after the event.
fn may_be_error(event: &Event) -> bool {
    event.kind.ends_with("FAILED") || event.kind.ends_with("UNKNOWN")
}

/// Follows a workflow until it ends or is in error, and passes each event to `on_event`.
pub(super) async fn until_end(
    session: &ServerSession,
    id: &str,
    limit: Option<Duration>,
    mut on_event: impl FnMut(&Event),
) -> Result<Reply<Workflow>> {
    let following = async {
        let mut follow = session.client.follow(id, 0);
        while let Some(event) = follow.next().await {
            let event = event?;
            on_event(&event);
            if may_be_error(&event) {
                let reply = session.client.workflow(id).await?;
                if reply.value.status == Status::Error {
                    return Ok(reply);
                }
            }
        }
        Ok(session.client.workflow(id).await?)
    };
    let Some(limit) = limit else { return following.await };
    match tokio::time::timeout(limit, following).await {
        Ok(ended) => ended,
        Err(_) => Err(timeout_error(id, limit)),
    }
}

/// Creates the error for a workflow whose end was not waited for.
pub(super) fn not_ended_error(id: &str) -> CliError {
    CliError::new(Exit::Timeout, format!("workflow {id} has not ended"))
        .hint(format!(
            "wait for its end with --wait 30s; `goconductor workflow describe {id}` shows what it is waiting for"
        ))
        .code("GC3002")
}

/// Creates the error for a workflow that did not end in time.
pub(super) fn timeout_error(id: &str, waited: Duration) -> CliError {
    let waited = goconductor_service_kit::duration::format(waited);
    CliError::new(Exit::Timeout, format!("workflow {id} did not end within {waited}"))
        .hint(format!(
            "the workflow continues; `goconductor workflow describe {id}` shows what it is waiting for"
        ))
        .code("GC3002")
}
