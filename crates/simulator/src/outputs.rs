//! Outputs of steps for which the caller gave none: objects with the fields that the expressions of the definition
//! select.

use goconductor_saga::{Definition, Json};
use serde_json::{Map, json};
use std::collections::BTreeMap;

/// The values that a selected field can have. The first with which the workflow completes is used.
pub(crate) fn leaves() -> [Json; 4] {
    [json!(1), json!("text"), json!(true), json!(["text"])]
}

/// Returns an output for each step whose output an expression selects fields of. Each selected field is `leaf`.
pub(crate) fn generate(definition: &Definition, leaf: &Json) -> BTreeMap<String, Json> {
    // The stored form has every expression of the definition, in all constructs.
    let text = serde_json::to_string(definition).unwrap_or_default();
    let mut outputs = BTreeMap::new();
    for part in text.split("steps.").skip(1) {
        let mut names = names(part).into_iter();
        let (Some(step), Some("output")) = (names.next(), names.next()) else { continue };
        let known = definition.steps.iter().any(|each| each.name == step);
        let fields: Vec<&str> = names.collect();
        if known && !fields.is_empty() {
            insert(outputs.entry(step.to_owned()).or_insert(Json::Null), &fields, leaf);
        }
    }
    outputs
}

/// Returns the names of a selection such as `a.output.b.c`. A name that is called as a function is not part of it.
fn names(text: &str) -> Vec<&str> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len());
    let (selection, rest) = text.split_at(end);
    let mut names: Vec<&str> = selection.split('.').collect();
    if rest.starts_with('(') {
        names.pop();
    }
    let end = names.iter().position(|name| name.is_empty()).unwrap_or(names.len());
    names.truncate(end);
    names
}

fn insert(value: &mut Json, fields: &[&str], leaf: &Json) {
    let Some((first, rest)) = fields.split_first() else {
        // A longer selection through the same field decides its form.
        if !value.is_object() {
            *value = leaf.clone();
        }
        return;
    };
    if !value.is_object() {
        *value = Json::Object(Map::new());
    }
    if let Some(object) = value.as_object_mut() {
        insert(object.entry((*first).to_owned()).or_insert(Json::Null), rest, leaf);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_before_a_call() {
        for (text, expected) in [
            ("a.output.b.c > 1", vec!["a", "output", "b", "c"]),
            ("a.output.b.size() > 1", vec!["a", "output", "b"]),
            ("a.output[0]", vec!["a", "output"]),
            ("a.output.b. c", vec!["a", "output", "b"]),
            ("a.status", vec!["a", "status"]),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn longer_selection_decides_the_form() {
        for order in [[&["a"][..], &["a", "b"]], [&["a", "b"], &["a"]]] {
            let mut value = Json::Null;
            order.iter().for_each(|fields| insert(&mut value, fields, &json!(1)));
            assert_eq!(value, json!({"a": {"b": 1}}));
        }
    }
}
