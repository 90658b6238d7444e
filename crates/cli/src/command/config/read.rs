//! `goconductor config get`, `diff` and `history`

use crate::command::definition::unified;
use crate::document::JsonDocument;
use crate::error::{CliError, Exit, Result, unreadable};
use crate::session::ServerSession;
use goconductor_client::Config;
use goconductor_definition::{Format, Limits};
use goconductor_service_kit::config::setting_of;
use serde_json::Value;
use std::io::Read;
use std::path::Path;

/// The number of digits of a digest in a table.
const DIGEST_LENGTH: usize = 19;

/// Prints the settings of the API, or one of them.
pub(super) async fn get(path: Option<&str>, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.config().await?;
    let config = &reply.value;
    if let Some(path) = path {
        let value = setting_of(&config.settings, path).ok_or_else(|| {
            CliError::new(Exit::NotFound, format!("{path} is not set by the API"))
                .hint("`goconductor config explain` shows the value that a process uses, and its origin")
        })?;
        if !out.structured(&value.to_string())? {
            out.data(&text_of(value))?;
        }
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for path in goconductor_service_kit::config::changed_settings(&Value::Null, &config.settings) {
            out.data(&path)?;
        }
    } else if !out.structured(&reply.text)? {
        out.message(&describe(config, session));
        out.data(&text_of(&config.settings))?;
        show_pending(config, session);
    }
    Ok(Exit::Success)
}

/// Describes a version in one line.
fn describe(config: &Config, session: &ServerSession) -> String {
    if config.version == 0 {
        return "no setting was changed by the API".to_owned();
    }
    let by = config.actor.as_ref().map(|actor| format!(" by {actor}")).unwrap_or_default();
    let reason = config.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let time = session.out.time(config.time.as_deref());
    format!("version {}, {time}{by}{reason}", config.version)
}

/// Shows the settings that wait for a restart, and the processes that do not use the newest version.
pub(super) fn show_pending(config: &Config, session: &ServerSession) {
    for each in &config.pending {
        let since = session.out.time(each.since.as_deref());
        session.out.message(&format!(
            "pending since {since}: {} takes effect when {} {} is restarted",
            each.setting, each.kind, each.process
        ));
    }
    for each in &config.processes {
        if let Some(error) = &each.error {
            session.out.message(&format!("warning: {} {}: {error}", each.kind, each.process));
        }
    }
}

/// Compares a file with the settings of the API.
pub(super) async fn diff(file: &Path, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let new = document(file)?;
    let config = client.config().await?.value;
    let label = format!("version {}", config.version);
    let lines = |settings: &Value| match settings.as_object().is_some_and(serde_json::Map::is_empty) {
        true => String::new(),
        false => text_of(settings) + "\n",
    };
    let difference =
        unified(&lines(&config.settings), &lines(&new), &label, &file.display().to_string(), out.terminal);
    if difference.is_empty() {
        out.message(&format!("no difference between {} and {label}", file.display()));
        return Ok(Exit::Success);
    }
    out.raw(&difference)?;
    Ok(Exit::Difference)
}

/// Lists the versions of the settings.
pub(super) async fn history(limit: u32, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.config_history(limit).await?;
    if out.structured_list(&reply.text, "versions")? {
        return Ok(Exit::Success);
    }
    let versions = &reply.value.versions;
    if out.names_only() {
        for version in versions {
            out.data(&version.version.to_string())?;
        }
    } else if versions.is_empty() {
        out.message("no setting was changed by the API");
    } else {
        let rows = versions.iter().map(|each| {
            let digest: String = each.digest.chars().take(DIGEST_LENGTH).collect();
            let text = |of: &Option<String>| of.clone().unwrap_or_default();
            vec![
                each.version.to_string(),
                out.time(each.time.as_deref()),
                digest,
                text(&each.actor),
                text(&each.reason),
            ]
        });
        out.table(&["VERSION", "CHANGED", "DIGEST", "BY", "REASON"], rows.collect())?;
    }
    Ok(Exit::Success)
}

/// Prints the settings of a version.
pub(super) async fn version(version: u64, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let reply = client.config_version(version).await?;
    if out.names_only() {
        out.data(&reply.value.version.to_string())?;
    } else if !out.structured(&reply.text)? {
        out.data(&text_of(&reply.value.settings.unwrap_or_default()))?;
    }
    Ok(Exit::Success)
}

/// Returns settings as YAML, and a single text without quotes.
pub(super) fn text_of(value: &Value) -> String {
    if let Value::String(text) = value {
        return text.clone();
    }
    let text = value.to_string();
    JsonDocument::parse(&text).map_or_else(|_| text.clone(), |document| document.to_yaml())
}

/// Reads a document in YAML or JSON, which is a part of YAML. An empty document has no settings.
pub(super) fn document(file: &Path) -> Result<Value> {
    let shown = file.display().to_string();
    let bytes = if shown == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(|error| unreadable(&shown, &error))?;
        bytes
    } else {
        std::fs::read(file).map_err(|error| unreadable(&shown, &error))?
    };
    parse(&bytes, &shown)
}

/// Parses a document. `name` is that of the file, for messages.
pub(super) fn parse(text: &[u8], name: &str) -> Result<Value> {
    let is_empty = String::from_utf8_lossy(text)
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if is_empty {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    goconductor_definition::document(text, Format::Yaml, &Limits::default()).map_err(|problem| {
        let location = format!("{name}:{}:{}", problem.line, problem.column);
        CliError::new(Exit::Invalid, format!("the configuration is invalid: {}", problem.detail))
            .location(location)
            .code("GC2085")
    })
}
