//! `goconductor definition graph`

use super::show::source_of;
use super::validate::checked;
use crate::args::{GraphArgs, GraphFormat};
use crate::command::Session;
use crate::drawing;
use crate::error::{Exit, Result};
use crate::output::Output;
use crate::source::Source;

/// Draws a definition of the server, or a file.
pub(super) async fn run(
    what: GraphArgs,
    format: GraphFormat,
    session: impl FnOnce() -> Result<Session>,
    out: &Output,
) -> Result {
    let source = match (&what.file, &what.name) {
        (Some(file), _) => Source::read(file)?,
        (None, Some(name)) => {
            let reply = session()?.client.definition(name, what.version).await?;
            let json = reply.value.source_format.as_deref() == Some("json");
            Source { path: name.clone(), text: source_of(&reply.value)?.to_owned(), json }
        }
        (None, None) => return Ok(Exit::Done),
    };
    let definition = checked(&source, out)?;
    let text = match format {
        GraphFormat::Text => drawing::text(&definition, out.terminal),
        GraphFormat::Mermaid => drawing::mermaid(&definition),
        GraphFormat::Dot => drawing::dot(&definition),
    };
    out.data(text.trim_end())?;
    Ok(Exit::Done)
}
