//! `goconductor definition list`, `get`, `diff` and `versions`

use crate::error::{CliError, Exit, Result};
use crate::output::{Style, Terminal};
use crate::session::ServerSession;
use crate::source::DefinitionSource;
use goconductor_client::{DefinitionRecord, Error};
use similar::{ChangeTag, TextDiff};
use std::path::Path;

/// The number of unchanged lines around a difference.
const CONTEXT_LINES: usize = 3;

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

/// Compares a file with the newest version on the server.
pub(super) async fn diff(file: &Path, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let source = DefinitionSource::read(file)?;
    let name = source.name();
    let (current, label) = match client.definition(&name, None).await {
        Ok(reply) => (source_of(&reply.value)?.to_owned(), format!("{name} version {}", reply.value.version)),
        // The definition does not exist yet, so every line is new.
        Err(Error::NotFound(_)) => (String::new(), format!("{name} (not on the server)")),
        Err(error) => return Err(error.into()),
    };
    let difference = unified(&current, &source.text, &label, &source.path, out.terminal);
    if difference.is_empty() {
        out.message(&format!("no difference between {} and {label}", source.path));
        return Ok(Exit::Success);
    }
    out.raw(&difference)?;
    Ok(Exit::Difference)
}

/// Returns a unified diff. It is empty if the texts are equal.
pub(in crate::command) fn unified(
    old: &str,
    new: &str,
    old_name: &str,
    new_name: &str,
    terminal: Terminal,
) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut text = String::new();
    for hunk in diff.unified_diff().context_radius(CONTEXT_LINES).iter_hunks() {
        if text.is_empty() {
            text.push_str(&format!("--- {old_name}\n+++ {new_name}\n"));
        }
        text.push_str(&terminal.paint(Style::Running, &hunk.header().to_string()));
        text.push('\n');
        for change in hunk.iter_changes() {
            let line = format!("{}{}", change.tag(), change.value().trim_end_matches(['\n', '\r']));
            text.push_str(&match change.tag() {
                ChangeTag::Insert => terminal.paint(Style::Success, &line),
                ChangeTag::Delete => terminal.paint(Style::Failure, &line),
                ChangeTag::Equal => line,
            });
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diff_is_unified() {
        let terminal = Terminal { width: 80, unicode: true, colour: false, interactive: false };
        assert_eq!(unified("a\nb\n", "a\nb\n", "x", "y", terminal), "");
        let expected = "--- x\n+++ y\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n";
        assert_eq!(unified("a\nb\n", "a\nc\n", "x", "y", terminal), expected);
    }
}
