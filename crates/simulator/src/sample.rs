//! A small value that a JSON Schema accepts.

use goconductor_definition::InputSchema;
use goconductor_saga::Json;
use serde_json::{Map, json};

/// Maximum nesting depth of a generated value, for schemas that refer to themselves.
const MAX_DEPTH: usize = 16;
/// Maximum number of items of a generated list, and of characters of a generated text.
const MAX_LENGTH: u64 = 1000;

/// No value could be generated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no input could be generated from the input schema ({0}): pass one with --input")]
pub struct NoSample(String);

/// Returns a small value that a schema accepts: examples and defaults first, and otherwise the required properties
/// only.
///
/// # Errors
/// Returns [`NoSample`] if the generated value does not match the schema, for example because of a pattern.
pub fn sample(schema: &Json) -> Result<Json, NoSample> {
    let value = SchemaSampler { root: schema }.value(schema, 0);
    let checked = InputSchema::new(schema).map_err(NoSample)?.check(&value);
    checked.map_err(|problems| {
        let first = problems.first().map_or_else(String::new, |problem| {
            let pointer = if problem.pointer.is_empty() { "the input" } else { &problem.pointer };
            format!("at {pointer}: {}", problem.detail)
        });
        NoSample(first)
    })?;
    Ok(value)
}

struct SchemaSampler<'a> {
    root: &'a Json,
}

impl SchemaSampler<'_> {
    fn value(&self, schema: &Json, depth: usize) -> Json {
        let Some(object) = schema.as_object().filter(|_| depth < MAX_DEPTH) else { return Json::Null };
        for key in ["const", "default"] {
            if let Some(value) = object.get(key) {
                return value.clone();
            }
        }
        for key in ["examples", "enum"] {
            if let Some(first) = object.get(key).and_then(Json::as_array).and_then(|values| values.first()) {
                return first.clone();
            }
        }
        if let Some(target) = object.get("$ref").and_then(Json::as_str).and_then(|name| self.target(name)) {
            return self.value(target, depth + 1);
        }
        let first_of = |key: &str| object.get(key).and_then(Json::as_array).and_then(|each| each.first());
        let mut value = match self.kind(object) {
            Some("object") => self.object(object, depth),
            Some("array") => self.array(object, depth),
            Some("string") => Json::String(text(object)),
            Some("integer" | "number") => number(object),
            Some("boolean") => json!(true),
            _ => match first_of("anyOf").or_else(|| first_of("oneOf")) {
                Some(alternative) => self.value(alternative, depth + 1),
                None => Json::Null,
            },
        };
        for part in object.get("allOf").and_then(Json::as_array).into_iter().flatten() {
            merge(&mut value, self.value(part, depth + 1));
        }
        value
    }

    /// Follows a reference into the schema itself.
    fn target(&self, reference: &str) -> Option<&Json> {
        self.root.pointer(reference.strip_prefix('#')?)
    }

    /// Returns the type of a schema, which its other keywords show if it has no `type`.
    fn kind<'s>(&self, schema: &'s Map<String, Json>) -> Option<&'s str> {
        let named = match schema.get("type") {
            Some(Json::Array(types)) => types.first().and_then(Json::as_str),
            other => other.and_then(Json::as_str),
        };
        let has = |keys: &[&str]| keys.iter().any(|key| schema.contains_key(*key));
        named
            .or_else(|| has(&["properties", "required", "minProperties"]).then_some("object"))
            .or_else(|| has(&["items", "minItems", "prefixItems"]).then_some("array"))
            .or_else(|| has(&["minLength", "pattern", "format"]).then_some("string"))
            .or_else(|| has(&["minimum", "maximum", "multipleOf"]).then_some("number"))
    }

    fn object(&self, schema: &Map<String, Json>, depth: usize) -> Json {
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        let properties = schema.get("properties").and_then(Json::as_object);
        let value = |name: &str| match properties.and_then(|properties| properties.get(name)) {
            Some(property) => self.value(property, depth + 1),
            None => Json::Null,
        };
        let entries = required.filter_map(Json::as_str).map(|name| (name.to_owned(), value(name)));
        Json::Object(entries.collect())
    }

    fn array(&self, schema: &Map<String, Json>, depth: usize) -> Json {
        let count = whole(schema, "minItems").unwrap_or(0).min(MAX_LENGTH);
        let first = schema.get("prefixItems").and_then(Json::as_array);
        let items = (0..count).map(|at| {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let own = first.and_then(|first| first.get(at)).or_else(|| schema.get("items"));
            own.map_or(Json::Null, |item| self.value(item, depth + 1))
        });
        Json::Array(items.collect())
    }
}

