//! The YAML file as a list of values by dotted path, each with its position.

use super::source::{Origin, Problem};
use goconductor_definition::yaml::{self, Limits, Position, YamlNode, YamlValue};
use goconductor_saga::decode_text;
use std::collections::BTreeMap;
use std::path::Path;

/// Maximum size of the file. No hand-written configuration is larger.
const MAX_BYTES: u64 = 1024 * 1024;
/// Maximum depth and number of values. The deepest setting is five levels down.
const LIMITS: Limits = Limits { depth: 64, nodes: 100_000 };

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RawValue {
    /// A scalar without quotes, whose type YAML determines.
    Plain(String),
    /// A scalar in quotes, or a block: a string.
    Quoted(String),
    /// A value from outside YAML, whose type the setting determines.
    Untyped(String),
    /// A list of strings.
    List(Vec<String>),
}

/// A value and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) raw: RawValue,
    pub(super) origin: Origin,
}

/// The content of the file.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    /// The values by dotted path.
    pub(super) values: BTreeMap<String, Entry>,
    /// The positions of all keys, sections included.
    pub(super) keys: BTreeMap<String, Origin>,
    pub(super) problems: Vec<Problem>,
    /// Whether the file could not be read, in which case its content is unknown.
    pub(super) is_broken: bool,
}

impl ConfigFile {
    pub(super) fn read(path: &Path) -> Self {
        match read_limited(path) {
            Ok(text) => Self::parse(path, &text),
            Err(reason) => Self::broken(path, Position { line: 1, column: 1 }, reason),
        }
    }

    fn parse(file: &Path, text: &str) -> Self {
        let root = match yaml::parse(text, LIMITS) {
            Ok(Some(root)) => root,
            Ok(None) => return Self::default(),
            Err(error) => return Self::broken(file, error.position, error.kind.to_string()),
        };
        let mut flattener = Flattener { file, document: Self::default() };
        match root.value {
            YamlValue::Map(entries) => flattener.entries("", entries),
            YamlValue::Scalar { text, is_plain: true } if yaml::is_null(&text) => {}
            YamlValue::Scalar { .. } | YamlValue::List(_) | YamlValue::Alias(_) => {
                flattener.problem(root.position, "", "expected keys with values");
            }
        }
        flattener.document
    }

    fn broken(file: &Path, position: Position, message: String) -> Self {
        let problem = Problem { path: String::new(), origin: origin(file, position), message };
        Self { problems: vec![problem], is_broken: true, ..Self::default() }
    }
}

fn read_limited(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("failed to read the file: {error}");
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
        return Err(format!("the file is larger than {MAX_BYTES} bytes"));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let text = decode_text(&bytes).map_err(|error| format!("failed to read the file: {error}"))?;
    Ok(text.to_owned())
}

fn origin(file: &Path, position: Position) -> Origin {
    Origin::File { path: file.to_owned(), line: position.line, column: position.column }
}

struct Flattener<'a> {
    file: &'a Path,
    document: ConfigFile,
}

impl Flattener<'_> {
    fn entries(&mut self, path: &str, entries: Vec<(YamlNode, YamlNode)>) {
        for (key, value) in entries {
            if let Some(path) = self.key(path, key) {
                self.value(path, value);
            }
        }
    }

    /// Returns the dotted path of a key, or reports why it has none.
    fn key(&mut self, parent: &str, key: YamlNode) -> Option<String> {
        let position = key.position;
        let YamlValue::Scalar { text: key, .. } = key.value else {
            self.problem(position, parent, "a key must be a string");
            return None;
        };
        if key.contains('.') {
            self.problem(position, parent, format!("the key {key} contains a dot: nest the keys instead"));
            return None;
        }
        let path = if parent.is_empty() { key } else { format!("{parent}.{key}") };
        if let Some(first) = self.document.keys.get(&path) {
            let message = format!("is set twice, first at {first}");
            self.problem(position, &path, message);
            return None;
        }
        self.document.keys.insert(path.clone(), origin(self.file, position));
        Some(path)
    }

    fn value(&mut self, path: String, node: YamlNode) {
        if node.has_tag {
            self.problem(node.position, &path, "tags are not supported here");
            return;
        }
        let raw = match node.value {
            YamlValue::Scalar { text, is_plain: true } if yaml::is_null(&text) => return,
            YamlValue::Scalar { text, is_plain: true } => RawValue::Plain(text),
            YamlValue::Scalar { text, is_plain: false } => RawValue::Quoted(text),
            YamlValue::Map(entries) => return self.entries(&path, entries),
            YamlValue::List(items) => match strings(items) {
                Some(items) => RawValue::List(items),
                None => return self.problem(node.position, &path, "is a list with items other than strings"),
            },
            YamlValue::Alias(_) => {
                return self.problem(node.position, &path, "aliases are not supported here");
            }
        };
        let origin = origin(self.file, node.position);
        self.document.values.insert(path, Entry { raw, origin });
    }

    fn problem(&mut self, position: Position, path: &str, message: impl Into<String>) {
        let origin = origin(self.file, position);
        self.document.problems.push(Problem { path: path.to_owned(), origin, message: message.into() });
    }
}

/// Returns the items of a list of strings. Returns `None` if an item is something else.
fn strings(items: Vec<YamlNode>) -> Option<Vec<String>> {
    items
        .into_iter()
        .map(|item| match item.value {
            YamlValue::Scalar { text, .. } if !item.has_tag => Some(text),
            YamlValue::Scalar { .. } | YamlValue::List(_) | YamlValue::Map(_) | YamlValue::Alias(_) => None,
        })
        .collect()
}
