//! `goconductor workflow …`

mod identity;
mod list;
mod operate;
mod repair;
mod show;
mod start;

use crate::args::WorkflowCommand;
use crate::error::Result;
use crate::session::ServerSession;
use identity::parse_id;

/// Runs a command for workflows.
pub(super) async fn run(command: WorkflowCommand, session: &ServerSession) -> Result {
    match command {
        WorkflowCommand::Start(args) => start::run(args, session).await,
        WorkflowCommand::List(args) => list::run(args, session).await,
        WorkflowCommand::Count { by, filter } => list::count(by, filter.as_deref(), session).await,
        WorkflowCommand::Describe { id } => show::describe(&parse_id(&id)?, session).await,
        WorkflowCommand::History { id, follow } => show::history(&parse_id(&id)?, follow, session).await,
        WorkflowCommand::Watch { id } => show::watch(&parse_id(&id)?, session).await,
        WorkflowCommand::Result { id, wait } => show::result(&parse_id(&id)?, wait, session).await,
        WorkflowCommand::Rerun(args) => repair::rerun(args, session).await,
        WorkflowCommand::Migrate(args) => repair::migrate(args, session).await,
        WorkflowCommand::Payload { id, sha256 } => show::payload(&parse_id(&id)?, &sha256, session).await,
        command @ (WorkflowCommand::Cancel(_)
        | WorkflowCommand::Compensate { .. }
        | WorkflowCommand::Terminate(_)
        | WorkflowCommand::Pause(_)
        | WorkflowCommand::Resume(_)
        | WorkflowCommand::Signal { .. }
        | WorkflowCommand::Retry { .. }
        | WorkflowCommand::Skip { .. }
        | WorkflowCommand::Complete { .. }) => operate::run(command, session).await,
    }
}
