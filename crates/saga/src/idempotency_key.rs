//! Idempotency keys of starts.

/// Maximum characters of an idempotency key.
pub const MAX_KEY_CHARS: usize = 256;

/// Returns whether a text can be an idempotency key: it is not blank, has at most [`MAX_KEY_CHARS`] characters, and no
/// control characters.
#[must_use]
pub fn is_idempotency_key(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= MAX_KEY_CHARS && !text.contains(char::is_control)
}
