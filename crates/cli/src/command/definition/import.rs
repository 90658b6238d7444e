//! `goconductor definition import`

use crate::args::{ImportArgs, ImportSource, OutputFormat};
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use crate::source::DefinitionSource;
use goconductor_importers::{Imported, Source, import};
use serde_json::json;

/// Imports a definition of another engine. The definition goes to standard output, and the notes to standard error.
pub(super) fn run(args: &ImportArgs, out: &Output) -> Result {
    let source = DefinitionSource::read(&args.file)?;
    let imported = import(&source.text, args.from.map(engine)).map_err(|problems| {
        let details = problems.0.iter().map(ToString::to_string).collect();
        CliError::new(Exit::Invalid, format!("failed to import {}", source.path)).details(details)
    })?;
    // The notes are the answer to what is missing, so they are not a message that `--quiet` removes.
    for note in &imported.notes {
        out.error_text(&note.to_string());
    }
    if args.strict && imported.has_losses() {
        let message = format!("a part of {} cannot be expressed", source.path);
        let hint = "remove --strict to import the rest, and complete the definition by the notes";
        return Err(CliError::new(Exit::Invalid, message).hint(hint));
    }
    write(&imported, out)?;
    Ok(Exit::Success)
}

fn write(imported: &Imported, out: &Output) -> Result<()> {
    match out.format {
        OutputFormat::Table | OutputFormat::Wide | OutputFormat::Yaml => out.raw(&imported.definition),
        OutputFormat::Name => {
            let name = imported.definition.lines().find_map(|line| line.strip_prefix("workflow: "));
            out.data(name.unwrap_or_default())
        }
        OutputFormat::Json | OutputFormat::Jsonl => {
            let notes = imported.notes.iter();
            let notes =
                notes.map(|note| json!({"path": note.path, "level": note.level.as_str(), "text": note.text}));
            let report = json!({
                "source": imported.source.as_str(),
                "definition": imported.definition,
                "notes": notes.collect::<Vec<_>>(),
            });
            out.structured(&report.to_string()).map(|_| ())
        }
    }
}

fn engine(source: ImportSource) -> Source {
    match source {
        ImportSource::Conductor => Source::Conductor,
        ImportSource::Asl => Source::Asl,
        ImportSource::ServerlessWorkflow => Source::ServerlessWorkflow,
    }
}
