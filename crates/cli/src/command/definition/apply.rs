//! `goconductor definition apply`

use crate::command::Session;
use crate::document::Document;
use crate::error::{CliError, Exit, Result};
use crate::source::{Finding, Source};
use goconductor_client::{AppliedDefinition, Error, Reply};
use std::path::PathBuf;

/// Applies files, in order. One that is refused holds up nobody; the others are applied.
pub(super) async fn run(files: &[PathBuf], dry_run: bool, session: &Session) -> Result {
    let Session { client, out } = session;
    let sources = Source::read_all(files)?;
    let mut applied = Vec::new();
    let mut refused = 0;
    for source in &sources {
        match client.apply_definition(&source.name(), source.content_type(), &source.text, dry_run).await {
            Ok(reply) => applied.push(reply),
            Err(Error::Invalid(problem)) if !problem.errors.is_empty() => {
                refused += 1;
                for part in &problem.errors {
                    out.error_text(&source.show(&Finding::from(part), out.message_terminal()));
                }
            }
            Err(error) => return Err(CliError::from(error).place(source.path.clone())),
        }
    }
    write(&applied, dry_run, session)?;
    if refused > 0 {
        let message = format!("definitions refused: {refused} of {}", sources.len());
        return Err(CliError::new(Exit::Invalid, message));
    }
    Ok(Exit::Done)
}

fn write(applied: &[Reply<AppliedDefinition>], dry_run: bool, session: &Session) -> Result<()> {
    let out = &session.out;
    for reply in applied {
        let definition = &reply.value;
        if out.names_only() {
            out.data(&definition.name)?;
        } else if out.is_human_readable() {
            out.data(&line(definition, dry_run))?;
        }
    }
    if out.is_human_readable() || out.names_only() || applied.is_empty() {
        return Ok(());
    }
    if let [one] = applied {
        out.structured(&one.text)?;
        return Ok(());
    }
    let members = applied.iter().filter_map(|reply| Document::parse(&reply.text).ok()).collect();
    let list = Document::Object(vec![("definitions".to_owned(), Document::List(members))]);
    out.structured_list(&list.to_line(), "definitions")?;
    Ok(())
}

fn line(definition: &AppliedDefinition, dry_run: bool) -> String {
    let AppliedDefinition { name, version, created, .. } = definition;
    match (dry_run, created) {
        (true, true) => format!("{name} version {version} would be new"),
        (true, false) => format!("{name} is valid (version {version})"),
        (false, true) => format!("{name} version {version} applied"),
        (false, false) => format!("{name} version {version} unchanged"),
    }
}
