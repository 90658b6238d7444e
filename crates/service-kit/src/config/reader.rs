//! Reads settings one by one over all layers. What is read is what is known: there is no second list of
//! keys that could disagree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::document::{Document, Entry, Raw};
use super::reference::{self, Resolved};
use super::source::{ENV_PREFIX, Invalid, Origin, Problem, Setting, Sources};
use super::unknown;
use super::value::{Kind, MASK, Refusal, Yaml};

/// Between the levels of a variable's name.
const LEVEL: &str = "__";

pub(super) struct Reader<'a> {
    sources: &'a Sources,
    /// The strongest value of each path.
    values: BTreeMap<String, Entry>,
    /// Every key that was said and where, of all layers, weaker ones included.
    said: Vec<(String, Origin)>,
    /// What was asked for, by path: what a value looks like.
    known: BTreeMap<String, String>,
    /// Sections whose keys are names that the user chooses.
    open_sections: BTreeSet<String>,
    /// Variables that a reference named: they are not settings, whatever they are called.
    referenced: BTreeSet<String>,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// # Errors
    /// When the file can't be read as YAML: what else is wrong can't be told then.
    pub(super) fn new(sources: &'a Sources) -> Result<Self, Invalid> {
        let document = sources.file.as_deref().map(Document::read).unwrap_or_default();
        if document.broken {
            return Err(Invalid { problems: document.problems });
        }
        let mut reader = Self {
            sources,
            values: document.values,
            said: document.keys.into_iter().collect(),
            known: BTreeMap::new(),
            open_sections: BTreeSet::new(),
            referenced: BTreeSet::new(),
            settings: Vec::new(),
            problems: document.problems,
        };
        for (name, value) in &sources.env {
            if sources.is_setting(name) {
                reader.say(path_of(name), value, Origin::Env { name: name.clone() });
            }
        }
        for flag in &sources.flags {
            reader.say(flag.path.clone(), &flag.value, Origin::Flag { name: flag.name.clone() });
        }
        Ok(reader)
    }

    fn say(&mut self, path: String, value: &str, origin: Origin) {
        self.said.push((path.clone(), origin.clone()));
        self.values.insert(path, Entry { raw: Raw::Untyped(value.to_owned()), origin });
    }

    /// A setting with a default.
    pub(super) fn get<T>(&mut self, path: &str, kind: &Kind<T>, default: T) -> T {
        self.known.insert(path.to_owned(), kind.expected.clone());
        let Some(entry) = self.values.get(path).cloned() else {
            self.settle(path, (kind.show)(&default), Origin::Default, None);
            return default;
        };
        self.read(path, kind, entry).unwrap_or(default)
    }

    /// A setting that may be left out.
    pub(super) fn optional<T>(&mut self, path: &str, kind: &Kind<T>) -> Option<T> {
        self.known.insert(path.to_owned(), kind.expected.clone());
        let entry = self.values.get(path).cloned()?;
        self.read(path, kind, entry)
    }

    /// A setting that must not be left out, because of what another one says.
    pub(super) fn required<T>(&mut self, path: &str, kind: &Kind<T>, because: &str) -> Option<T> {
        if !self.values.contains_key(path) {
            self.known.insert(path.to_owned(), kind.expected.clone());
            self.problem(path, self.origin(because), format!("is missing: expected {}", kind.expected));
            return None;
        }
        self.optional(path, kind)
    }

    /// Whether anybody said something of a setting.
    pub(super) fn is_said(&self, path: &str) -> bool {
        self.values.contains_key(path)
    }

    /// The names that the user chose under a section.
    pub(super) fn names(&mut self, section: &str) -> Vec<String> {
        self.open_sections.insert(section.to_owned());
        let prefix = format!("{section}.");
        let names: BTreeSet<String> = self
            .said
            .iter()
            .filter_map(|(path, _)| Some(path.strip_prefix(&prefix)?.split('.').next()?.to_owned()))
            .collect();
        names.into_iter().collect()
    }

    /// Reports that a name under an open section is no good, and everything below it with it.
    pub(super) fn refuse_name(&mut self, section: &str, name: &str, message: String) {
        let path = format!("{section}.{name}");
        let origin = self.origin(&path);
        self.said.retain(|(said, _)| said != &path && !said.starts_with(&format!("{path}.")));
        self.problem(&path, origin, message);
    }

    /// Where a setting, or something below it, was said.
    pub(super) fn origin(&self, path: &str) -> Origin {
        let below = format!("{path}.");
        let value = self.values.get(path).map(|entry| &entry.origin);
        let key =
            || self.said.iter().find(|(said, _)| said == path || said.starts_with(&below)).map(|(_, at)| at);
        value.or_else(key).cloned().unwrap_or(Origin::Default)
    }

    pub(super) fn problem(&mut self, path: &str, origin: Origin, message: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), origin, message: message.into() });
    }

    /// Says what was read, or everything that is wrong.
    ///
    /// # Errors
    /// When anything is.
    pub(super) fn finish(mut self) -> Result<Vec<Setting>, Invalid> {
        let referenced = &self.referenced;
        self.said.retain(|(_, origin)| !matches!(origin, Origin::Env { name } if referenced.contains(name)));
        let unknown = unknown::Keys { known: &self.known, open_sections: &self.open_sections };
        self.problems.extend(unknown.problems(&self.said, &self.values));
        if self.problems.is_empty() {
            return Ok(self.settings);
        }
        self.problems.sort_by_key(|problem| order(&problem.origin));
        Err(Invalid { problems: self.problems })
    }

    fn read<T>(&mut self, path: &str, kind: &Kind<T>, entry: Entry) -> Option<T> {
        let Entry { raw, origin } = entry;
        let quoted = matches!(raw, Raw::Quoted(_));
        let text = match raw {
            Raw::Plain(text) | Raw::Quoted(text) | Raw::Untyped(text) => text,
            Raw::List(items) if kind.yaml == Yaml::List => items.join(","),
            Raw::List(_) => {
                self.problem(path, origin, format!("expected {}, found a list", kind.expected));
                return None;
            }
        };
        self.referenced.extend(reference::variable(&text).map(str::to_owned));
        let resolved = match reference::resolve(&text, &origin, self.sources) {
            Ok(resolved) => resolved,
            Err(message) => {
                self.problem(path, origin, message);
                return None;
            }
        };
        if quoted && kind.yaml == Yaml::Bare && resolved.reference.is_none() {
            self.problem(path, origin, format!("expected {}, found the text \"{text}\"", kind.expected));
            return None;
        }
        match (kind.read)(&resolved.text) {
            Ok(value) => {
                let hidden = kind.secret && resolved.reference.is_some();
                let shown = if hidden { MASK.to_owned() } else { (kind.show)(&value) };
                self.settle(path, shown, origin, resolved.reference);
                Some(value)
            }
            Err(refusal) => {
                self.problem(path, origin, wrong(kind, &resolved, refusal));
                None
            }
        }
    }

    fn settle(&mut self, path: &str, value: String, origin: Origin, reference: Option<String>) {
        self.settings.push(Setting { path: path.to_owned(), value, origin, reference });
    }
}

