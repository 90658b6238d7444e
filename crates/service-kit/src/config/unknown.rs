//! Keys that nobody asked for, and the nearest that exist.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Entry, Raw};
use super::reader::variable_of;
use super::source::{ENV_PREFIX, Origin, Problem};

/// What is known of the keys.
pub(super) struct Keys<'a> {
    /// The settings: path, and what a value looks like.
    pub(super) known: &'a BTreeMap<String, String>,
    /// Sections whose keys are names.
    pub(super) open_sections: &'a BTreeSet<String>,
}

impl Keys<'_> {
    /// What is wrong with the keys that were said. What stands below a wrong key is not reported again.
    pub(super) fn problems(
        &self,
        said: &[(String, Origin)],
        values: &BTreeMap<String, Entry>,
    ) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut reported: BTreeSet<(String, bool)> = BTreeSet::new();
        for (path, origin) in said {
            let in_file = matches!(origin, Origin::File { .. });
            let Some((at, message)) = self.wrong(path, origin, values) else { continue };
            // A file's section is wrong once; a variable or a flag is wrong each by itself.
            if !in_file || reported.insert((at.clone(), in_file)) {
                problems.push(Problem { path: at, origin: origin.clone(), message });
            }
        }
        problems
    }

    /// Where and how a path is wrong, if it is.
    fn wrong(
        &self,
        path: &str,
        origin: &Origin,
        values: &BTreeMap<String, Entry>,
    ) -> Option<(String, String)> {
        if self.known.contains_key(path) {
            return None;
        }
        if self.is_section(path) {
            let in_file = |at: &Origin| matches!(at, Origin::File { .. });
            let same = |at: &Origin| at == origin || (in_file(at) && in_file(origin));
            let value = values.get(path).filter(|entry| same(&entry.origin))?;
            let found = if matches!(value.raw, Raw::List(_)) { "a list" } else { "a value" };
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
                return Some((at.to_owned(), self.unknown(at, origin)));
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

    /// The keys directly below a section that are not names; empty: the top.
    fn siblings<'k>(&'k self, section: &str) -> BTreeSet<&'k str> {
        if self.open_sections.contains(section) {
            return BTreeSet::new();
        }
        let prefix = if section.is_empty() { String::new() } else { format!("{section}.") };
        let below =
            self.known.keys().chain(self.open_sections).filter_map(|known| known.strip_prefix(&prefix));
        below.filter_map(|rest| rest.split('.').next()).collect()
    }

    fn unknown(&self, path: &str, origin: &Origin) -> String {
        let suggestion = match origin {
            Origin::Env { name } => self.nearest_variable(name),
            Origin::File { .. } | Origin::Flag { .. } | Origin::Default => self.nearest_key(path),
        };
        match suggestion {
            Some(suggestion) => format!("unknown key; did you mean {suggestion}?"),
            None => "unknown key".to_owned(),
        }
    }

    /// A sibling that is written alike, or the same key in another section.
    fn nearest_key(&self, path: &str) -> Option<String> {
        let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
        let sibling = nearest(key, self.siblings(section)).map(str::to_owned);
        sibling.or_else(|| {
            let tail = format!(".{key}");
            self.known.keys().find(|known| known.ends_with(&tail)).cloned()
        })
    }

    /// A single underscore where two should stand is one change away, like any other slip.
    fn nearest_variable(&self, name: &str) -> Option<String> {
        let variables: Vec<String> = self.known.keys().map(|path| variable_of(path)).collect();
        let ours = variables.iter().filter_map(|variable| variable.strip_prefix(ENV_PREFIX));
        let found = nearest(name.strip_prefix(ENV_PREFIX)?, ours)?;
        Some(format!("{ENV_PREFIX}{found}"))
    }
}

/// The candidate that is fewest changes away, if it is at most a third of the word.
fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let most = (word.chars().count() / 3).max(1);
    let scored = candidates.into_iter().map(|known| (strsim::damerau_levenshtein(word, known), known));
    scored.filter(|(changes, _)| *changes <= most).min().map(|(_, known)| known)
}
