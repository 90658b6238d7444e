//! Definition files, and the problems in them with an excerpt of the text.

use crate::error::{CliError, Exit, Result};
use crate::output::{Style, Terminal};
use goconductor_client::ProblemDetail;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The source of a definition.
#[derive(Debug, Clone)]
pub(crate) struct DefinitionSource {
    /// The path or name to print.
    pub(crate) path: String,
    /// The text.
    pub(crate) text: String,
    /// Whether the text is JSON. Otherwise it is YAML.
    pub(crate) json: bool,
}

/// A problem at a position of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// The line from 1, or 0 for the whole text.
    pub(crate) line: usize,
    /// The column from 1.
    pub(crate) column: usize,
    /// The stable error code.
    pub(crate) code: String,
    /// The problem.
    pub(crate) detail: String,
    /// Advice for the user.
    pub(crate) hint: Option<String>,
}

impl From<&ProblemDetail> for Diagnostic {
    fn from(part: &ProblemDetail) -> Self {
        let number =
            |number: Option<u32>| number.and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
        Self {
            line: number(part.line),
            column: number(part.column).max(1),
            code: part.code.clone(),
            detail: part.detail.clone(),
            hint: part.hint.clone(),
        }
    }
}

impl From<&goconductor_definition::Problem> for Diagnostic {
    fn from(problem: &goconductor_definition::Problem) -> Self {
        let number = |number: u32| usize::try_from(number).unwrap_or(0);
        Self {
            line: number(problem.line),
            column: number(problem.column).max(1),
            code: problem.code.to_owned(),
            detail: problem.detail.clone(),
            hint: problem.hint.clone(),
        }
    }
}

impl DefinitionSource {
    /// Reads a file, or standard input for `-`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let bytes = read_bytes(path)?;
        let text = goconductor_saga::decode_text(&bytes).map_err(|error| {
            CliError::new(Exit::Invalid, format!("failed to read {shown}: {error}")).code("GC3004")
        })?;
        let json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
            || (shown == "-" && text.trim_start().starts_with('{'));
        Ok(Self { text: text.to_owned(), path: shown, json })
    }

    /// Reads files, and the definition files in directories.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or a directory holds no definition file.
    pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Vec<Self>> {
        let mut sources = Vec::new();
        for path in paths {
            if !path.is_dir() {
                sources.push(Self::read(path)?);
                continue;
            }
            let files = files_in(path)?;
            if files.is_empty() {
                let message =
                    format!("the directory {} contains no .yaml, .yml or .json file", path.display());
                return Err(CliError::new(Exit::NotFound, message).code("GC3004"));
            }
            for file in files {
                sources.push(Self::read(&file)?);
            }
        }
        Ok(sources)
    }

    /// Returns `application/yaml` or `application/json`.
    pub(crate) fn content_type(&self) -> &'static str {
        if self.json { "application/json" } else { "application/yaml" }
    }

    /// Returns the name of the definition, found without parsing the text, or the name of the file.
    pub(crate) fn name(&self) -> String {
        let declared = self.text.lines().find_map(|line| {
            let rest = line.trim_start_matches(['{', ' ']).trim_start_matches(['"', '\'']);
            let rest = rest.strip_prefix("workflow")?.trim_start_matches(['"', '\'']).trim_start();
            let value = rest.strip_prefix(':')?.trim_start().trim_start_matches(['"', '\'']);
            let end = value.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).unwrap_or(value.len());
            value.get(..end).filter(|name| !name.is_empty()).map(str::to_owned)
        });
        declared.unwrap_or_else(|| {
            Path::new(&self.path)
                .file_stem()
                .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
        })
    }

    /// Formats a warning like a problem.
    pub(crate) fn show_warning(&self, diagnostic: &Diagnostic, terminal: Terminal) -> String {
        let detail = format!("warning: {}", diagnostic.detail);
        self.show(&Diagnostic { detail, ..diagnostic.clone() }, terminal)
    }

    /// Formats a problem with its line and a caret below its column.
    pub(crate) fn show(&self, diagnostic: &Diagnostic, terminal: Terminal) -> String {
        let mut position = self.path.clone();
        if diagnostic.line > 0 {
            position.push_str(&format!(":{}:{}", diagnostic.line, diagnostic.column));
        }
        let code = if diagnostic.code.is_empty() { String::new() } else { format!(" {}:", diagnostic.code) };
        let code = terminal.paint(Style::Failure, &code);
        let mut shown = format!("{}:{code} {}", terminal.paint(Style::Bold, &position), diagnostic.detail);
        if let Some(line) = diagnostic.line.checked_sub(1).and_then(|at| self.text.lines().nth(at)) {
            let number = diagnostic.line.to_string();
            let margin = " ".repeat(number.len());
            let before: String = line.chars().take(diagnostic.column.saturating_sub(1)).collect();
            // Keep tabs, so the caret is below its column for any tab width.
            let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let caret = terminal.paint(Style::Failure, "^");
            shown.push_str(&format!("\n {number} | {line}\n {margin} | {indent}{caret}"));
        }
        if let Some(hint) = &diagnostic.hint {
            shown.push_str(&format!("\n   hint: {hint}"));
        }
        shown
    }
}

