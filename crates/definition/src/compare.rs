//! Differences between two definitions, by meaning: the order of keys, comments, the format and the position of a step in
//! the text do not matter.

use goconductor_saga::{Definition, Json};
use serde_json::Map;
use std::fmt;

/// The stored keys that do not change what a definition does, or that follow from others.
const IGNORED: &[&str] = &["format", "name", "blocks", "skipped_with"];

/// A difference between two definitions.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The step, or `None` for a setting of the definition.
    pub step: Option<String>,
    /// The path of the value, such as `retry.max_attempts`. Empty for a whole step.
    pub path: String,
    /// The old value, or `None` if it was added.
    pub old: Option<Json>,
    /// The new value, or `None` if it was removed.
    pub new: Option<Json>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match (&self.step, self.path.as_str()) {
            (Some(step), "") => format!("step {step}"),
            (Some(step), path) => format!("step {step}: {path}"),
            (None, path) => path.to_owned(),
        };
        match (&self.old, &self.new) {
            (None, Some(_)) if self.path.is_empty() => write!(f, "+ {name}"),
            (Some(_), None) if self.path.is_empty() => write!(f, "- {name}"),
            (None, Some(new)) => write!(f, "+ {name}: {new}"),
            (Some(old), None) => write!(f, "- {name}: {old}"),
            (Some(old), Some(new)) => write!(f, "~ {name}: {old} → {new}"),
            (None, None) => Ok(()),
        }
    }
}

/// Returns the differences: settings of the definition, removed steps, added steps, and changed steps with their edges,
/// in the order of the new definition. Equal definitions have none.
#[must_use]
pub fn compare(old: &Definition, new: &Definition) -> Vec<Difference> {
    let mut found = Vec::new();
    let (old_steps, new_steps) = (steps(old), steps(new));
    let (mut old_settings, mut new_settings) = (settings(old), settings(new));
    old_settings.remove("steps");
    new_settings.remove("steps");
    differences(None, "", &Json::Object(old_settings), &Json::Object(new_settings), &mut found);
    let named = |steps: &[(String, Json)], name: &str| steps.iter().position(|(each, _)| each == name);
    let whole =
        |step: &str, old, new| Difference { step: Some(step.to_owned()), path: String::new(), old, new };
    for (name, step) in &old_steps {
        if named(&new_steps, name).is_none() {
            found.push(whole(name, Some(step.clone()), None));
        }
    }
    for (name, step) in &new_steps {
        match named(&old_steps, name).and_then(|position| old_steps.get(position)) {
            None => found.push(whole(name, None, Some(step.clone()))),
            Some((_, old)) => differences(Some(name), "", old, step, &mut found),
        }
    }
    found
}

fn settings(definition: &Definition) -> Map<String, Json> {
    let stored = serde_json::to_value(definition).unwrap_or(Json::Null);
    if let Json::Object(mut object) = stored {
        object.retain(|key, _| key == "name" || !IGNORED.contains(&key.as_str()));
        return object;
    }
    Map::new()
}

/// Returns the steps by name, with the names of their dependencies instead of indexes.
fn steps(definition: &Definition) -> Vec<(String, Json)> {
    let step = |step: &goconductor_saga::Step| {
        let mut stored = serde_json::to_value(step).unwrap_or(Json::Null);
        if let Some(object) = stored.as_object_mut() {
            object.retain(|key, _| !IGNORED.contains(&key.as_str()));
            let names = step.depends_on.iter().filter_map(|index| definition.steps.get(index.at()));
            let mut names: Vec<&str> = names.map(|step| step.name.as_str()).collect();
            names.sort_unstable();
            object.insert("depends_on".to_owned(), names.into());
        }
        (step.name.clone(), stored)
    };
    definition.steps.iter().map(step).collect()
}

fn differences(step: Option<&str>, path: &str, old: &Json, new: &Json, found: &mut Vec<Difference>) {
    if old == new {
        return;
    }
    let mut push = |path: &str, old: Option<&Json>, new: Option<&Json>| {
        found.push(Difference {
            step: step.map(str::to_owned),
            path: path.to_owned(),
            old: old.cloned(),
            new: new.cloned(),
        });
    };
    match (old, new) {
        (Json::Object(old), Json::Object(new)) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => differences(step, &path, old, new, found),
                    (old, new) => found.push(Difference {
                        step: step.map(str::to_owned),
                        path,
                        old: old.cloned(),
                        new: new.cloned(),
                    }),
                }
            }
        }
        // The dependencies are edges, each of which was added or removed.
        (Json::Array(old), Json::Array(new)) if path == "depends_on" => {
            old.iter().filter(|edge| !new.contains(edge)).for_each(|edge| push(path, Some(edge), None));
            new.iter().filter(|edge| !old.contains(edge)).for_each(|edge| push(path, None, Some(edge)));
        }
        (old, new) => push(path, Some(old), Some(new)),
    }
}
