//! `goconductor definition apply`

use crate::document::JsonDocument;
use crate::error::{CliError, Exit, Result};
use crate::session::ServerSession;
use crate::source::{DefinitionSource, Diagnostic};
use goconductor_client::{AppliedDefinition, Error, Reply};
use std::path::PathBuf;

/// Applies files in order. A rejected file does not stop the others.
pub(super) async fn run(files: &[PathBuf], dry_run: bool, session: &ServerSession) -> Result {
    let ServerSession { client, out } = session;
    let sources = DefinitionSource::read_all(files)?;
    let mut applied = Vec::new();
    let mut rejected = 0;
    for source in &sources {
        match client.apply_definition(&source.name(), source.content_type(), &source.text, dry_run).await {
            Ok(reply) => {
                for warning in &reply.value.warnings {
                    out.message(&source.show_warning(&Diagnostic::from(warning), out.message_terminal()));
                }
                applied.push(reply);
            }
            Err(Error::Invalid(problem)) if !problem.errors.is_empty() => {
                rejected += 1;
                for part in &problem.errors {
                    out.error_text(&source.show(&Diagnostic::from(part), out.message_terminal()));
                }
            }
            Err(error) => return Err(CliError::from(error).location(source.path.clone())),
        }
    }
    write(&applied, dry_run, session)?;
    if rejected > 0 {
        let message = format!("the server rejected {rejected} of {} definitions", sources.len());
        return Err(CliError::new(Exit::Invalid, message));
    }
    Ok(Exit::Success)
}

fn write(applied: &[Reply<AppliedDefinition>], dry_run: bool, session: &ServerSession) -> Result<()> {
    let out = &session.out;
    for reply in applied {
        let definition = &reply.value;
        if out.names_only() {
            out.data(&definition.name)?;
        } else if out.is_human_readable() {
            out.data(&summary(definition, dry_run))?;
        }
    }
    if out.is_human_readable() || out.names_only() || applied.is_empty() {
        return Ok(());
    }
    if let [one] = applied {
        out.structured(&one.text)?;
        return Ok(());
    }
    let members = applied.iter().filter_map(|reply| JsonDocument::parse(&reply.text).ok()).collect();
    let list = JsonDocument::Object(vec![("definitions".to_owned(), JsonDocument::List(members))]);
    out.structured_list(&list.to_line(), "definitions")?;
    Ok(())
}

fn summary(definition: &AppliedDefinition, dry_run: bool) -> String {
    let AppliedDefinition { name, version, created, .. } = definition;
    match (dry_run, created) {
        (true, true) => format!("{name} version {version} would be created"),
        (true, false) => format!("{name} is valid (version {version})"),
        (false, true) => format!("{name} version {version} applied"),
        (false, false) => format!("{name} version {version} unchanged"),
    }
}
