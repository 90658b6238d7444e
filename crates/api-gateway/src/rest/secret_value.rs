//! Reads the value of a secret from a body without copies that stay in memory.

use super::object::JsonObject;
use crate::error::{ApiResult, MALFORMED, Problem, WRONG_SHAPE};
use goconductor_saga::without_utf8_mark;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::str::Chars;
use zeroize::Zeroizing;

/// Reads a body `{"value": …}`. The parser keeps a copy of a string with escapes, so it only finds the string.
pub(super) fn read(bytes: &[u8]) -> ApiResult<SecretString> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct SecretFields<'b> {
        #[serde(borrow)]
        value: &'b RawValue,
    }
    let read: Result<JsonObject<SecretFields<'_>>, _> = serde_json::from_slice(without_utf8_mark(bytes));
    let fields = read.map_err(|error| match error.classify() {
        serde_json::error::Category::Data => wrong_shape(),
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof => {
            let at = format!("line {} column {}", error.line(), error.column());
            Problem::new(MALFORMED, format!("the body is not valid JSON at {at}"))
        }
    })?;
    let text = fields.0.value.get();
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).ok_or_else(wrong_shape)?;
    match unescaped(quoted) {
        Some(value) => Ok(SecretString::from(value.as_str())),
        None => {
            Err(Problem::new(MALFORMED, "the value is not valid JSON: an escape in it names no character"))
        }
    }
}

fn wrong_shape() -> Problem {
    let detail = "expected an object with one field, `value`, which is a string";
    Problem::new(WRONG_SHAPE, detail).at("/value", detail)
}

/// Returns the text of a JSON string without its quotes. Returns `None` if an escape is not valid (RFC 8259, section 7).
fn unescaped(quoted: &str) -> Option<Zeroizing<String>> {
    // The text is never longer than its escaped form, so the buffer does not move.
    let mut text = Zeroizing::new(String::with_capacity(quoted.len()));
    let mut rest = quoted;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut chars = escape.chars();
        text.push(match chars.next()? {
            character @ ('"' | '\\' | '/') => character,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => character(&mut chars)?,
            _ => return None,
        });
        rest = chars.as_str();
    }
    text.push_str(rest);
    Some(text)
}

/// Reads the rest of an escape `\uXXXX`, or of a pair of them.
fn character(chars: &mut Chars<'_>) -> Option<char> {
    let first = code_unit(chars)?;
    if !(0xd800..0xdc00).contains(&first) {
        return char::from_u32(first);
    }
    if (chars.next()?, chars.next()?) != ('\\', 'u') {
        return None;
    }
    let second = code_unit(chars)?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + second)
}

fn code_unit(chars: &mut Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |unit, _| Some((unit << 4) | chars.next()?.to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use serde_json::json;

    #[test]
    fn value_is_read_as_the_parser_of_json_reads_it() {
        for value in
            ["hunter2", "", "a\nb\t\"c\" \\ / \u{8}\u{c}\r", "-----BEGIN KEY-----\nä€😀\u{0}", "\\u0041"]
        {
            let body = json!({"value": value}).to_string();
            assert_eq!(read(body.as_bytes()).unwrap().expose_secret(), value, "{body}");
        }
        let body = r#" { "value" : "\u0041\ud83d\uDE00\/" } "#;
        assert_eq!(read(body.as_bytes()).unwrap().expose_secret(), "A😀/");
        assert_eq!(read("\u{feff}{\"value\":\"a\"}".as_bytes()).unwrap().expose_secret(), "a");
    }

    #[test]
    fn other_bodies_are_refused_without_a_part_of_them() {
        for (body, kind) in [
            (r#"{"value": ["hunter2"]}"#, WRONG_SHAPE),
            (r#"{"value": null}"#, WRONG_SHAPE),
            (r#"{"value": 7}"#, WRONG_SHAPE),
            (r#"{"value": "hunter2", "valeu": 1}"#, WRONG_SHAPE),
            (r#"{"value": "hunter2", "value": "hunter2"}"#, WRONG_SHAPE),
            (r#"["hunter2"]"#, WRONG_SHAPE),
            (r#""hunter2""#, WRONG_SHAPE),
            ("{}", WRONG_SHAPE),
            (r#"{"value": "hunter2"#, MALFORMED),
            (r#"{"value": "hunter2\ud800"}"#, MALFORMED),
            (r#"{"value": "hunter2\ud800\u0041"}"#, MALFORMED),
            (r#"{"value": "hunter2\udc00"}"#, MALFORMED),
            (r#"{"value": "hunter2\x"}"#, MALFORMED),
        ] {
            let problem = read(body.as_bytes()).unwrap_err();
            assert!(problem.is(kind), "{body}: {problem}");
            assert!(!problem.to_string().contains("hunter2"), "{problem}");
        }
    }
}
