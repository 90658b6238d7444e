//! Deserialization of optional keys.

use serde::Deserialize;

/// Reads a key that is present, even with the value null, as `Some`: a participant may respond with null.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
