//! Arguments that hold JSON.

use crate::error::{CliError, Exit, Result, unreadable};
use serde_json::Value;
use std::io::Read;

/// Parses the JSON of the option `name`. Its value is JSON itself, `@FILE`, or `-` for standard input.
pub(crate) fn parse(name: &str, text: &str) -> Result<Value> {
    let (location, text) = match (text, text.strip_prefix('@')) {
        ("-", _) => {
            let mut read = String::new();
            let result = std::io::stdin().lock().read_to_string(&mut read);
            result.map_err(|error| unreadable("standard input", &error))?;
            ("standard input".to_owned(), read)
        }
        (_, Some(path)) => {
            (path.to_owned(), std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?)
        }
        (text, None) => (name.to_owned(), text.to_owned()),
    };
    serde_json::from_str(&text).map_err(|error| {
        CliError::new(Exit::Usage, format!("{name} is not valid JSON: {error}"))
            .code("GC3005")
            .location(format!("{location}:{}:{}", error.line(), error.column()))
            .hint("quote JSON with single quotes, or use @FILE to read a file")
    })
}