/// Reads a file, or standard input for `-`.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (name, read) = if path == Path::new("-") {
        ("standard input".to_owned(), std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes))
    } else {
        (path.display().to_string(), fs::read(path))
    };
    read.map_err(|error| crate::error::unreadable(&name, &error))
}

/// Returns the definition files of a directory, sorted by name, without subdirectories.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let shown = directory.display().to_string();
    let failed = |error: std::io::Error| crate::error::unreadable(&shown, &error);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if path.is_file() && matches!(extension.as_str(), "yaml" | "yml" | "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> DefinitionSource {
        DefinitionSource { path: "dir/file.yaml".to_owned(), text: text.to_owned(), json: false }
    }

    #[test]
    fn name_is_found_without_parsing() {
        for (text, name) in [
            ("# c\nworkflow: a-1 # c\nsteps: []", "a-1"),
            ("workflow: \"b\"", "b"),
            ("{\"workflow\": \"c\", \"steps\": []}", "c"),
            ("{\n  \"workflow\" : \"d\"\n}", "d"),
            ("steps: [", "file"),
            ("workflows: x", "file"),
        ] {
            assert_eq!(source(text).name(), name, "{text}");
        }
    }

    #[test]
    fn file_with_a_byte_order_mark_is_read_as_without_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bom.yaml");
        fs::write(&path, b"\xef\xbb\xbfworkflow: shop\nsteps: []\n").unwrap();
        let source = DefinitionSource::read(&path).unwrap();
        assert_eq!((source.name().as_str(), source.text.as_str()), ("shop", "workflow: shop\nsteps: []\n"));
        fs::write(&path, b"\xfe\xff\0w\0o").unwrap();
        let error = DefinitionSource::read(&path).unwrap_err();
        assert_eq!(error.exit_code(), Exit::Invalid.code());
        assert!(error.to_string().contains("UTF-16"), "{error}");
    }

    #[test]
    fn diagnostic_shows_its_line_and_column() {
        let terminal = Terminal { width: 80, unicode: true, colour: false, interactive: false };
        let diagnostic = Diagnostic {
            line: 2,
            column: 4,
            code: "GC1004".to_owned(),
            detail: "no undo".to_owned(),
            hint: Some("say compensate: none".to_owned()),
        };
        let shown = source("steps:\n\t- run: a/b").show(&diagnostic, terminal);
        let expected = "dir/file.yaml:2:4: GC1004: no undo\n 2 | \t- run: a/b\n   | \t  ^\n   hint: say compensate: none";
        assert_eq!(shown, expected);
    }
}
