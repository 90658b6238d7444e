//! JSON as it came: objects keep the order of their fields, which a `serde_json::Value` does not.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// What two levels of a document differ by.
const INDENT: usize = 2;

/// A JSON document whose objects keep their order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Document {
    /// `null`, a boolean or a number, as JSON writes it.
    Plain(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Document>),
    /// An object.
    Object(Vec<(String, Document)>),
}

impl Document {
    /// Reads JSON.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// A field of an object.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            Self::Plain(_) | Self::Text(_) | Self::List(_) => None,
        }
    }

    /// The members of a list; none for anything else.
    pub(crate) fn members(&self) -> &[Self] {
        match self {
            Self::List(members) => members,
            Self::Plain(_) | Self::Text(_) | Self::Object(_) => &[],
        }
    }

    /// As JSON on one line.
    pub(crate) fn to_line(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out, None);
        out
    }

    /// As JSON for people.
    pub(crate) fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out, Some(0));
        out
    }

    /// As YAML.
    pub(crate) fn to_yaml(&self) -> String {
        let mut out = String::new();
        self.write_yaml(&mut out, 0);
        out.trim_start_matches(['\n', ' ']).to_owned()
    }

    fn write_json(&self, out: &mut String, depth: Option<usize>) {
        match self {
            Self::Plain(text) => out.push_str(text),
            Self::Text(text) => out.push_str(&quoted(text)),
            Self::List(members) => {
                out.push('[');
                for (nth, member) in members.iter().enumerate() {
                    separate(out, nth, depth);
                    member.write_json(out, depth.map(|depth| depth + 1));
                }
                close(out, members.is_empty(), depth, ']');
            }
            Self::Object(fields) => {
                out.push('{');
                for (nth, (key, value)) in fields.iter().enumerate() {
                    separate(out, nth, depth);
                    out.push_str(&quoted(key));
                    out.push_str(if depth.is_some() { ": " } else { ":" });
                    value.write_json(out, depth.map(|depth| depth + 1));
                }
                close(out, fields.is_empty(), depth, '}');
            }
        }
    }

    /// Writes behind a key or a dash: a block goes to lines of its own.
    fn write_yaml(&self, out: &mut String, depth: usize) {
        match self {
            Self::Plain(text) => out.push_str(&format!(" {text}")),
            Self::Text(text) => out.push_str(&format!(" {}", yaml_text(text))),
            Self::List(members) if members.is_empty() => out.push_str(" []"),
            Self::Object(fields) if fields.is_empty() => out.push_str(" {}"),
            Self::List(members) => {
                for member in members {
                    new_line(out, depth);
                    out.push('-');
                    member.write_yaml_member(out, depth + 1);
                }
            }
            Self::Object(fields) => {
                for (key, value) in fields {
                    new_line(out, depth);
                    value.write_yaml_field(out, key, depth);
                }
            }
        }
    }

    fn write_yaml_field(&self, out: &mut String, key: &str, depth: usize) {
        out.push_str(&format!("{}:", yaml_text(key)));
        self.write_yaml(out, depth + 1);
    }

    /// The first field of an object stands beside its dash.
    fn write_yaml_member(&self, out: &mut String, depth: usize) {
        let Self::Object(fields) = self else { return self.write_yaml(out, depth) };
        if fields.is_empty() {
            return self.write_yaml(out, depth);
        }
        for (nth, (key, value)) in fields.iter().enumerate() {
            if nth == 0 {
                out.push(' ');
            } else {
                new_line(out, depth);
            }
            value.write_yaml_field(out, key, depth);
        }
    }
}

fn separate(out: &mut String, nth: usize, depth: Option<usize>) {
    if nth > 0 {
        out.push(',');
    }
    if let Some(depth) = depth {
        new_line(out, depth + 1);
    }
}

fn close(out: &mut String, empty: bool, depth: Option<usize>, bracket: char) {
    if let (false, Some(depth)) = (empty, depth) {
        new_line(out, depth);
    }
    out.push(bracket);
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', depth * INDENT));
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text as YAML: plain only where no reader could take it for anything else.
fn yaml_text(text: &str) -> String {
    let inside = |c: char| c.is_ascii_alphanumeric() || "_-./ ".contains(c);
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(inside)
        && !text.ends_with(' ')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { quoted(text) }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Document, E> {
        Ok(Document::Plain("null".to_owned()))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Document, E> {
        Ok(Document::Plain(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Document, E> {
        Ok(Document::Plain(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Document, E> {
        Ok(Document::Plain(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Document, E> {
        Ok(Document::Plain(serde_json::Value::from(value).to_string()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Document, E> {
        Ok(Document::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Document, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = access.next_element()? {
            members.push(member);
        }
        Ok(Document::List(members))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Document, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = access.next_entry()? {
            fields.push(field);
        }
        Ok(Document::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        r#"{"z":1,"a":[{"b":true,"c":[]},"x: y",[1.5,-2]],"n":null,"e":{},"no":"yes","o":{"k":"v w"}}"#;

    #[test]
    fn order_is_kept() {
        assert_eq!(Document::parse(TEXT).unwrap().to_line(), TEXT);
        let pretty = Document::parse(TEXT).unwrap().to_json();
        assert_eq!(Document::parse(&pretty).unwrap().to_line(), TEXT);
        assert!(pretty.starts_with("{\n  \"z\": 1,\n  \"a\": [\n    {\n"), "{pretty}");
    }

    #[test]
    fn yaml_is_what_a_person_would_write() {
        let yaml = "z: 1\na:\n  - b: true\n    c: []\n  - \"x: y\"\n  -\n    - 1.5\n    - -2\n\
                    \"n\": null\ne: {}\n\"no\": \"yes\"\no:\n  k: v w";
        assert_eq!(Document::parse(TEXT).unwrap().to_yaml(), yaml);
        assert_eq!(Document::parse("[1,2]").unwrap().to_yaml(), "- 1\n- 2");
        assert_eq!(Document::parse("\"a\"").unwrap().to_yaml(), "a");
    }
}
