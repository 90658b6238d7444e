//! `env://NAME` and `file://path`: where a value stands somewhere else.

use std::path::{Path, PathBuf};

use super::source::{Origin, Sources};

/// A password, a URL or a token is shorter.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A text, and the reference that stood for it.
pub(super) struct Resolved {
    pub(super) text: String,
    pub(super) reference: Option<String>,
}

/// The variable that a text refers to.
pub(super) fn variable(text: &str) -> Option<&str> {
    text.strip_prefix("env://")
}

/// The text itself, or what it refers to. What is found is never part of a message.
pub(super) fn resolve(text: &str, origin: &Origin, sources: &Sources) -> Result<Resolved, String> {
    let found = if let Some(name) = variable(text) {
        sources
            .variable(name)
            .map(str::to_owned)
            .ok_or_else(|| format!("{text} stands for a variable that is not set"))?
    } else if let Some(path) = text.strip_prefix("file://") {
        read(&base(origin).join(path)).map_err(|reason| format!("{text} stands for a file that {reason}"))?
    } else if text.starts_with("secret://") {
        return Err("secret:// is not supported yet: use env://NAME or file://path".to_owned());
    } else {
        return Ok(Resolved { text: text.to_owned(), reference: None });
    };
    Ok(Resolved { text: found, reference: Some(text.to_owned()) })
}

/// A relative path in a file starts at that file, elsewhere at the working directory.
fn base(origin: &Origin) -> PathBuf {
    origin.directory().map(Path::to_owned).unwrap_or_default()
}

/// The line breaks at the end that editors add are no part of the value.
fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("can't be read: {error}"))?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("is larger than {MAX_FILE_BYTES} bytes"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| format!("can't be read: {error}"))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
