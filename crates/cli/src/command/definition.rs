//! `goconductor definition …`

mod apply;
mod delete;
mod diff;
mod fmt;
mod graph;
mod import;
mod init;
mod show;
mod simulate;
mod source;
mod validate;

use crate::args::DefinitionCommand;
use crate::error::Result;
use crate::output::Output;
use crate::session::ServerSession;

pub(super) use diff::unified;

/// Runs a command for definitions. Only commands that need a server open a session.
pub(super) async fn run(
    command: DefinitionCommand,
    session: impl Fn() -> Result<ServerSession>,
    out: &Output,
) -> Result {
    match command {
        DefinitionCommand::Apply { files, dry_run } => apply::run(&files.files, dry_run, &session()?).await,
        DefinitionCommand::Validate(files) => validate::run(&files.files, out),
        DefinitionCommand::List => show::list(&session()?).await,
        DefinitionCommand::Get(what) => show::get(&what.name, what.version, &session()?).await,
        DefinitionCommand::Diff(args) => diff::run(&args, session, out).await,
        DefinitionCommand::Versions { name } => show::versions(&name, &session()?).await,
        DefinitionCommand::Delete { name } => delete::run(&name, &session()?).await,
        DefinitionCommand::Simulate(args) => simulate::run(args, session, out).await,
        DefinitionCommand::Fmt { files, check } => fmt::run(&files.files, check, out),
        DefinitionCommand::Import(args) => import::run(&args, out),
        DefinitionCommand::Init { template, file } => init::run(template, file.as_deref(), out),
        DefinitionCommand::Graph { what, format } => graph::run(what, format, session, out).await,
    }
}
