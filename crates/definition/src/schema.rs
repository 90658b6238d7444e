//! The JSON Schema of the language.

mod descriptions;

use crate::step::MAX_NAME_CHARS;
use goconductor_saga::{Json, MAX_LABEL_CHARS, MAX_LABELS, NameKind};
use serde_json::json;

/// Any text without control characters.
const VISIBLE: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// Returns the JSON Schema of the language, which editors use for completion. [`parse`](crate::parse) has better
/// messages.
///
/// The limits of names and labels are those of their checks.
#[must_use]
pub fn schema() -> Json {
    // Invariant: the file is valid JSON, which a test checks.
    let mut schema: Json = serde_json::from_str(include_str!("schema.json")).unwrap_or(Json::Null);
    for (pointer, limits) in limits() {
        if let (Some(Json::Object(part)), Json::Object(limits)) = (schema.pointer_mut(pointer), limits) {
            part.extend(limits);
        }
    }
    descriptions::describe(&mut schema);
    schema
}

/// Returns the limits of parts of the schema, by their JSON pointers.
fn limits() -> [(&'static str, Json); 5] {
    let (service, action) = (NameKind::Service, NameKind::Action);
    let slug = NameKind::Definition;
    [
        ("/definitions/slug", json!({"pattern": slug.pattern(), "maxLength": slug.max_chars()})),
        ("/definitions/ident", json!({"pattern": "^[a-z][a-z0-9_]*$", "maxLength": MAX_NAME_CHARS})),
        (
            "/definitions/action",
            json!({
                // The service can be that of `defaults`.
                "pattern": format!("^(?:{}/)?{}$", inner(service.pattern()), inner(action.pattern())),
                "maxLength": service.max_chars() + 1 + action.max_chars(),
            }),
        ),
        ("/properties/labels", label_rule()),
        ("/definitions/step/properties/labels", label_rule()),
    ]
}

/// Returns the rule for labels, as keywords of JSON Schema.
#[must_use]
pub fn label_rule() -> Json {
    let text = |min: usize| json!({"type": "string", "minLength": min, "maxLength": MAX_LABEL_CHARS, "pattern": VISIBLE});
    json!({"maxProperties": MAX_LABELS, "propertyNames": text(1), "additionalProperties": text(0)})
}

/// Returns a pattern without its anchors.
fn inner(pattern: &str) -> &str {
    pattern.trim_start_matches('^').trim_end_matches('$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limited_part_exists() {
        let schema: Json = serde_json::from_str(include_str!("schema.json")).unwrap();
        for (pointer, _) in limits() {
            assert!(schema.pointer(pointer).is_some_and(Json::is_object), "{pointer}");
        }
    }

    #[test]
    fn pattern_of_an_action_accepts_the_names_of_services_and_actions() {
        let [_, _, (_, action), ..] = limits();
        let action = crate::InputSchema::new(&action).unwrap();
        for (text, expected) in [
            ("payments/charge", true),
            ("payments/Charge_v1.2-beta", true),
            ("charge", true),
            ("..charge", true),
            ("", false),
            ("..", false),
            ("/charge", false),
            ("Payments/charge", false),
            ("payments-/charge", false),
            ("payments/..", false),
            ("payments/charge/x", false),
            ("payments/a b", false),
        ] {
            assert_eq!(action.check(&text.into()).is_ok(), expected, "{text}");
            let (service, name) = text.split_once('/').unwrap_or(("default", text));
            let is_valid = NameKind::Service.check(service).is_ok() && NameKind::Action.check(name).is_ok();
            assert_eq!(is_valid, expected, "{text}");
        }
    }
}
