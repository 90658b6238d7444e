//! Texts that enter from outside: their encoding, and their form in messages.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};

/// The byte order mark of UTF-8, which carries no information.
const UTF8_MARK: &[u8] = &[0xef, 0xbb, 0xbf];
/// The byte order marks of other encodings.
const OTHER_MARKS: [(&[u8], &str); 4] = [
    (&[0xff, 0xfe, 0, 0], "UTF-32"),
    (&[0, 0, 0xfe, 0xff], "UTF-32"),
    (&[0xff, 0xfe], "UTF-16"),
    (&[0xfe, 0xff], "UTF-16"),
];

/// A text that is not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// The byte order mark is that of another encoding.
    #[error("the text is {0}, as its byte order mark says: save it as UTF-8")]
    Marked(&'static str),
    /// A byte is not part of UTF-8.
    #[error("the text is not valid UTF-8: save it as UTF-8")]
    Invalid {
        /// The number of valid bytes before it, without a byte order mark.
        valid_up_to: usize,
    },
}

/// Returns the text without the byte order mark of UTF-8.
///
/// # Errors
/// Returns [`EncodingError`] if the bytes are not UTF-8.
pub fn decode_text(bytes: &[u8]) -> Result<&str, EncodingError> {
    let bytes = without_mark(bytes)?;
    core::str::from_utf8(bytes).map_err(|error| EncodingError::Invalid { valid_up_to: error.valid_up_to() })
}

/// Returns the bytes without the byte order mark of UTF-8.
///
/// # Errors
/// Returns [`EncodingError::Marked`] if the byte order mark is that of another encoding.
pub(crate) fn without_mark(bytes: &[u8]) -> Result<&[u8], EncodingError> {
    if let Some((_, encoding)) = OTHER_MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return Err(EncodingError::Marked(encoding));
    }
    Ok(without_utf8_mark(bytes))
}

/// Returns the bytes without the byte order mark of UTF-8. Bytes in another encoding are unchanged.
#[must_use]
pub fn without_utf8_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes)
}

/// Returns the line and the column that follow a text, from 1. The column is in bytes.
#[must_use]
pub fn end_position(text: &[u8]) -> (usize, usize) {
    let line = text.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = text.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    (line, column)
}

/// Returns a text of at most `max_chars` characters for a message. An ellipsis after them marks a longer text.
#[must_use]
pub fn shortened(text: &str, max_chars: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max_chars) {
        Some((end, _)) => format!("{}…", text.split_at(end).0).into(),
        None => text.into(),
    }
}

/// Returns a [`shortened`] text in one line: control characters and quotes are escaped.
pub(crate) fn shown(text: &str, max_chars: usize) -> String {
    shortened(text, max_chars).escape_debug().to_string()
}
