//! Reads settings one by one over all layers. The settings that are read are the known settings, so there is no second
//! list of keys that could disagree.

use super::config_file::{ConfigFile, Entry, RawValue};
use super::dynamic::DynamicLayer;
use super::ignored::{IgnoreReason, IgnoredVariable, is_service_link};
use super::reference::{self, Resolved};
use super::secret_reference::{SecretReference, is_needed_for_store, section};
use super::secret_url::{MASK, without_credentials};
use super::source::{Invalid, Origin, Problem, Setting, Sources};
use super::standard::{self, STANDARD_PREFIX};
use super::unknown;
use super::value::{Kind, Mismatch, SettingForm, Yaml};
use super::variable::path_of;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The problem of a secret in the settings of the API.
const PLAIN_SECRET: &str = "is a secret in plain text, which would be stored and shown: set it in the file, or refer to a \
                            stored secret with secret://NAME";

pub(super) struct SettingReader<'a> {
    sources: &'a Sources,
    /// The value of the strongest layer by path.
    values: BTreeMap<String, Entry>,
    /// The keys of all layers with their origins, including keys that a stronger layer overrides.
    keys: Vec<(String, Origin)>,
    /// The paths that were read, with descriptions of valid values.
    known: BTreeMap<String, String>,
    /// The same paths, with the form of their values.
    forms: BTreeMap<String, SettingForm>,
    /// Sections whose keys are names that the user chooses.
    open_sections: BTreeSet<String>,
    /// Variables that a reference names. They are not settings, even if their names have our prefix.
    referenced: BTreeSet<String>,
    /// Variables below a name that is not valid in an open section.
    refused: BTreeSet<String>,
    /// Standard variables whose values cannot be used, with descriptions of valid values.
    invalid: BTreeMap<String, String>,
    settings: Vec<Setting>,
    problems: Vec<Problem>,
    /// References to secrets without a value, with the paths of their settings.
    unresolved: Vec<(String, SecretReference)>,
}

impl<'a> SettingReader<'a> {
    /// Reads the layers, without the variables `ignored`.
    ///
    /// # Errors
    /// Returns [`Invalid`] if the file is not YAML, because then further problems cannot be determined.
    pub(super) fn new(sources: &'a Sources, ignored: &[IgnoredVariable]) -> Result<Self, Invalid> {
        let document = sources.file.as_deref().map(ConfigFile::read).unwrap_or_default();
        if document.is_broken {
            return Err(Invalid { problems: document.problems });
        }
        let mut reader = Self {
            sources,
            values: document.values,
            keys: document.keys.into_iter().collect(),
            known: BTreeMap::new(),
            forms: BTreeMap::new(),
            open_sections: BTreeSet::new(),
            referenced: BTreeSet::new(),
            refused: BTreeSet::new(),
            invalid: BTreeMap::new(),
            settings: Vec::new(),
            problems: document.problems,
            unresolved: Vec::new(),
        };
        let is_used = |name: &str| !ignored.iter().any(|variable| variable.name == name);
        let in_file: BTreeSet<String> = reader.values.keys().cloned().collect();
        for standard in standard::settings(sources) {
            if is_used(standard.variable) && !in_file.contains(&standard.path) {
                let origin = Origin::Env { name: standard.variable.to_owned() };
                reader.set(standard.path, &standard.value, origin);
            }
        }
        for (name, value) in sources.variables() {
            if is_used(name) {
                reader.set(path_of(name), value, Origin::Env { name: name.to_owned() });
            }
        }
        for flag in &sources.flags {
            reader.set(flag.path.clone(), &flag.value, Origin::Flag { name: flag.name.clone() });
        }
        if let Some(dynamic) = &sources.dynamic {
            let layer = DynamicLayer::of(dynamic);
            reader.keys.extend(layer.keys);
            reader.values.extend(layer.values);
            reader.problems.extend(layer.problems);
        }
        Ok(reader)
    }

    /// Adds a setting to the known ones.
    fn declare<T>(&mut self, path: &str, kind: &Kind<T>, default: Option<String>) {
        self.known.insert(path.to_owned(), kind.expected.clone());
        let (schema, is_bare) = (kind.schema.clone(), kind.yaml == Yaml::Bare);
        self.forms.insert(path.to_owned(), SettingForm { schema, default, is_bare });
    }

