//! JSON objects in which no name occurs twice.
//!
//! RFC 7519, section 4, leaves it open whether the last of two equal names counts or the token is refused. Two programs
//! that choose differently see different claims in one signed token, so the token is refused.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// A JSON object. Names are unique at its first level, which is the only one that is read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object(BTreeMap<String, Value>);

impl Object {
    /// Parses a text that is exactly one JSON object. Returns `None` for any other text.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Returns a value that must be a string if it is present. `Err` if it is anything else.
    pub(crate) fn string(&self, name: &str) -> Result<Option<&str>, WrongType> {
        self.get(name).map(|value| value.as_str().ok_or(WrongType)).transpose()
    }
}

/// A value of another type than the specification requires.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WrongType;

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueNames)
    }
}

struct UniqueNames;

impl<'de> Visitor<'de> for UniqueNames {
    type Value = Object;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object without duplicate names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a name occurs twice"));
            }
        }
        Ok(Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_with_duplicate_names_is_refused() {
        assert!(Object::parse(br#"{"sub": "a", "aud": "b"}"#).is_some());
        for text in
            [r#"{"sub": "a", "sub": "a"}"#, r#"{"sub": "a", "\u0073ub": "b"}"#, "[]", "null", "{} {}", ""]
        {
            assert_eq!(Object::parse(text.as_bytes()), None, "{text}");
        }
    }
}
