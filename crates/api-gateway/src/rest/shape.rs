//! Descriptions of bodies and queries that do not have the expected form. Those of the deserializer name types of the
//! program, such as `u32` and `struct StartBody`.

/// Describes a violation by the message of the deserializer.
pub(super) fn described(message: &str) -> String {
    let message = message.strip_prefix("Failed to deserialize query string: ").unwrap_or(message);
    // The deserializer of a query puts the name of the parameter before the violation.
    if let Some((name, violation)) = message.split_once(": ").filter(|(name, _)| is_name(name)) {
        return format!("{name}: {}", described(violation));
    }
    if let Some((found, expected)) = split_expected(message) {
        return format!("expected {}, found {}", kind(expected), value(found));
    }
    if let Some((field, known)) =
        message.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", "))
    {
        return format!("unknown value {field}: {}", known.replacen("expected", "use", 1));
    }
    if message.contains("digit found in string")
        || message.contains("number too")
        || message.contains("from empty string")
    {
        return "expected an integer of at least 0".to_owned();
    }
    if message.contains("was not `true` or `false`") {
        return "expected `true` or `false`".to_owned();
    }
    if message.contains("did not match any variant") {
        return "the value has none of the expected forms".to_owned();
    }
    message.to_owned()
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// Splits `invalid type: X, expected Y`, `invalid value: X, expected Y` and `invalid length X, expected Y`.
fn split_expected(message: &str) -> Option<(&str, &str)> {
    let prefixes = ["invalid type: ", "invalid value: ", "invalid length "];
    prefixes.iter().find_map(|prefix| message.strip_prefix(prefix))?.rsplit_once(", expected ")
}

/// Returns the name of a type in JSON.
fn kind(expected: &str) -> String {
    let whole = expected.split(" with ").next().unwrap_or(expected);
    match whole {
        "u8" | "u16" | "u32" | "u64" | "usize" => "an integer of at least 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "an integer".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a map" => "an object".to_owned(),
        "a sequence" | "an array" => "a list".to_owned(),
        "unit" => "null".to_owned(),
        name if name.starts_with("struct ") || name.starts_with("map") => "an object".to_owned(),
        name if name.starts_with("enum ") || name.starts_with("variant ") => {
            "one of the known values".to_owned()
        }
        name if name.starts_with("tuple") => "a list".to_owned(),
        name => name.to_owned(),
    }
}

/// Returns a found value as it is written in JSON.
fn value(found: &str) -> String {
    let quoted = |prefix: &str| found.strip_prefix(prefix).map(|rest| rest.trim_matches('`').to_owned());
    match found {
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" | "Option value" | "null" => "null".to_owned(),
        _ => ["integer ", "boolean ", "floating point ", "number ", "string "]
            .iter()
            .find_map(|prefix| quoted(prefix))
            .unwrap_or_else(|| found.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        #[serde(rename = "number")]
        _number: Option<u32>,
        #[serde(rename = "flag")]
        _flag: Option<bool>,
        #[serde(rename = "labels")]
        _labels: Option<BTreeMap<String, String>>,
        #[serde(rename = "inner")]
        _inner: Option<Box<Body>>,
        #[serde(rename = "order")]
        _order: Option<Order>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Order {
        Up,
        Down,
    }

    #[test]
    fn violation_names_types_of_json() {
        for (body, expected) in [
            (r#"{"number": -1}"#, "expected an integer of at least 0, found -1"),
            (r#"{"number": "x, expected y"}"#, "expected an integer of at least 0, found \"x, expected y\""),
            (r#"{"number": 1.5}"#, "expected an integer of at least 0, found 1.5"),
            (r#"{"flag": 1}"#, "expected a boolean, found 1"),
            (r#"{"labels": [1]}"#, "expected an object, found a list"),
            (r#"{"labels": {"a": null}}"#, "expected a string, found null"),
            (r#"{"inner": 7}"#, "expected an object, found 7"),
            (r#"{"order": "left"}"#, "unknown value `left`: use `up` or `down`"),
            (
                r#"{"nope": 1}"#,
                "unknown field `nope`, expected one of `number`, `flag`, `labels`, `inner`, `order`",
            ),
        ] {
            let value: serde_json::Value = serde_json::from_str(body).unwrap();
            let error = serde_json::from_value::<Body>(value).unwrap_err();
            assert_eq!(described(&error.to_string()), expected, "{body}");
        }
        let query = "Failed to deserialize query string: page_size: invalid digit found in string";
        assert_eq!(described(query), "page_size: expected an integer of at least 0");
        let flag = "dry_run: provided string was not `true` or `false`";
        assert_eq!(described(flag), "dry_run: expected `true` or `false`");
    }
}
