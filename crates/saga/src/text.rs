//! Texts that enter from outside: their encoding.

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
pub fn without_mark(bytes: &[u8]) -> Result<&[u8], EncodingError> {
    if let Some((_, encoding)) = OTHER_MARKS.iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return Err(EncodingError::Marked(encoding));
    }
    Ok(bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes))
}
