//! Access to the values of a document, which collects problems and does not stop at the first one.

use crate::node::{Entry, Node, Value};
use crate::problem::{LIMIT, MISSING_KEY, Problem, TYPE, UNKNOWN_KEY, VALUE};
use goconductor_saga::{Json, check_labels};
use std::collections::BTreeMap;
use std::time::Duration;

/// A value and its JSON pointer.
#[derive(Debug, Clone)]
pub(crate) struct At<'a> {
    pub(crate) node: &'a Node,
    pub(crate) pointer: String,
}

/// The fields of an object.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    pub(crate) at: At<'a>,
    entries: &'a [Entry],
}

/// The problems and warnings that were found so far.
#[derive(Debug, Default)]
pub(crate) struct FieldReader {
    pub(crate) problems: Vec<Problem>,
    /// Parts that are accepted and are probably mistakes.
    pub(crate) warnings: Vec<Problem>,
}

impl<'a> At<'a> {
    pub(crate) fn root(node: &'a Node) -> Self {
        Self { node, pointer: String::new() }
    }

    pub(crate) fn problem(&self, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem::at(self.node, &self.pointer, code, detail.into())
    }

    /// Returns the items of a list, or `None` if the value is not a list.
    pub(crate) fn items(&self) -> Option<Vec<At<'a>>> {
        let Value::List(items) = &self.node.value else { return None };
        let at = |(index, node)| At { node, pointer: format!("{}/{index}", self.pointer) };
        Some(items.iter().enumerate().map(at).collect())
    }

    /// Returns the entries of an object, or `None` if the value is not an object.
    pub(crate) fn entries(&self) -> Option<Vec<(&'a Entry, At<'a>)>> {
        let Value::Map(entries) = &self.node.value else { return None };
        let at = |entry: &'a Entry| {
            let pointer = format!("{}/{}", self.pointer, escape(&entry.key));
            (entry, At { node: &entry.value, pointer })
        };
        Some(entries.iter().map(at).collect())
    }
}

/// Returns a key as a token of a JSON pointer (RFC 6901, section 3).
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

impl<'a> Fields<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<At<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(At { node: &entry.value, pointer: format!("{}/{}", self.at.pointer, escape(key)) })
    }
}

impl FieldReader {
    pub(crate) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(crate) fn warn(&mut self, warning: Problem) {
        self.warnings.push(warning);
    }

