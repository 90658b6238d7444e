//! `goconductor config set`, `apply`, `edit` and `rollback`

use super::read::{document, parse, show_pending, text_of};
use crate::args::ConfigChangeArgs;
use crate::error::{CliError, Exit, Result};
use crate::session::ServerSession;
use goconductor_client::{Config, ConfigWrite, Reply};
use serde_json::{Map, Value};
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// The editor if the environment names none.
const DEFAULT_EDITOR: &str = "vi";
/// The first lines of a document in an editor.
const EDIT_HEAD: &str = "\
# Settings of the API, which override the configuration of all processes. Lines with # are ignored.
# `goconductor config schema` describes all settings. An unchanged file changes nothing.
";

/// Changes some settings.
pub(super) async fn set(
    settings: Vec<(String, String)>,
    change: ConfigChangeArgs,
    session: &ServerSession,
) -> Result {
    let mut patch = Value::Object(Map::new());
    for (path, value) in settings {
        let value = if value.is_empty() { Value::String(value) } else { parse(value.as_bytes(), &path)? };
        insert(&mut patch, &path, value)?;
    }
    let is_dry_run = change.dry_run;
    let reply = session.client.patch_config(&patch, &conditions(change, None)).await?;
    show(&reply, is_dry_run, session)
}

/// Replaces all settings by those of a file.
pub(super) async fn apply(file: &Path, change: ConfigChangeArgs, session: &ServerSession) -> Result {
    let settings = document(file)?;
    let is_dry_run = change.dry_run;
    let reply = session.client.put_config(&settings, &conditions(change, None)).await?;
    show(&reply, is_dry_run, session)
}

/// Changes the settings in an editor. The change is refused if another caller changed them in the meantime.
pub(super) async fn edit(change: ConfigChangeArgs, session: &ServerSession) -> Result {
    let current = session.client.config().await?.value;
    let is_empty = current.settings.as_object().is_none_or(Map::is_empty);
    let text = if is_empty { String::new() } else { text_of(&current.settings) + "\n" };
    let edited = edited(&format!("{EDIT_HEAD}{text}"))?;
    let settings = parse(edited.as_bytes(), "the edited configuration")?;
    if settings == current.settings {
        session.out.message("nothing was changed");
        return Ok(Exit::Success);
    }
    let is_dry_run = change.dry_run;
    let write = conditions(change, Some(current.version));
    match session.client.put_config(&settings, &write).await {
        Ok(reply) => show(&reply, is_dry_run, session),
        Err(error) => {
            // The text would otherwise be lost.
            session.out.message(edited.trim_end());
            Err(error.into())
        }
    }
}

/// Returns to the settings of an earlier version.
pub(super) async fn rollback(version: u64, reason: Option<String>, session: &ServerSession) -> Result {
    let reply = session.client.rollback_config(version, None, reason.as_deref()).await?;
    show(&reply, false, session)
}

fn conditions(change: ConfigChangeArgs, if_version: Option<u64>) -> ConfigWrite {
    let ConfigChangeArgs { reason, dry_run } = change;
    ConfigWrite { if_version, dry_run, reason }
}

/// Shows the result of a change.
fn show(reply: &Reply<Config>, is_dry_run: bool, session: &ServerSession) -> Result {
    let out = &session.out;
    let config = &reply.value;
    if out.structured(&reply.text)? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        out.data(&config.version.to_string())?;
        return Ok(Exit::Success);
    }
    for change in &config.changes {
        out.data(&format!("{} ({})", change.setting, change.apply))?;
    }
    let version = config.version;
    out.message(&match (config.changes.is_empty(), is_dry_run) {
        (true, _) => format!("unchanged: version {version}"),
        (false, true) => "the change is valid; nothing was changed".to_owned(),
        (false, false) => format!("changed: version {version}"),
    });
    show_pending(config, session);
    Ok(Exit::Success)
}

/// Sets a value in a patch.
fn insert(patch: &mut Value, path: &str, value: Value) -> Result<()> {
    let conflict =
        || CliError::new(Exit::Usage, format!("{path} is set twice, or is both a setting and a section"));
    let Some((section, rest)) = path.split_once('.') else {
        let entries = patch.as_object_mut().ok_or_else(conflict)?;
        return match entries.insert(path.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(conflict()),
        };
    };
    let entries = patch.as_object_mut().ok_or_else(conflict)?;
    insert(entries.entry(section).or_insert_with(|| Value::Object(Map::new())), rest, value)
}

/// Returns a text as the user's editor saved it.
fn edited(text: &str) -> Result<String> {
    let editor =
        ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    let editor = editor.unwrap_or_else(|| DEFAULT_EDITOR.to_owned());
    let failed = |what: &str, error: std::io::Error| {
        CliError::new(Exit::Other, format!("failed to {what}: {error}"))
            .hint("set EDITOR, or use `goconductor config get` and `goconductor config apply`")
    };
    let file = tempfile::Builder::new()
        .prefix("goconductor-config-")
        .suffix(".yaml")
        .tempfile()
        .map_err(|error| failed("create a temporary file", error))?;
    file.as_file().write_all(text.as_bytes()).map_err(|error| failed("write the temporary file", error))?;
    // An editor is a command with arguments, such as `code --wait`.
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(file.path())
        .status()
        .map_err(|error| failed(&format!("start the editor {editor}"), error))?;
    if !status.success() {
        let message = format!("the editor {editor} ended with {status}; nothing was changed");
        return Err(CliError::new(Exit::Other, message));
    }
    std::fs::read_to_string(file.path()).map_err(|error| failed("read the temporary file", error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_become_a_patch() {
        let mut patch = json!({});
        for (path, value) in [("a.b", json!(1)), ("a.c", json!(null)), ("d", json!(["x"]))] {
            insert(&mut patch, path, value).expect("the paths differ");
        }
        assert_eq!(patch, json!({"a": {"b": 1, "c": null}, "d": ["x"]}));
        for path in ["d", "a.b", "a.b.c", "d.e"] {
            assert!(insert(&mut patch, path, json!(1)).is_err(), "{path}");
        }
    }
}
