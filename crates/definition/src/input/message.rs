//! Descriptions of violations. Those of the validator repeat whole values and terms of its implementation.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a kind without a description of its own is described by its keyword"
)]

use goconductor_saga::{Json, shortened};
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError};

/// Maximum characters of a description.
const MAX_CHARS: usize = 500;
/// Maximum characters of a value in a description.
const MAX_VALUE_CHARS: usize = 60;
/// Maximum names and values in a list.
const MAX_LISTED: usize = 10;
/// Maximum alternatives whose violations are described.
const MAX_BRANCHES: usize = 3;

/// Returns a name for the value at a JSON pointer.
pub(super) fn pointer_name(pointer: &str) -> String {
    if pointer.is_empty() { "the root".to_owned() } else { format!("`{pointer}`") }
}

/// Cuts a description, and marks the cut.
pub(super) fn clipped(text: &str) -> String {
    shortened(text, MAX_CHARS).into_owned()
}

/// Describes why a schema does not compile although it is a valid JSON Schema.
pub(super) fn not_compiled(error: &ValidationError<'_>) -> String {
    let at = pointer_name(error.schema_path().as_str());
    match error.kind() {
        Kind::Format { format } if format == "regex" => format!(
            "at {at}: {} is not a supported pattern: it is not a regular expression, is too large, or has \
             look-around or back-references",
            value(error.instance())
        ),
        _ => clipped(&format!("at {at}: {}", violation(error))),
    }
}

/// Describes a violation: what is expected, and what was found.
pub(super) fn violation(error: &ValidationError<'_>) -> String {
    let found = value(error.instance());
    match error.kind() {
        Kind::Type { kind } => format!("expected {}, found {found}", types(kind)),
        Kind::Required { property } => format!("missing property {}", value(property)),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            format!("unknown {}: remove it, or correct its name", names("property", "properties", unexpected))
        }
        Kind::UnevaluatedItems { unexpected } => {
            format!("unexpected {}: remove it", names("item", "items", unexpected))
        }
        Kind::AdditionalItems { limit } => format!("expected at most {limit} items"),
        Kind::Enum { options } => format!("expected one of {}, found {found}", listed(options)),
        Kind::Constant { expected_value } => format!("expected {}, found {found}", value(expected_value)),
        Kind::AnyOf { context } => format!("{found} matches none of the alternatives: {}", branches(context)),
        Kind::OneOfNotValid { context } => {
            format!("{found} matches none of the alternatives: {}", branches(context))
        }
        Kind::OneOfMultipleValid { .. } => {
            format!("{found} matches several alternatives of `oneOf`, and must match exactly one")
        }
        Kind::Not { .. } => format!("{found} is not allowed, because it matches the schema in `not`"),
        // The library does not name the property, unless the schema declares others.
        Kind::FalseSchema if error.schema_path().as_str().ends_with("/additionalProperties") => {
            format!("an unknown property has the value {found}: remove it, or correct its name")
        }
        Kind::FalseSchema => format!("no value is allowed here, found {found}"),
        Kind::Contains => "the list has too few or too many items that match `contains`".to_owned(),
        Kind::PropertyNames { error } => format!("invalid property name: {}", violation(error)),
        Kind::Referencing(_) => "a `$ref` has no target: define its target in `$defs`".to_owned(),
        Kind::Custom { message, .. } => message.clone(),
        Kind::MaxItems { limit } => format!("expected at most {limit} items"),
        Kind::MinItems { limit } => format!("expected at least {limit} items"),
        Kind::MaxProperties { limit } => format!("expected at most {limit} properties"),
        Kind::MinProperties { limit } => format!("expected at least {limit} properties"),
        Kind::UniqueItems => "two items of the list are equal".to_owned(),
        kind => scalar(kind, &found),
    }
}

/// Describes a violation of a keyword for texts and numbers.
fn scalar(kind: &Kind, found: &str) -> String {
    match kind {
        Kind::Maximum { limit } => format!("expected at most {limit}, found {found}"),
        Kind::Minimum { limit } => format!("expected at least {limit}, found {found}"),
        Kind::ExclusiveMaximum { limit } => format!("expected less than {limit}, found {found}"),
        Kind::ExclusiveMinimum { limit } => format!("expected more than {limit}, found {found}"),
        Kind::MultipleOf { multiple_of } => format!("expected a multiple of {multiple_of}, found {found}"),
        Kind::MaxLength { limit } => format!("expected at most {limit} characters, found {found}"),
        Kind::MinLength { limit } => format!("expected at least {limit} characters, found {found}"),
        Kind::Format { format } => format!("expected the format `{format}`, found {found}"),
        Kind::Pattern { pattern } => {
            format!(
                "expected a match of the pattern `{}`, found {found}",
                shortened(pattern, MAX_VALUE_CHARS)
            )
        }
        Kind::ContentEncoding { content_encoding } => {
            format!("expected the encoding `{content_encoding}`, found {found}")
        }
        Kind::ContentMediaType { content_media_type } => {
            format!("expected the media type `{content_media_type}`, found {found}")
        }
        kind => format!("{found} violates `{}`", kind.keyword()),
    }
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(single) => article(*single).to_owned(),
        TypeKind::Multiple(several) => {
            let names: Vec<&str> = several.iter().map(article).collect();
            names.join(" or ")
        }
    }
}

fn article(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Array => "a list",
        JsonType::Boolean => "a boolean",
        JsonType::Integer => "an integer",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "an object",
        JsonType::String => "a string",
    }
}

/// Returns a value with its type, for a message. A large value is not repeated.
fn value(value: &Json) -> String {
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(number) => number.to_string(),
        Json::String(text) => format!("\"{}\"", shortened(text, MAX_VALUE_CHARS)),
        Json::Array(items) => format!("a list of {} items", items.len()),
        Json::Object(entries) => format!("an object of {} properties", entries.len()),
    }
}

fn listed(options: &Json) -> String {
    let Json::Array(options) = options else { return value(options) };
    list(options.iter().map(value), options.len())
}

fn names(one: &str, several: &str, names: &[String]) -> String {
    let noun = if names.len() == 1 { one } else { several };
    format!(
        "{noun} {}",
        list(names.iter().map(|name| format!("`{}`", shortened(name, MAX_VALUE_CHARS))), names.len())
    )
}

fn list(items: impl Iterator<Item = String>, count: usize) -> String {
    let listed = items.take(MAX_LISTED).collect::<Vec<_>>().join(", ");
    if count > MAX_LISTED { format!("{listed} and {} more", count - MAX_LISTED) } else { listed }
}

/// Describes the first violation of each alternative.
fn branches(context: &[Vec<ValidationError<'static>>]) -> String {
    let first = context.iter().filter_map(|branch| branch.first());
    let described: Vec<String> = first
        .take(MAX_BRANCHES)
        .map(|error| match error.kind() {
            // The inner alternatives of alternatives would make a message that no person reads.
            Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => "further alternatives do not match".to_owned(),
            _ => violation(error),
        })
        .collect();
    let more = context.len().saturating_sub(described.len());
    let rest = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{}{rest}", described.join("; or "))
}