fn whole(schema: &Map<String, Json>, key: &str) -> Option<u64> {
    schema.get(key).and_then(Json::as_u64)
}

/// Adds the fields of an object that the value does not have.
fn merge(value: &mut Json, other: Json) {
    if value.is_null() {
        *value = other;
        return;
    }
    if let (Some(object), Json::Object(other)) = (value.as_object_mut(), other) {
        for (key, field) in other {
            object.entry(key).or_insert(field);
        }
    }
}

fn text(schema: &Map<String, Json>) -> String {
    let of_format = match schema.get("format").and_then(Json::as_str) {
        Some("date-time") => "2026-01-01T00:00:00Z",
        Some("date") => "2026-01-01",
        Some("time") => "00:00:00Z",
        Some("duration") => "P1D",
        Some("email" | "idn-email") => "a@example.com",
        Some("hostname" | "idn-hostname") => "example.com",
        Some("ipv4") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        Some("uri" | "iri" | "uri-reference" | "iri-reference") => "https://example.com",
        Some("uuid") => "01900000-0000-7000-8000-000000000001",
        Some(_) | None => "text",
    };
    let most = whole(schema, "maxLength").unwrap_or(MAX_LENGTH);
    let least = whole(schema, "minLength").unwrap_or(0).min(MAX_LENGTH);
    let length = |text: &str| u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
    let mut text: String = of_format.chars().take(usize::try_from(most).unwrap_or(usize::MAX)).collect();
    while length(&text) < least {
        text.push('x');
    }
    text
}

fn number(schema: &Map<String, Json>) -> Json {
    let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
    let least = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|least| least + 1.0));
    let most = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|most| most - 1.0));
    let mut value = least.unwrap_or(1.0);
    if let Some(most) = most.filter(|most| *most < value) {
        value = most;
    }
    if let Some(factor) = bound("multipleOf").filter(|factor| *factor > 0.0) {
        value = (value / factor).ceil() * factor;
    }
    // A whole number is written without a fraction, or it would not match `integer`.
    let whole: Option<Json> = format!("{value:.0}").parse::<i64>().ok().map(Into::into);
    if value.fract() == 0.0
        && let Some(whole) = whole
    {
        return whole;
    }
    if schema.get("type").and_then(Json::as_str) == Some("integer") {
        return format!("{:.0}", value.ceil()).parse::<i64>().map_or(Json::Null, Into::into);
    }
    json!(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_matches_its_schema() {
        for (schema, expected) in [
            (json!({}), json!(null)),
            (
                json!({"type": "object", "required": ["id", "n"], "properties": {
                    "id": {"type": "string"}, "n": {"type": "integer", "minimum": 5}, "o": {"type": "string"}}}),
                json!({"id": "text", "n": 5}),
            ),
            (json!({"type": "array", "minItems": 2, "items": {"enum": ["a", "b"]}}), json!(["a", "a"])),
            (json!({"type": "string", "minLength": 6}), json!("textxx")),
            (json!({"type": "string", "maxLength": 2}), json!("te")),
            (json!({"type": "string", "format": "date"}), json!("2026-01-01")),
            (json!({"type": "number", "exclusiveMinimum": 0}), json!(1)),
            (json!({"type": "number", "maximum": 0.5}), json!(0.5)),
            (json!({"type": ["null", "string"]}), json!(null)),
            (json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "boolean"}}}), json!(true)),
            (json!({"oneOf": [{"type": "integer"}, {"type": "string"}]}), json!(1)),
            (
                json!({"allOf": [{"required": ["a"], "properties": {"a": {"const": 1}}}, {"required": ["b"]}]}),
                json!({"a": 1, "b": null}),
            ),
        ] {
            assert_eq!(sample(&schema), Ok(expected), "{schema}");
        }
    }

    #[test]
    fn schema_whose_pattern_is_not_met_says_how_to_pass_an_input() {
        let error = sample(&json!({"type": "string", "pattern": "^[0-9]{12}$"})).unwrap_err();
        assert!(error.to_string().contains("--input"), "{error}");
    }
}
