//! Waiting for a workflow's end, and what the exit code makes of it.

use super::Session;
use crate::error::{CliError, Exit, Result};
use goconductor_client::{Event, Reply, Status, Workflow};
use std::time::Duration;

/// What a command that waited ends with.
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
        | Status::Other(_) => Exit::Done,
    }
}

/// Whether an event may have brought its workflow where only an operator can help.
fn may_need_operator(event: &Event) -> bool {
    event.kind.ends_with("FAILED") || event.kind.ends_with("UNKNOWN")
}

/// Follows a workflow until it ends, or only an operator can help it; each event is shown to `see`.
pub(super) async fn until_end(
    session: &Session,
    id: &str,
    limit: Option<Duration>,
    mut see: impl FnMut(&Event),
) -> Result<Reply<Workflow>> {
    let following = async {
        let mut follow = session.client.follow(id, 0);
        while let Some(event) = follow.next().await {
            let event = event?;
            see(&event);
            if may_need_operator(&event) {
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
        Err(_) => Err(not_yet(id, limit)),
    }
}

/// The time was up before the workflow ended.
pub(super) fn not_yet(id: &str, waited: Duration) -> CliError {
    let waited = goconductor_service_kit::duration::format(waited);
    CliError::new(Exit::Timeout, format!("workflow {id} has not ended within {waited}"))
        .hint(format!("it goes on by itself; `goconductor workflow describe {id}` says what it waits for"))
        .code("GC3002")
}
