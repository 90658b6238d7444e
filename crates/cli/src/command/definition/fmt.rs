//! `goconductor definition fmt`

use super::validate::parsed;
use crate::document::JsonDocument;
use crate::error::{CliError, Exit, Result};
use crate::output::Output;
use crate::source::{DefinitionSource, Diagnostic};
use goconductor_definition::{Limits, format, key_rank};
use std::path::PathBuf;

/// Formats files in place, or standard input to standard output.
pub(super) fn run(files: &[PathBuf], check: bool, out: &Output) -> Result {
    let mut differing = 0usize;
    for source in DefinitionSource::read_all(files)? {
        // A file with problems is not changed.
        parsed(&source, out)?;
        let text = formatted(&source, out)?;
        let differs = text != source.text;
        differing += usize::from(differs);
        match (check, source.path.as_str()) {
            (true, path) if differs => out.data(path)?,
            (true, _) => {}
            (false, "-") => out.raw(&text)?,
            (false, path) if differs => {
                std::fs::write(path, &text).map_err(|error| {
                    CliError::new(Exit::Other, format!("failed to write {path}: {error}"))
                })?;
                out.message(&format!("{path} formatted"));
            }
            (false, path) => out.message(&format!("{path} unchanged")),
        }
    }
    if check && differing > 0 {
        let files = if differing == 1 { "1 file is".to_owned() } else { format!("{differing} files are") };
        out.message(&format!("{files} not formatted; run goconductor definition fmt"));
        return Ok(Exit::Difference);
    }
    Ok(Exit::Success)
}

fn formatted(source: &DefinitionSource, out: &Output) -> Result<String> {
    if source.json {
        let invalid = |error: &dyn std::fmt::Display| {
            CliError::new(Exit::Invalid, format!("failed to read {}: {error}", source.path)).code("GC3005")
        };
        let document = JsonDocument::parse(&source.text).map_err(|error| invalid(&error))?;
        return Ok(format!("{}\n", ordered(document, &mut Vec::new()).to_json()));
    }
    format(&source.text, &Limits::default()).map_err(|problem| {
        out.error_text(&source.show(&Diagnostic::from(&problem), out.message_terminal()));
        CliError::new(Exit::Invalid, format!("{} has 1 problem", source.path))
    })
}

/// Orders the keys of a document in JSON.
fn ordered(document: JsonDocument, path: &mut Vec<String>) -> JsonDocument {
    match document {
        JsonDocument::Object(mut fields) => {
            let names: Vec<String> = path.clone();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            fields.sort_by_key(|(key, _)| key_rank(&names, key).unwrap_or(0));
            let field = |(key, value): (String, JsonDocument)| {
                path.push(key.clone());
                let value = ordered(value, path);
                path.pop();
                (key, value)
            };
            JsonDocument::Object(fields.into_iter().map(field).collect())
        }
        JsonDocument::List(items) => {
            JsonDocument::List(items.into_iter().map(|item| ordered(item, path)).collect())
        }
        scalar @ (JsonDocument::Null
        | JsonDocument::Bool(_)
        | JsonDocument::Number(_)
        | JsonDocument::Text(_)) => scalar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_its_keys_in_order() {
        let text = r#"{"steps":[{"run":"s/a","name":"a","input":{"b":1,"a":2}}],"workflow":"w"}"#;
        let document = ordered(JsonDocument::parse(text).unwrap(), &mut Vec::new());
        let expected = r#"{"workflow":"w","steps":[{"name":"a","run":"s/a","input":{"b":1,"a":2}}]}"#;
        assert_eq!(document.to_line(), expected);
    }
}
