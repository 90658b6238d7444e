//! JSON documents that keep the order of the fields of objects, unlike `serde_json::Value` in this workspace.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Number;
use std::fmt;

/// A JSON document whose objects keep their order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum JsonDocument {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<JsonDocument>),
    /// An object.
    Object(Vec<(String, JsonDocument)>),
}

impl JsonDocument {
    /// Parses JSON.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Returns a field of an object.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// Returns the members of an array, or an empty slice for other documents.
    pub(crate) fn members(&self) -> &[Self] {
        match self {
            Self::List(members) => members,
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::Object(_) => &[],
        }
    }

    /// Returns JSON on one line.
    pub(crate) fn to_line(&self) -> String {
        infallible(serde_json::to_string(self))
    }

    /// Returns indented JSON.
    pub(crate) fn to_json(&self) -> String {
        infallible(serde_json::to_string_pretty(self))
    }

    /// Returns YAML in block style.
    pub(crate) fn to_yaml(&self) -> String {
        let options = serde_saphyr::ser_options! { compact_list_indent: false, prefer_block_scalars: false };
        infallible(serde_saphyr::to_string_with_options(self, options)).trim_end().to_owned()
    }
}

#[allow(clippy::expect_used, reason = "serialization to memory fails only for keys that are not strings")]
fn infallible<E: fmt::Debug>(text: Result<String, E>) -> String {
    text.expect("the keys of a document are strings")
}

impl Serialize for JsonDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => value.serialize(serializer),
            Self::Text(value) => serializer.serialize_str(value),
            Self::List(members) => serializer.collect_seq(members),
            Self::Object(fields) => serializer.collect_map(fields.iter().map(|(key, value)| (key, value))),
        }
    }
}

impl<'de> Deserialize<'de> for JsonDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = JsonDocument;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<JsonDocument, E> {
        Ok(JsonDocument::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<JsonDocument, E> {
        Ok(JsonDocument::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<JsonDocument, E> {
        Ok(JsonDocument::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<JsonDocument, E> {
        Ok(JsonDocument::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<JsonDocument, E> {
        Ok(Number::from_f64(value).map_or(JsonDocument::Null, JsonDocument::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<JsonDocument, E> {
        Ok(JsonDocument::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<JsonDocument, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_element()? {
            members.push(member);
        }
        Ok(JsonDocument::List(members))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<JsonDocument, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(JsonDocument::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        r#"{"z":1,"a":[{"b":true,"c":[]},"x: y",[1.5,-2]],"n":null,"e":{},"no":"yes","o":{"k":"v w"}}"#;

    #[test]
    fn json_keeps_the_order_of_fields() {
        assert_eq!(JsonDocument::parse(TEXT).unwrap().to_line(), TEXT);
        let pretty = JsonDocument::parse(TEXT).unwrap().to_json();
        assert_eq!(JsonDocument::parse(&pretty).unwrap().to_line(), TEXT);
        assert!(pretty.starts_with("{\n  \"z\": 1,\n  \"a\": [\n    {\n"), "{pretty}");
    }

    #[test]
    fn yaml_is_in_block_style_and_quotes_ambiguous_text() {
        let yaml = "z: 1\na:\n  - b: true\n    c: []\n  - \"x: y\"\n  - - 1.5\n    - -2\n\
                    \"n\": null\ne: {}\n\"no\": \"yes\"\no:\n  k: v w";
        assert_eq!(JsonDocument::parse(TEXT).unwrap().to_yaml(), yaml);
        assert_eq!(JsonDocument::parse("[1,2]").unwrap().to_yaml(), "- 1\n- 2");
        assert_eq!(JsonDocument::parse("\"a\"").unwrap().to_yaml(), "a");
    }
}
