//! Payloads by reference: a large input, output or signal is stored once, and events and states contain a reference.
//!
//! A reference is a value of its own form, so the rules carry it like any other value. Expressions read through it: their
//! [`Scope`](crate::Scope) asks a [`PayloadSource`] for the values that they name, and for no others.

use crate::Json;
use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use core::fmt;

/// The only key of a reference.
const KEY: &str = "$payload";
/// The key of the digest.
const DIGEST_KEY: &str = "sha256";
/// The key of the size.
const BYTES_KEY: &str = "bytes";

/// The SHA-256 digest of the text of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadDigest(pub [u8; 32]);

/// A reference to a stored payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadRef {
    /// The digest of its text.
    pub digest: PayloadDigest,
    /// The bytes of its text.
    pub bytes: u64,
}

/// Stored payloads, as far as they are in memory.
pub trait PayloadSource: fmt::Debug + Send + Sync {
    /// Returns the value of a payload. A source that does not have it records that, and the caller evaluates again when it
    /// has the value.
    fn payload(&self, reference: PayloadRef) -> Option<&Json>;
}

impl fmt::Display for PayloadDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl PayloadDigest {
    /// Parses 64 hexadecimal digits in lower case. Returns `None` for other texts.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 || digits.iter().any(|digit| !matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl PayloadRef {
    /// Reads a reference. Returns `None` for every other value.
    #[must_use]
    pub fn of(value: &Json) -> Option<Self> {
        let only = |value: &Json, keys: usize| value.as_object().is_some_and(|map| map.len() == keys);
        if !only(value, 1) {
            return None;
        }
        let inner = value.get(KEY).filter(|inner| only(inner, 2))?;
        let digest = PayloadDigest::parse(inner.get(DIGEST_KEY)?.as_str()?)?;
        Some(Self { digest, bytes: inner.get(BYTES_KEY)?.as_u64()? })
    }

    /// Returns the value that stands for the payload.
    #[must_use]
    pub fn to_json(self) -> Json {
        let mut inner = serde_json::Map::new();
        inner.insert(DIGEST_KEY.to_owned(), Json::String(self.digest.to_string()));
        inner.insert(BYTES_KEY.to_owned(), Json::from(self.bytes));
        let mut outer = serde_json::Map::new();
        outer.insert(String::from(KEY), Json::Object(inner));
        Json::Object(outer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reference_is_read_as_it_was_written() {
        let reference = PayloadRef { digest: PayloadDigest([0xa7; 32]), bytes: 5 << 20 };
        assert_eq!(reference.to_json()["$payload"]["sha256"], "a7".repeat(32));
        assert_eq!(PayloadRef::of(&reference.to_json()), Some(reference));
    }

    #[test]
    fn value_in_another_form_is_not_a_reference() {
        let digest = "0f".repeat(32);
        for value in [
            json!(null),
            json!("$payload"),
            json!({}),
            json!({"$payload": {}}),
            json!({"$payload": {"sha256": digest}}),
            json!({"$payload": {"sha256": digest, "bytes": -1}}),
            json!({"$payload": {"sha256": digest, "bytes": "1"}}),
            json!({"$payload": {"sha256": digest.to_uppercase(), "bytes": 1}}),
            json!({"$payload": {"sha256": "+f".repeat(32), "bytes": 1}}),
            json!({"$payload": {"sha256": digest, "bytes": 1, "more": 1}}),
            json!({"$payload": {"sha256": digest, "bytes": 1}, "more": 1}),
        ] {
            assert_eq!(PayloadRef::of(&value), None, "{value}");
        }
    }
}
