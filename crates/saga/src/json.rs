//! JSON that enters from outside: read so that nothing in it is changed or dropped.
//!
//! Every door reads documents with [`parse_json`]: the API, the participants, the command line. `serde_json` alone
//! would keep the last of two equal keys, and would round a number that has no exact form. A document that cannot be
//! kept is refused where it enters, so that no later reader sees other values than the sender wrote.

use crate::text::{end_position, shown, without_mark};
use crate::{EncodingError, Json, keeps_number};
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::fmt;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;

/// Characters of a refused key or number that an error message repeats.
const SHOWN_CHARS: usize = 60;

/// JSON that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct JsonError {
    /// The cause.
    pub kind: JsonErrorKind,
    /// The line, from 1. 0 if the whole text is refused.
    pub line: usize,
    /// The column in bytes, from 1. 0 if the whole text is refused.
    pub column: usize,
}

/// Cause of a [`JsonError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonErrorKind {
    /// The text is not UTF-8.
    #[error("{0}")]
    Encoding(#[source] EncodingError),
    /// The text is not JSON.
    #[error("{0}")]
    Syntax(String),
    /// An object has the same key twice.
    #[error("duplicate key \"{0}\": an object must not have the same key twice")]
    DuplicateKey(String),
    /// A number has no exact form.
    #[error(
        "the number {0} cannot be represented exactly: it is neither a 64-bit integer nor a double in its shortest form \
         (up to 15 digits always fit); send it as a string"
    )]
    InexactNumber(String),
}

impl JsonErrorKind {
    /// The code of a participant's failure whose output is JSON but cannot be kept. `None` if it is not JSON.
    #[must_use]
    pub fn failure_code(&self) -> Option<&'static str> {
        match self {
            Self::Encoding(_) | Self::Syntax(_) => None,
            Self::DuplicateKey(_) => Some("DUPLICATE_KEY"),
            Self::InexactNumber(_) => Some("NUMBER_NOT_REPRESENTABLE"),
        }
    }
}

/// Parses a document in JSON (RFC 8259). A byte order mark of UTF-8 is ignored.
///
/// # Errors
/// Returns [`JsonError`] if the text is not JSON in UTF-8, if it is nested more than 127 levels deep, if an object has
/// the same key twice, or if a number cannot be represented exactly.
pub fn parse_json(text: &[u8]) -> Result<Json, JsonError> {
    let text = without_mark(text).map_err(|error| JsonError {
        kind: JsonErrorKind::Encoding(error),
        line: 0,
        column: 0,
    })?;
    let visitor = StrictVisitor::default();
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = (&visitor).deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    let value = value.map_err(|error| {
        // A number beyond the range of a double ends the reading, and its text is known only here.
        let inexact = error.to_string().starts_with("number out of range").then(|| check_numbers(text));
        inexact.and_then(Result::err).unwrap_or_else(|| visitor.error(&error))
    })?;
    // Integers are exact, and most documents contain nothing else.
    if visitor.has_float.get() {
        check_numbers(text)?;
    }
    Ok(value)
}

/// Returns the size of a document in bytes, as it is written without spaces.
#[must_use]
pub fn json_bytes(value: &Json) -> usize {
    let mut size = TextSize(0);
    // A count does not fail.
    fmt::Write::write_fmt(&mut size, format_args!("{value}")).ok();
    size.0
}

/// Counts the bytes of a text that is not kept.
struct TextSize(usize);

impl fmt::Write for TextSize {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

/// Findings while a document is read.
#[derive(Debug, Default)]
struct StrictVisitor {
    duplicate_key: RefCell<Option<String>>,
    has_float: Cell<bool>,
}

impl StrictVisitor {
    fn error(&self, error: &serde_json::Error) -> JsonError {
        let kind = match self.duplicate_key.take() {
            Some(key) => JsonErrorKind::DuplicateKey(shown(&key, SHOWN_CHARS)),
            None => JsonErrorKind::Syntax(message(error)),
        };
        JsonError { kind, line: error.line(), column: error.column() }
    }
}

/// Describes the violation. The caller has the position, and the words of serde_json are those of its parser.
fn message(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "the text ends too early".to_owned();
    }
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    let described = match text.get(..end).unwrap_or_default() {
        "expected value" => "expected a value",
        "expected ident" => "expected `true`, `false` or `null`",
        "key must be a string" => "a key must be a string in double quotes",
        "trailing characters" => "unexpected text after the value",
        "trailing comma" => "a comma without a value after it",
        "recursion limit exceeded" => "nested too deeply",
        "invalid escape"
        | "invalid unicode code point"
        | "lone leading surrogate in hex escape"
        | "unexpected end of hex escape" => "a string has an invalid escape",
        other if other.starts_with("control character") => {
            "a string contains a control character: write it as an escape, such as `\\n`"
        }
        other => other,
    };
    described.to_owned()
}

impl<'de> DeserializeSeed<'de> for &StrictVisitor {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &StrictVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        self.has_float.set(true);
        Ok(Json::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut fields = serde_json::Map::new();
        while let Some(key) = access.next_key::<String>()? {
            match fields.entry(key) {
                Entry::Vacant(field) => {
                    field.insert(access.next_value_seed(self)?);
                }
                Entry::Occupied(field) => {
                    *self.duplicate_key.borrow_mut() = Some(field.key().clone());
                    return Err(A::Error::custom("duplicate key"));
                }
            }
        }
        Ok(Json::Object(fields))
    }
}

/// Checks that every number is kept. All of the text up to the first number that is not kept must be JSON.
fn check_numbers(text: &[u8]) -> Result<(), JsonError> {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        match byte {
            b'"' => at += string_length(rest),
            b'-' | b'0'..=b'9' => {
                let is_end = |byte: &u8| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let length = rest.iter().position(is_end).unwrap_or(rest.len());
                let number = core::str::from_utf8(rest.get(..length).unwrap_or_default()).unwrap_or_default();
                if !keeps_number(number) {
                    let kind = JsonErrorKind::InexactNumber(shown(number, SHOWN_CHARS));
                    let (line, column) = end_position(text.get(..at).unwrap_or_default());
                    return Err(JsonError { kind, line, column });
                }
                at += length.max(1);
            }
            _ => at += 1,
        }
    }
    Ok(())
}

/// Returns the number of bytes of a string with its quotes.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        at += match byte {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    text.len()
}
