//! `goconductor workflow …`

mod list;
mod show;
mod start;

pub(super) use list::all;

use super::{Session, operate};
use crate::args::WorkflowCommand;
use crate::error::{CliError, Exit, Result};
use goconductor_client::Workflow;
use uuid::Uuid;

/// Carries out a command.
pub(super) async fn run(command: WorkflowCommand, session: &Session) -> Result {
    match command {
        WorkflowCommand::Start(args) => start::run(args, session).await,
        WorkflowCommand::List(args) => list::run(args, session).await,
        WorkflowCommand::Count { by, filter } => list::count(by, filter.as_deref(), session).await,
        WorkflowCommand::Describe { id } => show::describe(&checked(&id)?, session).await,
        WorkflowCommand::History { id, follow } => show::history(&checked(&id)?, follow, session).await,
        WorkflowCommand::Watch { id } => show::watch(&checked(&id)?, session).await,
        WorkflowCommand::Result { id, wait } => show::result(&checked(&id)?, wait, session).await,
        command @ (WorkflowCommand::Cancel(_)
        | WorkflowCommand::Terminate(_)
        | WorkflowCommand::Pause(_)
        | WorkflowCommand::Resume(_)
        | WorkflowCommand::Retry { .. }
        | WorkflowCommand::Skip(_)
        | WorkflowCommand::Complete { .. }) => operate::run(command, session).await,
    }
}

/// An id in full, as the server has it.
pub(super) fn checked(id: &str) -> Result<String> {
    match Uuid::try_parse(id) {
        Ok(uuid) => Ok(uuid.to_string()),
        Err(_) => Err(CliError::new(Exit::NotFound, format!("no workflow has the id {id:?}"))
            .hint("an id is given in full, 36 characters; `goconductor workflow list -o name` shows them")
            .code("GC3006")),
    }
}

/// A workflow's status, with why it is rolled back.
pub(super) fn status_words(workflow: &Workflow) -> String {
    match &workflow.cause {
        Some(cause) => format!("{} ({cause})", workflow.status),
        None => workflow.status.to_string(),
    }
}