    /// Returns the form of each setting that was read, and the sections whose keys are names that the user chooses.
    pub(super) fn into_forms(self) -> (BTreeMap<String, SettingForm>, BTreeSet<String>) {
        (self.forms, self.open_sections)
    }

    fn set(&mut self, path: String, value: &str, origin: Origin) {
        self.keys.push((path.clone(), origin.clone()));
        self.values.insert(path, Entry { raw: RawValue::Untyped(value.to_owned()), origin });
    }

    /// Reads a setting with a default.
    pub(super) fn get<T>(&mut self, path: &str, kind: &Kind<T>, default: T) -> T {
        self.declare(path, kind, Some((kind.print)(&default)));
        let Some(entry) = self.values.get(path).cloned() else {
            self.record(path, (kind.print)(&default), Origin::Default, None);
            return default;
        };
        self.read(path, kind, entry).unwrap_or(default)
    }

    /// Reads an optional setting.
    pub(super) fn optional<T>(&mut self, path: &str, kind: &Kind<T>) -> Option<T> {
        self.declare(path, kind, None);
        let entry = self.values.get(path).cloned()?;
        self.read(path, kind, entry)
    }

    /// Reads a setting that the setting `because` requires.
    pub(super) fn required<T>(&mut self, path: &str, kind: &Kind<T>, because: &str) -> Option<T> {
        if !self.values.contains_key(path) {
            self.declare(path, kind, None);
            self.problem(path, self.origin(because), format!("is missing: expected {}", kind.expected));
            return None;
        }
        self.optional(path, kind)
    }

    /// Reads a setting that the setting `because` requires if `is_required`.
    pub(super) fn required_if<T>(
        &mut self,
        is_required: bool,
        path: &str,
        kind: &Kind<T>,
        because: &str,
    ) -> Option<T> {
        if is_required { self.required(path, kind, because) } else { self.optional(path, kind) }
    }

    /// Returns the text of a setting without reading it, with its reference resolved.
    pub(super) fn peek(&self, path: &str) -> Option<String> {
        let Entry { raw, origin } = self.values.get(path)?;
        match raw {
            RawValue::Plain(text) | RawValue::Quoted(text) | RawValue::Untyped(text) => {
                reference::resolve(text, origin, self.sources).ok().map(|resolved| resolved.text)
            }
            RawValue::List(_) => None,
        }
    }

    /// Returns whether a setting has a value in any layer.
    pub(super) fn is_set(&self, path: &str) -> bool {
        self.values.contains_key(path)
    }

    /// Returns the names that the user chose in a section.
    pub(super) fn names(&mut self, section: &str) -> Vec<String> {
        self.open_sections.insert(section.to_owned());
        let prefix = format!("{section}.");
        let names: BTreeSet<String> = self
            .keys
            .iter()
            .filter_map(|(path, _)| Some(path.strip_prefix(&prefix)?.split('.').next()?.to_owned()))
            .collect();
        names.into_iter().collect()
    }

    /// Returns the paths of all values below a section whose keys, at any depth, are names that the user chose. The paths
    /// are relative to the section.
    pub(super) fn paths_below(&mut self, section: &str) -> Vec<String> {
        self.open_sections.insert(section.to_owned());
        let prefix = format!("{section}.");
        let below: BTreeSet<&str> =
            self.keys.iter().filter_map(|(path, _)| path.strip_prefix(&prefix)).collect();
        let is_section = |path: &str| below.iter().any(|other| is_below(other, path));
        // A section that a variable or a flag gives a value is read, so that the value is not lost.
        let has_value = |path: &str| self.values.contains_key(&format!("{prefix}{path}"));
        let is_value = |path: &&str| has_value(path) || !is_section(path);
        below.iter().copied().filter(is_value).map(str::to_owned).collect()
    }

