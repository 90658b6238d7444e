//! `goconductor definition init`

use crate::args::DefinitionTemplate;
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// Writes a template to standard output, or to a new file.
pub(super) fn run(template: DefinitionTemplate, file: Option<&Path>, out: &Output) -> Result {
    let text = text_of(template);
    let Some(file) = file else {
        out.raw(text)?;
        return Ok(Exit::Success);
    };
    let shown = file.display().to_string();
    let written = OpenOptions::new().write(true).create_new(true).open(file);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists {
            return CliError::new(
                Exit::Conflict,
                format!("the file {shown} already exists; choose another name"),
            );
        }
        CliError::new(Exit::Other, format!("failed to write {shown}: {error}"))
    })?;
    out.message(&format!("{shown} written; try it with: goconductor definition simulate {shown}"));
    Ok(Exit::Success)
}

fn text_of(template: DefinitionTemplate) -> &'static str {
    match template {
        DefinitionTemplate::Order => include_str!("../../../templates/order.yaml"),
        DefinitionTemplate::Travel => include_str!("../../../templates/travel.yaml"),
        DefinitionTemplate::MoneyTransfer => include_str!("../../../templates/money-transfer.yaml"),
        DefinitionTemplate::Subscription => include_str!("../../../templates/subscription.yaml"),
    }
}
