//! `goconductor config explain`

use crate::args::SettingArgs;
use crate::error::{Exit, Result};
use crate::output::Output;
use goconductor_service_kit::config::{Config, Setting};
use serde_json::json;

/// Shows each setting and its origin.
pub(super) fn explain(args: &SettingArgs, out: &Output) -> Result {
    let config = Config::load(&args.sources())?;
    let settings = config.explain();
    let documents: Vec<_> = settings.iter().map(document).collect();
    let response = json!({ "settings": documents }).to_string();
    if out.structured_list(&response, "settings")? {
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
    Ok(Exit::Success)
}

fn document(setting: &Setting) -> serde_json::Value {
    json!({
        "path": setting.path,
        "value": setting.value,
        "origin": setting.origin.to_string(),
        "reference": setting.reference,
    })
}

fn origin(setting: &Setting) -> String {
    match &setting.reference {
        Some(reference) => format!("{}, {reference}", setting.origin),
        None => setting.origin.to_string(),
    }
}