    /// Reports an invalid name in an open section, and ignores everything below it. In the environment, such a name is
    /// that of a variable that is not a setting.
    pub(super) fn refuse_name(&mut self, section: &str, name: &str, message: String) {
        let path = format!("{section}.{name}");
        let below = format!("{path}.");
        let is_below = |(key, _): &mut (String, Origin)| *key == path || key.starts_with(&below);
        let mut origins = Vec::new();
        for (_, origin) in self.keys.extract_if(.., is_below) {
            match origin {
                Origin::Env { name } if name.starts_with(STANDARD_PREFIX) => {
                    self.invalid.insert(name, message.clone());
                }
                Origin::Env { name } => {
                    self.refused.insert(name);
                }
                Origin::Api { .. } | Origin::File { .. } | Origin::Flag { .. } | Origin::Default => {
                    origins.push(origin);
                }
            }
        }
        if let Some(origin) = origins.into_iter().next() {
            self.problem(&path, origin, message);
        }
    }

    /// Returns the origin of a setting, or of a setting below it.
    pub(super) fn origin(&self, path: &str) -> Origin {
        let below = format!("{path}.");
        let value = self.values.get(path).map(|entry| &entry.origin);
        let key =
            || self.keys.iter().find(|(key, _)| key == path || key.starts_with(&below)).map(|(_, at)| at);
        value.or_else(key).cloned().unwrap_or(Origin::Default)
    }

    pub(super) fn problem(&mut self, path: &str, origin: Origin, message: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), origin, message: message.into() });
    }

    /// Returns the variables that are not settings. Must be called after all settings were read.
    pub(super) fn ignored_variables(&self) -> Vec<IgnoredVariable> {
        let keys = unknown::Keys { known: &self.known, open_sections: &self.open_sections };
        let is_unknown = |name: &str| {
            let origin = Origin::Env { name: name.to_owned() };
            self.refused.contains(name) || keys.is_unknown(&path_of(name), &origin, &self.values)
        };
        let variables = self.sources.variables();
        let unknown = variables.filter(|(name, _)| !self.referenced.contains(*name) && is_unknown(name));
        let ignored = unknown.map(|(name, value)| {
            let reason = if is_service_link(name, value) {
                IgnoreReason::ServiceLink
            } else {
                IgnoreReason::Unknown { nearest: keys.nearest_variable(name) }
            };
            IgnoredVariable { name: name.to_owned(), reason }
        });
        let invalid = self.invalid.iter().map(|(name, expected)| IgnoredVariable {
            name: name.clone(),
            reason: IgnoreReason::Invalid { expected: expected.clone() },
        });
        let mut ignored: Vec<_> = ignored.chain(invalid).collect();
        ignored.sort_by(|one, other| one.name.cmp(&other.name));
        ignored.dedup_by(|one, other| one.name == other.name);
        ignored
    }

    /// Returns all settings, and the references to secrets without a value.
    ///
    /// # Errors
    /// Returns [`Invalid`] with all problems if there are any.
    pub(super) fn finish(mut self) -> Result<(Vec<Setting>, Vec<SecretReference>), Invalid> {
        let referenced = &self.referenced;
        self.keys.retain(|(_, origin)| !matches!(origin, Origin::Env { name } if referenced.contains(name)));
        let unknown = unknown::Keys { known: &self.known, open_sections: &self.open_sections };
        self.problems.extend(unknown.problems(&self.keys, &self.values));
        // Without its secrets, a section may look incomplete. It is checked when they are known.
        let unresolved = &self.unresolved;
        self.problems
            .retain(|problem| unresolved.iter().all(|(path, _)| section(path) != section(&problem.path)));
        if self.problems.is_empty() {
            let mut references: Vec<_> =
                self.unresolved.into_iter().map(|(_, reference)| reference).collect();
            references.sort();
            references.dedup();
            return Ok((self.settings, references));
        }
        self.problems.sort_by_key(|problem| order(&problem.origin));
        Err(Invalid { problems: self.problems })
    }

    fn read<T>(&mut self, path: &str, kind: &Kind<T>, entry: Entry) -> Option<T> {
        let Entry { raw, origin } = entry;
        let is_quoted = matches!(raw, RawValue::Quoted(_));
        let text = match raw {
            RawValue::Plain(text) | RawValue::Quoted(text) | RawValue::Untyped(text) => text,
            RawValue::List(items) if kind.yaml == Yaml::List => items.join(","),
            RawValue::List(_) => {
                self.problem(path, origin, format!("expected {}, found a list", kind.expected));
                return None;
            }
        };
        self.referenced.extend(reference::variable(&text).map(str::to_owned));
        if SecretReference::is_reference(&text) && !kind.is_verbatim && !kind.keeps_secrets {
            if is_needed_for_store(path) {
                let message = format!(
                    "{text} cannot be used here, because the process needs this setting to read secrets: use env://NAME or \
                     file://path"
                );
                self.problem(path, origin, message);
                return None;
            }
            if let Ok(reference) = text.parse()
                && !self.sources.secrets.contains(&reference)
            {
                self.unresolved.push((path.to_owned(), reference));
                self.record(path, MASK.to_owned(), origin, Some(text));
                return None;
            }
        }
        let resolved = match resolve(&text, kind, &origin, self.sources) {
            Ok(resolved) => resolved,
            Err(message) => {
                self.problem(path, origin, message);
                return None;
            }
        };
        if is_quoted && kind.yaml == Yaml::Bare && resolved.reference.is_none() {
            let text = without_credentials(&text);
            self.problem(path, origin, format!("expected {}, found the string \"{text}\"", kind.expected));
            return None;
        }
        match (kind.parse)(&resolved.text) {
            Ok(value) if is_plain_secret(kind, &value, &resolved, &origin) => {
                self.problem(path, origin, PLAIN_SECRET);
                None
            }
            Ok(value) => {
                let is_hidden = kind.is_secret && resolved.reference.is_some();
                let printed = if is_hidden { MASK.to_owned() } else { (kind.print)(&value) };
                self.record(path, printed, origin, resolved.reference);
                Some(value)
            }
            Err(mismatch) => {
                match origin {
                    Origin::Env { name } if name.starts_with(STANDARD_PREFIX) => {
                        self.invalid.insert(name, kind.expected.clone());
                    }
                    Origin::Api { .. }
                    | Origin::Env { .. }
                    | Origin::File { .. }
                    | Origin::Flag { .. }
                    | Origin::Default => {
                        self.problem(path, origin, describe(kind, &resolved, mismatch));
                    }
                }
                None
            }
        }
    }

    fn record(&mut self, path: &str, value: String, origin: Origin, reference: Option<String>) {
        self.settings.push(Setting { path: path.to_owned(), value, origin, reference });
    }
}

