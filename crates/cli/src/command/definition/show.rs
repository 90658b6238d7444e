//! `goconductor definition list`, `get` and `versions`

use crate::error::{CliError, Exit, Result};
use crate::session::ServerSession;
use goconductor_client::DefinitionRecord;

/// The number of digits of a digest in a table.
const DIGEST_LENGTH: usize = 12;

/// Lists definitions.
pub(super) async fn list(session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.definitions().await?;
    if out.structured_list(&reply.text, "definitions")? {
        return Ok(Exit::Success);
    }
    let definitions = &reply.value.definitions;
    if out.names_only() {
        for definition in definitions {
            out.data(&definition.name)?;
        }
    } else if definitions.is_empty() {
        out.message("no definitions; add one with `goconductor definition apply FILE`");
    } else {
        let rows = definitions.iter().map(|each| {
            let title = each.title.clone().or_else(|| each.description.clone()).unwrap_or_default();
            vec![each.name.clone(), each.version.to_string(), out.time(each.created_at.as_deref()), title]
        });
        out.table(&["NAME", "VERSION", "APPLIED", "TITLE"], rows.collect())?;
    }
    Ok(Exit::Success)
}

/// Lists the versions of a definition.
pub(super) async fn versions(name: &str, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.definition_versions(name).await?;
    let document = crate::document::JsonDocument::parse(&reply.text).ok();
    let key = if document.is_some_and(|each| each.field("versions").is_some()) {
        "versions"
    } else {
        "definitions"
    };
    if out.structured_list(&reply.text, key)? {
        return Ok(Exit::Success);
    }
    let versions = &reply.value.definitions;
    if out.names_only() {
        for version in versions {
            out.data(&version.version.to_string())?;
        }
        return Ok(Exit::Success);
    }
    let rows = versions.iter().map(|each| {
        let digest: String = each.digest.chars().take(DIGEST_LENGTH).collect();
        let applied = out.time(each.created_at.as_deref());
        vec![each.version.to_string(), applied, digest, each.actor.clone().unwrap_or_default()]
    });
    out.table(&["VERSION", "APPLIED", "DIGEST", "BY"], rows.collect())?;
    Ok(Exit::Success)
}

/// Prints the source of a definition.
pub(super) async fn get(name: &str, version: Option<u32>, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.definition(name, version).await?;
    if out.names_only() {
        out.data(&reply.value.name)?;
    } else if !out.structured(&reply.text)? {
        out.message(&format!("{} version {}", reply.value.name, reply.value.version));
        out.data(source_of(&reply.value)?.trim_end())?;
    }
    Ok(Exit::Success)
}

/// Returns the source of a definition as it was applied.
pub(super) fn source_of(definition: &DefinitionRecord) -> Result<&str> {
    definition.source.as_deref().ok_or_else(|| {
        CliError::new(
            Exit::Other,
            format!("the response of the server has no source of definition {:?}", definition.name),
        )
        .code("GC3003")
    })
}