fn wrong<T>(kind: &Kind<T>, resolved: &Resolved, refusal: Refusal) -> String {
    let more = match refusal {
        Refusal::Because(reason) => format!(": {reason}"),
        Refusal::Other => String::new(),
    };
    match &resolved.reference {
        Some(reference) => {
            format!("expected {}, but what {reference} stands for is not{more}", kind.expected)
        }
        None if kind.secret => format!("expected {}{more}", kind.expected),
        None if resolved.text.is_empty() => format!("expected {}, found nothing", kind.expected),
        None => format!("expected {}, found {}{more}", kind.expected, resolved.text),
    }
}

/// The dotted path of a variable: `GOCONDUCTOR_STATE_STORE__BACKEND` is `state_store.backend`. A service's
/// name has no underscore and a variable's no hyphen, so there the one stands for the other.
fn path_of(variable: &str) -> String {
    let name = variable.strip_prefix(ENV_PREFIX).unwrap_or(variable).to_ascii_lowercase();
    let mut levels: Vec<String> = name.split(LEVEL).map(str::to_owned).collect();
    if let [first, service, ..] = levels.as_mut_slice()
        && first == "services"
    {
        *service = service.replace('_', "-");
    }
    levels.join(".")
}

/// The variable of a dotted path.
pub(super) fn variable_of(path: &str) -> String {
    format!("{ENV_PREFIX}{}", path.replace('.', LEVEL).replace('-', "_").to_ascii_uppercase())
}

/// Problems are reported in the order of a file's lines, then as the environment and the flags came.
fn order(origin: &Origin) -> (u8, PathBuf, usize, usize) {
    match origin {
        Origin::File { path, line, column } => (0, path.clone(), *line, *column),
        Origin::Env { name } => (1, PathBuf::from(name), 0, 0),
        Origin::Flag { name } => (2, PathBuf::from(name), 0, 0),
        Origin::Default => (3, PathBuf::new(), 0, 0),
    }
}
