//! The settings that were changed by the API. They are the strongest layer.

use super::apply::{Apply, apply_of};
use super::config_file::{Entry, RawValue};
use super::source::{DynamicSettings, Origin, Problem};
use serde_json::Value;

/// The maximum depth of a document. The deepest setting is five levels down.
const MAX_DEPTH: usize = 32;

/// The values of a document by dotted path.
#[derive(Debug, Default)]
pub(super) struct DynamicLayer {
    pub(super) values: Vec<(String, Entry)>,
    pub(super) keys: Vec<(String, Origin)>,
    pub(super) problems: Vec<Problem>,
}

impl DynamicLayer {
    pub(super) fn of(dynamic: &DynamicSettings) -> Self {
        let mut layer = Self::default();
        let origin = Origin::Api { version: dynamic.version };
        match &dynamic.settings {
            Value::Object(_) => layer.value("", &dynamic.settings, &origin, 0),
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                layer.problem("", &origin, "expected an object of settings");
            }
        }
        layer
    }

    fn value(&mut self, path: &str, value: &Value, origin: &Origin, depth: usize) {
        let raw = match value {
            Value::Null => return,
            Value::Object(entries) => {
                for (key, value) in entries {
                    self.key(path, key, value, origin, depth);
                }
                return;
            }
            // A string is never read as a number, as in YAML.
            Value::String(text) => RawValue::Quoted(text.clone()),
            Value::Bool(value) => RawValue::Plain(value.to_string()),
            Value::Number(value) => RawValue::Plain(value.to_string()),
            Value::Array(items) => {
                let texts: Option<Vec<String>> =
                    items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                match texts {
                    Some(texts) => RawValue::List(texts),
                    None => return self.problem(path, origin, "is a list with items other than strings"),
                }
            }
        };
        self.values.push((path.to_owned(), Entry { raw, origin: origin.clone() }));
    }

    fn key(&mut self, parent: &str, key: &str, value: &Value, origin: &Origin, depth: usize) {
        if key.is_empty() || key.contains('.') {
            let message = format!("the key {key:?} is empty or contains a dot: nest the keys instead");
            return self.problem(parent, origin, message);
        }
        let path = if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") };
        if apply_of(&path) == Apply::FileOnly {
            return self.problem(&path, origin, FILE_ONLY);
        }
        if depth >= MAX_DEPTH {
            return self.problem(&path, origin, "is nested too deeply");
        }
        self.keys.push((path.clone(), origin.clone()));
        self.value(&path, value, origin, depth + 1);
    }

    fn problem(&mut self, path: &str, origin: &Origin, message: impl Into<String>) {
        self.problems.push(Problem {
            path: path.to_owned(),
            origin: origin.clone(),
            message: message.into(),
        });
    }
}

/// The problem of a setting that the API does not change.
const FILE_ONLY: &str = "cannot be set by the API: a process needs it before it reads the settings of the API, it differs \
                         between processes, or it decides who may use the API; set it in the file, the environment or \
                         a flag of each process";

/// Returns a setting of a document by its dotted path. Returns `None` if it is absent or null.
#[must_use]
pub fn setting_of<'d>(document: &'d Value, path: &str) -> Option<&'d Value> {
    let value = path.split('.').try_fold(document, |value, key| value.get(key))?;
    Some(value).filter(|value| !value.is_null())
}

/// Returns the dotted paths of the settings that differ between two documents, in order. A section that only one of them
/// has counts by its settings.
#[must_use]
pub fn changed_settings(one: &Value, other: &Value) -> Vec<String> {
    let mut changed = Vec::new();
    compare("", Some(one), Some(other), &mut changed);
    changed
}

fn compare(path: &str, one: Option<&Value>, other: Option<&Value>, changed: &mut Vec<String>) {
    let entries = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    let is_absent = |value: Option<&Value>| value.is_none_or(Value::is_null);
    match (entries(one), entries(other)) {
        (None, None) => {
            if one != other && !(is_absent(one) && is_absent(other)) {
                changed.push(path.to_owned());
            }
        }
        (ours, theirs) => {
            // A value that replaces a section, or the reverse, is a change of its own.
            if [(&ours, one), (&theirs, other)].iter().any(|(map, value)| map.is_none() && !is_absent(*value))
            {
                changed.push(path.to_owned());
            }
            let (ours, theirs) = (ours.unwrap_or_default(), theirs.unwrap_or_default());
            let keys: std::collections::BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, ours.get(key), theirs.get(key), changed);
            }
        }
    }
}

/// Applies a JSON merge patch (RFC 7396) to a document: null removes a key, an object is merged, and any other value
/// replaces.
pub fn merge(document: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *document = patch.clone();
        return;
    };
    if !document.is_object() {
        *document = Value::Object(serde_json::Map::new());
    }
    let Value::Object(entries) = document else { return };
    for (key, value) in patch {
        if value.is_null() {
            entries.remove(key);
        } else {
            merge(entries.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merge_patch_follows_the_examples_of_the_rfc() {
        for (document, patch, merged) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": "foo"}), json!({"b": {"c": null}}), json!({"a": "foo", "b": {}})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut document = document;
            merge(&mut document, &patch);
            assert_eq!(document, merged, "{patch}");
        }
    }

    #[test]
    fn changed_settings_are_named_by_path() {
        let one = json!({"limits": {"page_size": 10, "backlog": 5}, "queue": {"backend": "nats"}});
        let other =
            json!({"limits": {"page_size": 20, "backlog": 5}, "services": {"a": {"max_in_flight": 1}}});
        let changed = ["limits.page_size", "queue.backend", "services.a.max_in_flight"];
        assert_eq!(changed_settings(&one, &other), changed);
        assert!(changed_settings(&one, &one).is_empty());
        assert!(changed_settings(&json!({"a": {}}), &json!({"a": null})).is_empty());
        assert_eq!(changed_settings(&json!({"a": 1}), &json!({"a": {"b": 1}})), ["a", "a.b"]);
    }
}
