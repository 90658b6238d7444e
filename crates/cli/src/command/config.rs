//! `goconductor config explain`

use crate::args::SettingArgs;
use crate::error::{Exit, Result};
use crate::output::Output;
use goconductor_service_kit::config::{Config, IgnoreReason, IgnoredVariable, Setting};
use serde_json::json;

/// Shows each setting and its origin, and the variables that are not settings.
pub(super) fn explain(args: &SettingArgs, out: &Output) -> Result {
    let config = Config::load(&args.sources())?;
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
