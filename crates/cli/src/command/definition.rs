//! `goconductor definition …`

mod apply;
mod graph;
mod show;
mod validate;

use super::Session;
use crate::args::DefinitionVerb;
use crate::error::Result;
use crate::output::Output;

/// Carries out a verb; a session is opened only by those that need a server.
pub(super) async fn run(
    verb: DefinitionVerb,
    session: impl FnOnce() -> Result<Session>,
    out: &Output,
) -> Result {
    match verb {
        DefinitionVerb::Apply { files, dry_run } => apply::run(&files.files, dry_run, &session()?).await,
        DefinitionVerb::Validate(files) => validate::run(&files.files, out),
        DefinitionVerb::List => show::list(&session()?).await,
        DefinitionVerb::Get(what) => show::get(&what.name, what.version, &session()?).await,
        DefinitionVerb::Diff { file } => show::diff(&file, &session()?).await,
        DefinitionVerb::Versions { name } => show::versions(&name, &session()?).await,
        DefinitionVerb::Graph { what, format } => graph::run(what, format, session, out).await,
    }
}
