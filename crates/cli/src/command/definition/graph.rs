//! `goconductor definition graph`

use super::show::source_of;
use super::validate::parsed;
use crate::args::{GraphArgs, GraphFormat};
use crate::diagram;
use crate::error::{Exit, Result};
use crate::output::Output;
use crate::session::ServerSession;
use crate::source::DefinitionSource;

/// Draws a definition from the server or from a file.
pub(super) async fn run(
    what: GraphArgs,
    format: GraphFormat,
    session: impl FnOnce() -> Result<ServerSession>,
    out: &Output,
) -> Result {
    let source = match (&what.file, &what.name) {
        (Some(file), _) => DefinitionSource::read(file)?,
        (None, Some(name)) => {
            let reply = session()?.client.definition(name, what.version).await?;
            let json = reply.value.source_format.as_deref() == Some("json");
            DefinitionSource { path: name.clone(), text: source_of(&reply.value)?.to_owned(), json }
        }
        (None, None) => return Ok(Exit::Success),
    };
    let definition = parsed(&source, out)?.definition;
    let text = match format {
        GraphFormat::Text => diagram::text(&definition, out.terminal),
        GraphFormat::Mermaid => diagram::mermaid(&definition),
        GraphFormat::Dot => diagram::dot(&definition),
        GraphFormat::Svg => diagram::svg(&definition),
    };
    out.data(text.trim_end())?;
    Ok(Exit::Success)
}
