//! Placeholders in the input of a schedule.

use serde_json::Value;

/// The names that an input can contain, as `${ schedule.time }`.
const NAMES: [&str; 2] = ["time", "name"];

/// Replaces the placeholders `${ schedule.time }` (the due time as RFC 3339 in UTC) and `${ schedule.name }` in the
/// strings of an input. Other text is not changed.
#[must_use]
pub fn render(input: &Value, name: &str, time: &str) -> Value {
    match input {
        Value::String(text) => Value::String(replace(text, |found| match found {
            "time" => Some(time.to_owned()),
            "name" => Some(name.to_owned()),
            _ => None,
        })),
        Value::Array(items) => items.iter().map(|item| render(item, name, time)).collect(),
        Value::Object(entries) => {
            entries.iter().map(|(key, value)| (key.clone(), render(value, name, time))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => input.clone(),
    }
}

/// Returns the first name behind `${ schedule.` that is unknown.
#[must_use]
pub fn unknown_placeholder(input: &Value) -> Option<String> {
    match input {
        Value::String(text) => {
            let mut unknown = None;
            replace(text, |name| {
                if !NAMES.contains(&name) && unknown.is_none() {
                    unknown = Some(name.to_owned());
                }
                None
            });
            unknown
        }
        Value::Array(items) => items.iter().find_map(unknown_placeholder),
        Value::Object(entries) => entries.values().find_map(unknown_placeholder),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// Replaces each `${ schedule.NAME }` by the text for its name. A placeholder without a text stays.
fn replace(text: &str, mut value: impl FnMut(&str) -> Option<String>) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let is_escaped = before.ends_with('$') && after.trim_start().starts_with("schedule.");
        if is_escaped {
            // `$${` is a literal `${`, as in definitions.
            result.push_str(before.strip_suffix('$').unwrap_or(before));
            result.push_str("${");
            rest = after;
            continue;
        }
        result.push_str(before);
        let found = after.split_once('}').and_then(|(inner, after)| {
            let name = inner.trim().strip_prefix("schedule.")?;
            Some((value(name)?, after))
        });
        match found {
            Some((text, after)) => {
                result.push_str(&text);
                rest = after;
            }
            None => {
                result.push_str("${");
                rest = after;
            }
        }
    }
    result.push_str(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placeholders_are_replaced_in_strings_only() {
        let input = json!({
            "at": "${ schedule.time }",
            "text": "run ${schedule.name} at ${schedule.time}!",
            "other": ["${ input.x }", "${", "$${ schedule.day }", "${ schedule.day }", 1, null],
            "${ schedule.time }": true,
        });
        let expected = json!({
            "at": "T",
            "text": "run n at T!",
            "other": ["${ input.x }", "${", "${ schedule.day }", "${ schedule.day }", 1, null],
            "${ schedule.time }": true,
        });
        assert_eq!(render(&input, "n", "T"), expected);
        assert_eq!(unknown_placeholder(&input), Some("day".to_owned()));
        assert_eq!(unknown_placeholder(&json!(["${ schedule.time }", "${ input.x }"])), None);
    }
}
