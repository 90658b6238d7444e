//! `goconductor definition validate`

use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use crate::source::{DefinitionSource, Diagnostic};
use goconductor_definition::{Checked, Format, Limits};
use std::path::PathBuf;

/// Validates files without a server.
pub(super) fn run(files: &[PathBuf], out: &Output) -> Result {
    for source in DefinitionSource::read_all(files)? {
        let checked = parsed(&source, out)?;
        for warning in &checked.warnings {
            out.message(&source.show_warning(&Diagnostic::from(warning), out.message_terminal()));
        }
        out.message(&format!("{} is valid", source.path));
    }
    Ok(Exit::Success)
}

/// Parses the definition of a source. Prints each problem with its location.
pub(super) fn parsed(source: &DefinitionSource, out: &Output) -> Result<Checked> {
    let format = if source.json { Format::Json } else { Format::Yaml };
    let problems = match goconductor_definition::parse(source.text.as_bytes(), format, &Limits::default()) {
        Ok(checked) => return Ok(checked),
        Err(problems) => problems,
    };
    for problem in &problems {
        out.error_text(&source.show(&Diagnostic::from(problem), out.message_terminal()));
    }
    let count = match problems.len() {
        1 => "1 problem".to_owned(),
        several => format!("{several} problems"),
    };
    Err(CliError::new(Exit::Invalid, format!("{} has {count}", source.path)))
}
