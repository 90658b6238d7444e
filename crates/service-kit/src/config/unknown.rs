//! Unknown keys, and suggestions for similar known keys.

use super::config_file::{Entry, RawValue};
use super::source::{ENV_PREFIX, NOT_SETTINGS, Origin, Problem};
use super::variable::variable_of;
use std::collections::{BTreeMap, BTreeSet};

/// The known keys.
pub(super) struct Keys<'a> {
    /// The paths of settings, with descriptions of valid values.
    pub(super) known: &'a BTreeMap<String, String>,
    /// Sections whose keys are names that the user chooses.
    pub(super) open_sections: &'a BTreeSet<String>,
}

impl Keys<'_> {
    /// Returns the problems of `keys`. The keys below a wrong key are not reported again.
    pub(super) fn problems(
        &self,
        keys: &[(String, Origin)],
        values: &BTreeMap<String, Entry>,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut reported: BTreeSet<(String, bool)> = BTreeSet::new();
        for (path, origin) in keys {
            let is_in_file = matches!(origin, Origin::File { .. });
            let Some((at, message)) = self.problem(path, origin, values) else { continue };
            // A section of a file is reported once, but each variable and each flag is reported.
            if !is_in_file || reported.insert((at.clone(), is_in_file)) {
                problems.push(Problem { path: at, origin: origin.clone(), message });
            }
        }
        problems
    }

    /// Returns whether no setting has the path that an environment variable stands for.
    pub(super) fn is_unknown(&self, path: &str, origin: &Origin, values: &BTreeMap<String, Entry>) -> bool {
        self.problem(path, origin, values).is_some()
    }

    /// Returns the wrong part of a path and a message, if the path is wrong.
    fn problem(
        &self,
        path: &str,
        origin: &Origin,
        values: &BTreeMap<String, Entry>,
    ) -> Option<(String, String)> {
        if self.known.contains_key(path) {
            return None;
        }
        if self.is_section(path) {
            let is_in_file = |at: &Origin| matches!(at, Origin::File { .. });
            let is_same = |at: &Origin| at == origin || (is_in_file(at) && is_in_file(origin));
            let value = values.get(path).filter(|entry| is_same(&entry.origin))?;
            let found = if matches!(value.raw, RawValue::List(_)) { "a list" } else { "a value" };
            return Some((path.to_owned(), format!("expected keys{}, found {found}", self.children(path))));
        }
        let mut end = 0;
        loop {
            end = path.get(end..).and_then(|rest| rest.find('.')).map_or(path.len(), |dot| end + dot);
            let at = path.get(..end).unwrap_or(path);
            if let Some(expected) = self.known.get(at) {
                return Some((at.to_owned(), format!("expected {expected}, found keys")));
            }
            if !self.is_section(at) {
                return Some((at.to_owned(), self.unknown(at)));
            }
            end += 1;
        }
    }

    fn is_section(&self, path: &str) -> bool {
        let below = format!("{path}.");
        self.open_sections.contains(path) || self.known.keys().any(|known| known.starts_with(&below))
    }

    fn children(&self, section: &str) -> String {
        let names = self.siblings(section);
        if names.is_empty() { String::new() } else { format!(" ({})", Vec::from_iter(names).join(", ")) }
    }

    /// Returns the keys directly below a section, or at the top if `section` is empty. An open section has none.
    fn siblings<'k>(&'k self, section: &str) -> BTreeSet<&'k str> {
        if self.open_sections.contains(section) {
            return BTreeSet::new();
        }
        let prefix = if section.is_empty() { String::new() } else { format!("{section}.") };
        let below =
            self.known.keys().chain(self.open_sections).filter_map(|known| known.strip_prefix(&prefix));
        below.filter_map(|rest| rest.split('.').next()).collect()
    }

    fn unknown(&self, path: &str) -> String {
        match self.nearest_key(path) {
            Some(suggestion) => format!("unknown key; did you mean {suggestion}?"),
            None => "unknown key".to_owned(),
        }
    }

    /// Returns a sibling with a similar name, or the same key in another section.
    fn nearest_key(&self, path: &str) -> Option<String> {
        let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
        let sibling = nearest(key, self.siblings(section)).map(str::to_owned);
        sibling.or_else(|| {
            let tail = format!(".{key}");
            self.known.keys().find(|known| known.ends_with(&tail)).cloned()
        })
    }

    /// Returns a variable with a similar name. A single underscore instead of two counts as one edit.
    pub(super) fn nearest_variable(&self, name: &str) -> Option<String> {
        let settings = self.known.keys().map(|path| variable_of(path));
        let variables: Vec<String> = settings.chain(NOT_SETTINGS.map(str::to_owned)).collect();
        let candidates = variables.iter().filter_map(|variable| variable.strip_prefix(ENV_PREFIX));
        let found = nearest(name.strip_prefix(ENV_PREFIX)?, candidates)?;
        Some(format!("{ENV_PREFIX}{found}"))
    }
}

/// Returns the candidate with the smallest edit distance, if that is at most a third of the length of the word.
fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let max = (word.chars().count() / 3).max(1);
    let scored = candidates.into_iter().map(|known| (strsim::damerau_levenshtein(word, known), known));
    scored.filter(|(distance, _)| *distance <= max).min().map(|(_, known)| known)
}
