//! `goconductor definition …`

mod apply;
mod delete;
mod graph;
mod show;
mod validate;

use crate::args::DefinitionCommand;
use crate::error::Result;
use crate::output::Output;
use crate::session::ServerSession;

pub(super) use show::unified;

/// Runs a command for definitions. Only commands that need a server open a session.
pub(super) async fn run(
    command: DefinitionCommand,
    session: impl FnOnce() -> Result<ServerSession>,
    out: &Output,
) -> Result {
    match command {
        DefinitionCommand::Apply { files, dry_run } => apply::run(&files.files, dry_run, &session()?).await,
        DefinitionCommand::Validate(files) => validate::run(&files.files, out),
        DefinitionCommand::List => show::list(&session()?).await,
        DefinitionCommand::Get(what) => show::get(&what.name, what.version, &session()?).await,
        DefinitionCommand::Diff { file } => show::diff(&file, &session()?).await,
        DefinitionCommand::Versions { name } => show::versions(&name, &session()?).await,
        DefinitionCommand::Delete { name } => delete::run(&name, &session()?).await,
        DefinitionCommand::Graph { what, format } => graph::run(what, format, session, out).await,
    }
}