    /// Returns the fields of an object. Reports unknown keys, each with the most similar known key.
    pub(crate) fn fields<'a>(&mut self, at: &At<'a>, known: &[&str]) -> Option<Fields<'a>> {
        let Value::Map(entries) = &at.node.value else {
            self.wrong_type(at, "an object");
            return None;
        };
        for entry in entries {
            if known.contains(&entry.key.as_str()) || entry.key.starts_with("x-") {
                continue;
            }
            let pointer = format!("{}/{}", at.pointer, escape(&entry.key));
            let detail = format!("unknown key `{}`", entry.key);
            let problem = Problem::new(UNKNOWN_KEY, &pointer, (entry.line, entry.column), detail);
            self.push(match nearest(&entry.key, known) {
                Some(near) => problem.hint(format!("did you mean `{near}`?")),
                None => problem
                    .hint(format!("known keys are {}; prefix your own keys with `x-`", known.join(", "))),
            });
        }
        Some(Fields { at: at.clone(), entries })
    }

    pub(crate) fn required<'a>(&mut self, fields: &Fields<'a>, key: &str) -> Option<At<'a>> {
        let found = fields.get(key);
        if found.is_none() {
            self.push(fields.at.problem(MISSING_KEY, format!("missing key `{key}`")));
        }
        found
    }

    pub(crate) fn wrong_type(&mut self, at: &At<'_>, expected: &str) {
        self.push(at.problem(TYPE, format!("expected {expected}, found {}", at.node.kind())));
    }

    pub(crate) fn text<'a>(&mut self, at: &At<'a>) -> Option<&'a str> {
        let text = at.node.text();
        if text.is_none() {
            self.wrong_type(at, "a string");
        }
        text
    }

    pub(crate) fn optional_text(&mut self, fields: &Fields<'_>, key: &str) -> Option<String> {
        let at = fields.get(key)?;
        self.text(&at).map(str::to_owned)
    }

    pub(crate) fn duration(&mut self, at: &At<'_>) -> Option<Duration> {
        let text = self.text(at)?;
        match duration(text) {
            Ok(duration) => Some(duration),
            Err(detail) => {
                self.push(at.problem(VALUE, detail));
                None
            }
        }
    }

    pub(crate) fn number(&mut self, at: &At<'_>, min: f64, max: f64) -> Option<f64> {
        let number = match &at.node.value {
            Value::Scalar(Json::Number(number)) => number.as_f64(),
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => None,
        };
        let Some(number) = number else {
            self.wrong_type(at, "a number");
            return None;
        };
        if !(min..=max).contains(&number) {
            self.push(
                at.problem(VALUE, format!("{number} is out of range: use a number from {min} to {max}")),
            );
            return None;
        }
        Some(number)
    }

    pub(crate) fn count(&mut self, at: &At<'_>) -> Option<u32> {
        let count = match &at.node.value {
            Value::Scalar(Json::Number(number)) => {
                number.as_u64().and_then(|number| u32::try_from(number).ok())
            }
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => None,
        };
        match count {
            Some(count) if count > 0 => Some(count),
            Some(_) | None => {
                self.push(at.problem(VALUE, "expected an integer of at least 1"));
                None
            }
        }
    }

    /// Reads one of several keywords.
    pub(crate) fn choice<T: Copy>(&mut self, at: &At<'_>, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(at)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let problem = at.problem(VALUE, format!("`{text}` is not valid: use one of {}", words.join(", ")));
        self.push(match nearest(text, &words) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem,
        });
        None
    }

    pub(crate) fn texts(&mut self, at: &At<'_>) -> Vec<(String, String)> {
        let Some(items) = at.items() else {
            self.wrong_type(at, "a list of strings");
            return Vec::new();
        };
        items.iter().filter_map(|item| Some((self.text(item)?.to_owned(), item.pointer.clone()))).collect()
    }

    pub(crate) fn labels(&mut self, fields: &Fields<'_>) -> BTreeMap<String, String> {
        let Some(at) = fields.get("labels") else { return BTreeMap::new() };
        let Some(entries) = at.entries() else {
            self.wrong_type(&at, "an object whose values are strings");
            return BTreeMap::new();
        };
        let labels: BTreeMap<_, _> = entries
            .iter()
            .filter_map(|(entry, value)| Some((entry.key.clone(), self.text(value)?.to_owned())))
            .collect();
        if let Err(error) = check_labels(&labels) {
            let found = entries.iter().find(|(entry, _)| Some(&entry.key) == error.name.as_ref());
            let (code, at) = found.map_or((LIMIT, &at), |(_, value)| (VALUE, value));
            self.push(at.problem(code, error.to_string()));
        }
        labels
    }
}

/// Parses a duration that a definition may contain: whole milliseconds, from 1 ms to ten years. Longer durations are
/// certainly mistakes.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
    let duration = crate::duration::parse(text).map_err(|_| {
        format!("`{text}` is not a duration: write a number and a unit, such as 250ms, 30s, 1h30m or 2d")
    })?;
    if duration > MAX {
        return Err(format!("`{text}` is too long: the maximum is ten years"));
    }
    if duration < Duration::from_millis(1) {
        return Err(format!("`{text}` is too short: the minimum is 1ms"));
    }
    Ok(Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
}

/// Returns the known word that is most similar to `word`, if one is similar enough.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    // Jaro-Winkler favors a common prefix, and Damerau-Levenshtein detects two transposed letters.
    let similarity = |each: &str| {
        strsim::jaro_winkler(word, each).max(strsim::normalized_damerau_levenshtein(word, each) + 0.15)
    };
    known
        .iter()
        .map(|each| (similarity(each), *each))
        .filter(|(similarity, _)| *similarity > 0.78)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, each)| each)
}
