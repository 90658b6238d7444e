//! Failures that participants report: the code and the message are kept, within limits, and a cut is marked.

mod scan;

use goconductor_saga::{Failure, Json, parse_json, without_utf8_mark};

pub(crate) use scan::FieldScan;

/// The maximum number of characters of a failure's code.
const MAX_CODE_CHARS: usize = 200;
/// The maximum number of characters of a failure's message.
pub(crate) const MAX_MESSAGE_CHARS: usize = 2000;

/// Returns a text of at most `max` characters. A mark at its end states what was cut.
pub(crate) fn cut(text: &str, max: usize) -> String {
    let Some((at, _)) = text.char_indices().nth(max) else { return text.to_owned() };
    let kept = text.get(..at).unwrap_or_default();
    format!("{kept}… [cut: {max} of {} characters]", text.chars().count())
}

/// Returns a failure with a code and a message within the limits.
pub(crate) fn limited(code: &str, message: &str, detail: Option<Json>) -> Failure {
    Failure { code: cut(code, MAX_CODE_CHARS), message: cut(message, MAX_MESSAGE_CHARS), detail }
}

/// Returns the failure in a body such as `{"code": …, "message": …}`. A body of another form becomes the message.
/// `status` is the code and the message of a body that has none.
pub(crate) fn in_body((code, message): (&str, &str), body: &[u8]) -> Failure {
    let body = without_utf8_mark(body);
    let text = String::from_utf8_lossy(body);
    let mut fields = match parse_json(body) {
        Ok(Json::Object(fields)) => fields,
        // A number or a duplicate key would be changed, so the details are kept as text.
        Err(error) if error.kind.failure_code().is_some() => {
            let mut fields = FieldScan::default();
            fields.push(body);
            let [found_code, found_message] = fields.into_fields();
            let detail = Some(Json::String(cut(&text, MAX_MESSAGE_CHARS)));
            let message = found_message.as_deref().unwrap_or(message);
            return limited(found_code.as_deref().unwrap_or(code), message, detail);
        }
        Ok(_) | Err(_) => {
            return limited(code, if text.trim().is_empty() { message } else { &text }, None);
        }
    };
    let mut field = |name: &str| fields.remove(name).and_then(text_of);
    let (found_code, found_message) = (field("code"), field("message"));
    let detail = (!fields.is_empty()).then_some(Json::Object(fields));
    limited(found_code.as_deref().unwrap_or(code), found_message.as_deref().unwrap_or(message), detail)
}

/// Returns the failure in a body that was not kept to its end, from its fields and its beginning. `why` states the cut.
pub(crate) fn in_part_of_body(
    (code, message): (&str, &str),
    fields: FieldScan,
    beginning: &[u8],
    why: &str,
) -> Failure {
    let [found_code, found_message] = fields.into_fields();
    let text = match (&found_code, found_message) {
        (_, Some(message)) => message,
        (Some(_), None) => message.to_owned(),
        // The body has another form, and its beginning is the message.
        (None, None) => String::from_utf8_lossy(beginning).into_owned(),
    };
    let kept: String = text.chars().take(MAX_MESSAGE_CHARS).collect();
    let code = cut(found_code.as_deref().unwrap_or(code), MAX_CODE_CHARS);
    Failure { code, message: format!("{kept}… [cut: {why}]"), detail: None }
}

/// Returns a value as text: a string as it is, another value in JSON. `None` for null and an empty string.
fn text_of(value: Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::String(text) => (!text.is_empty()).then_some(text),
        value @ (Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_)) => {
            Some(value.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{cut, in_body};
    use goconductor_saga::Failure;
    use serde_json::json;

    const STATUS: (&str, &str) = ("HTTP_409", "HTTP 409 Conflict");

    #[test]
    fn body_of_any_form_becomes_a_failure() {
        let of = |code: &str, message: &str| Failure::of(code, message);
        let cases: [(&[u8], Failure); 12] = [
            (br#"{"code": "NO", "message": "no"}"#, of("NO", "no")),
            (b"\xef\xbb\xbf{\"code\": \"NO\"}", of("NO", STATUS.1)),
            (br#"{"code": 7, "message": {"b": 1, "a": [2]}}"#, of("7", r#"{"b":1,"a":[2]}"#)),
            (br#"{"code": true, "message": ["x"]}"#, of("true", r#"["x"]"#)),
            (br#"{"code": null, "message": null}"#, of(STATUS.0, STATUS.1)),
            (br#"{"code": "", "message": ""}"#, of(STATUS.0, STATUS.1)),
            (b"{}", of(STATUS.0, STATUS.1)),
            (b"", of(STATUS.0, STATUS.1)),
            (b" \n", of(STATUS.0, STATUS.1)),
            (b"<html>", of(STATUS.0, "<html>")),
            (b"[1]", of(STATUS.0, "[1]")),
            (b"\"nope\"", of(STATUS.0, "\"nope\"")),
        ];
        for (body, expected) in cases {
            let found = in_body(STATUS, body);
            let text = String::from_utf8_lossy(body);
            assert_eq!((found.code, found.detail), (expected.code, None), "{text}");
            // The order of the keys of an object may differ.
            let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text);
            let same = match (parsed(&found.message), parsed(&expected.message)) {
                (Ok(found), Ok(expected)) => found == expected,
                (Ok(_) | Err(_), _) => found.message == expected.message,
            };
            assert!(same, "{text}: {}", found.message);
        }
        let inexact = in_body(STATUS, br#"{"code": "NO", "limit": 12345678901234567890.25}"#);
        let detail = Some(json!(r#"{"code": "NO", "limit": 12345678901234567890.25}"#));
        assert_eq!((inexact.code.as_str(), inexact.detail), ("NO", detail));
        let more = in_body(STATUS, br#"{"code": "NO", "limit": 5}"#);
        assert_eq!(more.detail, Some(json!({"limit": 5})));
    }

    #[test]
    fn cut_text_says_what_was_cut() {
        assert_eq!(cut("äöü", 3), "äöü");
        assert_eq!(cut("äöüß", 3), "äöü… [cut: 3 of 4 characters]");
        let long = in_body(STATUS, json!({"message": "x".repeat(2001)}).to_string().as_bytes());
        assert!(long.message.ends_with("x… [cut: 2000 of 2001 characters]"), "{}", long.message);
        let plain = in_body(STATUS, "y".repeat(5000).as_bytes());
        assert!(plain.message.ends_with("y… [cut: 2000 of 5000 characters]"), "{}", plain.message);
    }
}
