//! Access to the fields of a document.

use goconductor_saga::Json;
use std::fmt::Write;

/// The text below a key.
pub(crate) fn text<'a>(value: &'a Json, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Json::as_str)
}

/// The list below a key, or an empty one.
pub(crate) fn list<'a>(value: &'a Json, key: &str) -> &'a [Json] {
    value.get(key).and_then(Json::as_array).map_or(&[][..], Vec::as_slice)
}

/// The entries of the object below a key, or none.
pub(crate) fn entries<'a>(value: &'a Json, key: &str) -> Vec<(&'a str, &'a Json)> {
    let object = value.get(key).and_then(Json::as_object);
    object.map_or_else(Vec::new, |object| object.iter().map(|(key, value)| (key.as_str(), value)).collect())
}

/// Whether the boolean below a key is true.
pub(crate) fn flag(value: &Json, key: &str) -> bool {
    value.get(key).and_then(Json::as_bool).unwrap_or_default()
}

/// A string literal of CEL.
pub(crate) fn quoted(text: &str) -> String {
    let mut literal = String::from("'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => {
                literal.push('\\');
                literal.push(c);
            }
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(literal, "\\u{:04x}", u32::from(c));
            }
            c => literal.push(c),
        }
    }
    literal.push('\'');
    literal
}

/// Escapes a literal text for a template.
pub(crate) fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

/// Escapes all texts of a literal value for a template.
pub(crate) fn literals(value: &Json) -> Json {
    if let Some(text) = value.as_str() {
        return Json::String(literal(text));
    }
    if let Some(items) = value.as_array() {
        return items.iter().map(literals).collect();
    }
    match value.as_object() {
        Some(object) => object.iter().map(|(key, value)| (key.clone(), literals(value))).collect(),
        None => value.clone(),
    }
}

/// A template that is one expression.
pub(crate) fn expression(cel: &str) -> Json {
    Json::String(format!("${{ {cel} }}"))
}

/// The expression of a template that is a single one.
pub(crate) fn single(template: &str) -> Option<&str> {
    let inner = template.strip_prefix("${ ")?.strip_suffix(" }")?;
    (!inner.contains("${")).then_some(inner)
}

/// The expression with the value of a scalar template.
pub(crate) fn cel(template: &Json) -> Option<String> {
    if let Some(text) = template.as_str() {
        return match single(text) {
            Some(expression) => Some(expression.to_owned()),
            None if text.contains("${") => None,
            None => Some(quoted(text)),
        };
    }
    (!template.is_array() && !template.is_object()).then(|| template.to_string())
}
