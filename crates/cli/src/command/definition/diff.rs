//! `goconductor definition diff`

use super::source::{is_file, named, of, stored};
use super::validate::parsed;
use crate::args::DiffArgs;
use crate::error::{Exit, Result};
use crate::output::{Output, Style, Terminal};
use crate::session::ServerSession;
use crate::source::DefinitionSource;
use goconductor_client::Error;
use goconductor_definition::{Difference, compare};
use serde_json::json;
use similar::{ChangeTag, TextDiff};

/// The number of unchanged lines around a difference.
const CONTEXT_LINES: usize = 3;

/// Compares two definitions, or one definition with the newest version on the server.
pub(super) async fn run(
    args: &DiffArgs,
    session: impl Fn() -> Result<ServerSession>,
    out: &Output,
) -> Result {
    let (old, new) = match &args.new {
        Some(new) => {
            let old = of(&args.old, None, &session).await?;
            (Some(old), of(new, None, &session).await?)
        }
        None if is_file(&args.old) => {
            let file = of(&args.old, None, &session).await?;
            (newest(&file.name(), &session()?).await?, file)
        }
        None => {
            let (name, version) = named(&args.old);
            let session = session()?;
            let new = stored(&session, name, None).await?;
            let old = match version {
                Some(version) => Some(stored(&session, name, Some(version)).await?),
                None => before(name, &session).await?,
            };
            (old, new)
        }
    };
    if args.text { texts(old.as_ref(), &new, out) } else { meanings(old.as_ref(), &new, out) }
}

/// Returns the newest version, or `None` if the definition is not on the server.
async fn newest(name: &str, session: &ServerSession) -> Result<Option<DefinitionSource>> {
    match session.client.definition(name, None).await {
        Ok(reply) => stored(session, name, Some(reply.value.version)).await.map(Some),
        Err(Error::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Returns the version before the newest one, or `None` if there is only one.
async fn before(name: &str, session: &ServerSession) -> Result<Option<DefinitionSource>> {
    let reply = session.client.definition_versions(name).await?;
    let mut versions: Vec<u32> = reply.value.definitions.iter().map(|each| each.version).collect();
    versions.sort_unstable();
    versions.pop();
    match versions.pop() {
        Some(version) => stored(session, name, Some(version)).await.map(Some),
        None => Ok(None),
    }
}

fn meanings(old: Option<&DefinitionSource>, new: &DefinitionSource, out: &Output) -> Result {
    let label = old.map_or_else(|| format!("{} (not on the server)", new.name()), |old| old.path.clone());
    let definition = parsed(new, out)?.definition;
    let differences = match old {
        Some(old) if old.text == new.text => Vec::new(),
        Some(old) => compare(&parsed(old, out)?.definition, &definition),
        // Everything is new.
        None => definition
            .steps
            .iter()
            .map(|step| Difference {
                step: Some(step.name.clone()),
                path: String::new(),
                old: None,
                new: serde_json::to_value(step).ok(),
            })
            .collect(),
    };
    let listed = differences.iter().map(|each| {
        let Difference { step, path, old, new } = each;
        json!({"step": step, "path": path, "old": old, "new": new})
    });
    let text = json!({"old": label, "new": new.path, "differences": listed.collect::<Vec<_>>()}).to_string();
    let is_written = out.structured_list(&text, "differences")?;
    if differences.is_empty() {
        out.message(&format!("{} and {label} have the same meaning", new.path));
    } else if !is_written {
        out.data(&format!("--- {label}\n+++ {}", new.path))?;
        for difference in &differences {
            let style = match (&difference.old, &difference.new) {
                (None, _) => Style::Success,
                (Some(_), None) => Style::Failure,
                (Some(_), Some(_)) => Style::Running,
            };
            out.data(&out.terminal.paint(style, &difference.to_string()))?;
        }
    }
    Ok(if differences.is_empty() { Exit::Success } else { Exit::Difference })
}

fn texts(old: Option<&DefinitionSource>, new: &DefinitionSource, out: &Output) -> Result {
    let label = old.map_or_else(|| format!("{} (not on the server)", new.name()), |old| old.path.clone());
    let current = old.map_or("", |old| old.text.as_str());
    let difference = unified(current, &new.text, &label, &new.path, out.terminal);
    if difference.is_empty() {
        out.message(&format!("no difference between {} and {label}", new.path));
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
