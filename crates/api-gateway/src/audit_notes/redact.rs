//! Redaction of values for the audit log. The log is read by more people than the values, and it cannot be changed later.

use serde::Serialize;
use serde_json::Value;

/// The text in place of a secret.
const MASK: &str = "***";
/// Maximum bytes of a value in a record.
const MAX_VALUE_BYTES: usize = 16 << 10;
/// Parts of names whose values are secrets, in lower case.
const SECRET_NAMES: [&str; 8] =
    ["password", "passwd", "secret", "token", "credential", "authorization", "private", "api_key"];

/// Returns a value as JSON text, with masked secrets. A value that is too large is replaced by its size.
pub(super) fn redacted<T: Serialize>(value: &T) -> Option<String> {
    let mut value = serde_json::to_value(value).ok()?;
    mask(&mut value);
    let text = value.to_string();
    if text.len() > MAX_VALUE_BYTES {
        return Some(format!("{{\"omitted_bytes\":{}}}", text.len()));
    }
    Some(text)
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if is_secret(name) && !value.is_null() {
                    *value = Value::from(MASK);
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::String(text) => {
            if let Some(masked) = without_user_info(text) {
                *text = masked;
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

/// Masks the credentials of a URL. Returns `None` if the text has none.
fn without_user_info(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let (_, host) = authority.rsplit_once('@')?;
    Some(format!("{scheme}://{MASK}@{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::redacted;
    use serde_json::json;

    #[test]
    fn secrets_are_masked_at_every_depth() {
        let value = json!({
            "url": "postgres://user:planted@db.example/goconductor?x=1",
            "plain": "http://127.0.0.1:9101/a@b",
            "list": [{"Password": "planted", "client_secret": {"a": "planted"}, "token": null}],
            "number": 7,
        });
        let text = redacted(&value).unwrap();
        assert!(!text.contains("planted"), "{text}");
        let expected = json!({
            "url": "postgres://***@db.example/goconductor?x=1",
            "plain": "http://127.0.0.1:9101/a@b",
            "list": [{"Password": "***", "client_secret": "***", "token": null}],
            "number": 7,
        });
        assert_eq!(text, expected.to_string());
    }

    #[test]
    fn large_value_is_replaced_by_its_size() {
        assert_eq!(redacted(&"x".repeat(20_000)).as_deref(), Some("{\"omitted_bytes\":20002}"));
    }
}
