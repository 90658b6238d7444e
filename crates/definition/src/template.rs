//! Templates: values that contain expressions, `${ … }`.

use crate::fields::{At, FieldReader};
use crate::node::Value;
use crate::problem::EXPRESSION;
use goconductor_saga::{Json, Template, TextPart};

/// Reads a value whose strings may contain expressions.
pub(crate) fn template(reader: &mut FieldReader, at: &At<'_>) -> Template {
    match &at.node.value {
        Value::Scalar(Json::String(text)) => match text_template(text) {
            Ok(template) => template,
            Err(detail) => {
                reader.push(at.problem(EXPRESSION, detail).hint("write `$${` for a literal `${`"));
                Template::Value(Json::Null)
            }
        },
        Value::Scalar(scalar) => Template::Value(scalar.clone()),
        Value::List(_) => {
            let items: Vec<Template> =
                at.items().unwrap_or_default().iter().map(|item| template(reader, item)).collect();
            if items.iter().all(is_value) {
                return Template::Value(at.node.to_json());
            }
            Template::List(items)
        }
        Value::Map(_) => {
            let entries: std::collections::BTreeMap<String, Template> = at
                .entries()
                .unwrap_or_default()
                .iter()
                .map(|(entry, value)| (entry.key.clone(), template(reader, value)))
                .collect();
            if entries.values().all(is_value) && !has_escape(at) {
                return Template::Value(at.node.to_json());
            }
            Template::Map(entries)
        }
    }
}

fn is_value(template: &Template) -> bool {
    match template {
        Template::Value(Json::String(text)) => !text.contains("${"),
        Template::Value(_) => true,
        Template::Expression(_) | Template::Text(_) | Template::List(_) | Template::Map(_) => false,
    }
}

fn has_escape(at: &At<'_>) -> bool {
    at.node.to_json().to_string().contains("$${")
}

/// Parses a text: a literal, one expression that keeps its type, or expressions between literals.
pub(crate) fn text_template(text: &str) -> Result<Template, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(kept) = before.strip_suffix('$') {
            literal.push_str(kept);
            literal.push_str("${");
            rest = from.get(2..).unwrap_or_default();
            continue;
        }
        literal.push_str(before);
        let body = from.get(2..).unwrap_or_default();
        let end = expression_end(body).ok_or("unterminated expression: `${` without `}`")?;
        let expression = body.get(..end).unwrap_or_default().trim();
        if expression.is_empty() {
            return Err("empty expression".to_owned());
        }
        if !literal.is_empty() {
            parts.push(TextPart::Literal(std::mem::take(&mut literal)));
        }
        parts.push(TextPart::Expression(expression.to_owned()));
        rest = body.get(end + 1..).unwrap_or_default();
    }
    literal.push_str(rest);
    if parts.is_empty() {
        return Ok(Template::Value(Json::String(literal)));
    }
    if let ([TextPart::Expression(expression)], true) = (parts.as_slice(), literal.is_empty()) {
        return Ok(Template::Expression(expression.clone()));
    }
    if !literal.is_empty() {
        parts.push(TextPart::Literal(literal));
    }
    Ok(Template::Text(parts))
}

/// Returns the position of the brace that ends an expression, outside of its strings and maps.
fn expression_end(body: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

/// Returns the expressions of a template.
pub(crate) fn expressions(template: &Template) -> Vec<&str> {
    match template {
        Template::Value(_) => Vec::new(),
        Template::Expression(expression) => vec![expression],
        Template::Text(parts) => parts
            .iter()
            .filter_map(|part| match part {
                TextPart::Expression(expression) => Some(expression.as_str()),
                TextPart::Literal(_) => None,
            })
            .collect(),
        Template::List(items) => items.iter().flat_map(expressions).collect(),
        Template::Map(entries) => entries.values().flat_map(expressions).collect(),
    }
}

/// Parses a condition: a bare expression, or a single `${ … }`.
pub(crate) fn condition(text: &str) -> Result<String, String> {
    if !text.trim_start().starts_with("${") {
        return Ok(text.trim().to_owned());
    }
    match text_template(text.trim())? {
        Template::Expression(expression) => Ok(expression),
        Template::Value(_) | Template::Text(_) | Template::List(_) | Template::Map(_) => {
            Err("a condition must be a single expression, without other text".to_owned())
        }
    }
}