/// Returns whether the API would store a secret as plain text.
fn is_plain_secret<T>(kind: &Kind<T>, value: &T, resolved: &Resolved, origin: &Origin) -> bool {
    let is_reference = kind.keeps_secrets && SecretReference::is_reference(&resolved.text);
    let is_stored = matches!(origin, Origin::Api { .. }) && resolved.reference.is_none() && !is_reference;
    // A URL without a password is printed as it is.
    is_stored && kind.is_secret && (kind.print)(value) != resolved.text
}

fn resolve<T>(text: &str, kind: &Kind<T>, origin: &Origin, sources: &Sources) -> Result<Resolved, String> {
    if kind.is_verbatim || (kind.keeps_secrets && SecretReference::is_reference(text)) {
        return Ok(Resolved { text: text.to_owned(), reference: None });
    }
    reference::resolve(text, origin, sources)
}

/// Returns whether a dotted path is below another one.
fn is_below(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

fn describe<T>(kind: &Kind<T>, resolved: &Resolved, mismatch: Mismatch) -> String {
    let reason = match mismatch {
        Mismatch::Because(reason) => format!(": {reason}"),
        Mismatch::Plain => String::new(),
    };
    match &resolved.reference {
        // The value itself may be a secret, so only the reference is named.
        Some(reference) => {
            format!("expected {}, but the value of {reference} does not match{reason}", kind.expected)
        }
        None if kind.is_secret => format!("expected {}{reason}", kind.expected),
        None if resolved.text.is_empty() => format!("expected {}, found an empty string", kind.expected),
        None => {
            let text = without_credentials(&resolved.text);
            format!("expected {}, found {text}{reason}", kind.expected)
        }
    }
}

/// Returns the sort key of a problem: lines of the file first, then variables, then flags.
fn order(origin: &Origin) -> (u8, PathBuf, usize, usize) {
    match origin {
        Origin::File { path, line, column } => (0, path.clone(), *line, *column),
        Origin::Env { name } => (1, PathBuf::from(name), 0, 0),
        Origin::Flag { name } => (2, PathBuf::from(name), 0, 0),
        Origin::Api { .. } => (3, PathBuf::new(), 0, 0),
        Origin::Default => (4, PathBuf::new(), 0, 0),
    }
}
