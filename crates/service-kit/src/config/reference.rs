//! References to values that are stored elsewhere: `env://NAME`, `file://path` and `secret://name`.

use super::secret_reference::SecretReference;
use super::source::{Origin, Sources};
use std::path::{Path, PathBuf};

/// Maximum size of a referenced file. A password, a URL or a token is shorter.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A text, and the reference that was replaced by it.
pub(super) struct Resolved {
    pub(super) text: String,
    pub(super) reference: Option<String>,
}

/// Returns the variable that a text refers to.
pub(super) fn variable(text: &str) -> Option<&str> {
    text.strip_prefix("env://")
}

/// Returns the text that a reference refers to, or the text itself. Error messages never contain the former.
pub(super) fn resolve(text: &str, origin: &Origin, sources: &Sources) -> Result<Resolved, String> {
    let is_local = text.starts_with("env://") || text.starts_with("file://");
    if is_local && matches!(origin, Origin::Api { .. }) {
        // A caller of the API could otherwise read the files and the environment of the processes.
        return Err(format!(
            "{text} is refused: only the configuration of a process refers to its files and variables; \
                            use secret://NAME, or set it in the file"
        ));
    }
    let resolved = if let Some(name) = variable(text) {
        sources
            .variable(name)
            .map(str::to_owned)
            .ok_or_else(|| format!("{text} refers to an environment variable that is not set"))?
    } else if let Some(path) = text.strip_prefix("file://") {
        read(&base(origin).join(path)).map_err(|reason| format!("failed to read {text}: {reason}"))?
    } else if SecretReference::is_reference(text) {
        let reference: SecretReference = text.parse().map_err(|error| format!("{error}"))?;
        let value = sources.secrets.get(&reference);
        value.map(str::to_owned).ok_or_else(|| format!("{text} refers to a secret that does not exist"))?
    } else {
        return Ok(Resolved { text: text.to_owned(), reference: None });
    };
    Ok(Resolved { text: resolved, reference: Some(text.to_owned()) })
}

/// Returns the base of relative paths: the directory of the configuration file, or else the working directory.
pub(super) fn base(origin: &Origin) -> PathBuf {
    origin.directory().map(Path::to_owned).unwrap_or_default()
}

/// Reads a file without its trailing line breaks, which editors add.
fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE_BYTES {
        return Err(format!("the file is larger than {MAX_FILE_BYTES} bytes"));
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let text = goconductor_saga::decode_text(&bytes).map_err(|error| error.to_string())?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
