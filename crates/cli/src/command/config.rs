//! `goconductor config …`

mod read;
mod write;

use crate::args::{ConfigCommand, SettingArgs};
use crate::error::{Exit, Result};
use crate::output::Output;
use crate::session::ServerSession;
use goconductor_service_kit::config::{
    self, Config, DynamicSettings, IgnoreReason, IgnoredVariable, Setting, Sources,
};
use serde_json::json;
use std::path::Path;

/// Runs a command for the configuration. `session` connects to a server, which some commands do not need.
pub(super) async fn run(
    command: ConfigCommand,
    session: impl FnOnce() -> Result<ServerSession>,
    out: &Output,
) -> Result {
    match command {
        ConfigCommand::Explain { settings, live: false } => explain(&Config::load(&settings.sources())?, out),
        ConfigCommand::Explain { settings, live: true } => explain_live(&settings, &session()?).await,
        ConfigCommand::Schema => schema(out),
        ConfigCommand::Validate { file } => validate(&file, out),
        ConfigCommand::Get { path } => read::get(path.as_deref(), &session()?).await,
        ConfigCommand::Diff { file } => read::diff(&file, &session()?).await,
        ConfigCommand::History { version: Some(version), .. } => read::version(version, &session()?).await,
        ConfigCommand::History { version: None, limit } => read::history(limit, &session()?).await,
        ConfigCommand::Set { settings, change } => write::set(settings, change, &session()?).await,
        ConfigCommand::Apply { file, change } => write::apply(&file, change, &session()?).await,
        ConfigCommand::Edit { change } => write::edit(change, &session()?).await,
        ConfigCommand::Rollback { version, reason } => write::rollback(version, reason, &session()?).await,
    }
}

/// Prints the JSON Schema of the configuration.
fn schema(out: &Output) -> Result {
    let schema = config::schema();
    if !out.structured(&schema.to_string())? {
        out.data(&format!("{schema:#}"))?;
    }
    Ok(Exit::Success)
}

/// Checks a file as a process would, with the environment of the command.
fn validate(file: &Path, out: &Output) -> Result {
    let sources = Sources::of_process(Some(file.to_owned()), Vec::new());
    let config = Config::load(&sources)?;
    warn_about_ignored_variables(&config, out);
    out.message(&format!("{} is valid", file.display()));
    Ok(Exit::Success)
}

/// Shows each setting and its origin, and the variables that are not settings.
fn explain(config: &Config, out: &Output) -> Result {
    let (settings, ignored) = (config.explain(), config.ignored_variables());
    let response = json!({
        "settings": settings.iter().map(document).collect::<Vec<_>>(),
        "ignored_variables": ignored.iter().map(ignored_document).collect::<Vec<_>>(),
    });
    if out.structured_list(&response.to_string(), "settings")? {
        return Ok(Exit::Success);
    }
    if out.names_only() {
        for setting in settings {
            out.data(&setting.path)?;
        }
        return Ok(Exit::Success);
    }
    let rows = settings.iter().map(|each| vec![each.path.clone(), each.value.clone(), origin(each)]);
    out.table(&["SETTING", "VALUE", "FROM"], rows.collect())?;
    if !ignored.is_empty() {
        out.data("")?;
        let rows = ignored.iter().map(|each| vec![each.name.clone(), reason(each)]);
        out.table(&["IGNORED VARIABLE", "REASON"], rows.collect())?;
    }
    Ok(Exit::Success)
}

/// Shows the settings that a process with these sources uses now, with those of the API.
async fn explain_live(args: &SettingArgs, session: &ServerSession) -> Result {
    let config = Config::load(&args.sources())?;
    let newest = session.client.config().await?.value;
    let dynamic = (newest.version > 0)
        .then_some(DynamicSettings { version: newest.version, settings: newest.settings });
    explain(&config.with_dynamic(dynamic)?, &session.out)
}

/// Warns about environment variables that could be misspelt settings.
pub(crate) fn warn_about_ignored_variables(config: &Config, out: &Output) {
    for variable in config.ignored_variables() {
        if variable.reason != IgnoreReason::ServiceLink {
            out.message(&format!("warning: {} was ignored: {}", variable.name, reason(variable)));
        }
    }
}

fn document(setting: &Setting) -> serde_json::Value {
    json!({
        "path": setting.path,
        "value": setting.value,
        "origin": setting.origin.to_string(),
        "reference": setting.reference,
    })
}

fn ignored_document(variable: &IgnoredVariable) -> serde_json::Value {
    let (reason, nearest) = match &variable.reason {
        IgnoreReason::ServiceLink => ("SERVICE_LINK", None),
        IgnoreReason::Unknown { nearest } => ("UNKNOWN", nearest.as_deref()),
        IgnoreReason::Invalid { .. } => ("INVALID", None),
    };
    json!({ "name": variable.name, "reason": reason, "nearest": nearest })
}

fn reason(variable: &IgnoredVariable) -> String {
    match &variable.reason {
        IgnoreReason::ServiceLink => "set by Kubernetes for a Service".to_owned(),
        IgnoreReason::Unknown { nearest: Some(nearest) } => {
            format!("no setting has this name; did you mean {nearest}?")
        }
        IgnoreReason::Unknown { nearest: None } => "no setting has this name".to_owned(),
        IgnoreReason::Invalid { expected } => format!("its value cannot be used: expected {expected}"),
    }
}

fn origin(setting: &Setting) -> String {
    match &setting.reference {
        Some(reference) => format!("{}, {reference}", setting.origin),
        None => setting.origin.to_string(),
    }
}
