//! A minimal YAML emitter for JSON documents.
//!
//! It is hand-written so that the layout of the output does not change with the release of a library.

use crate::document::Document;

/// The number of spaces per level.
const INDENT: usize = 2;

/// Returns a document in block style. Strings are plain only if every reader takes them for a string.
pub(crate) fn emit(document: &Document) -> String {
    let mut out = String::new();
    value(&mut out, document, 0);
    out.trim_start_matches(['\n', ' ']).to_owned()
}

/// Writes a value after a key or a dash. A block starts on a new line.
fn value(out: &mut String, document: &Document, depth: usize) {
    match document {
        Document::Null => out.push_str(" null"),
        Document::Bool(value) => out.push_str(&format!(" {value}")),
        Document::Number(value) => out.push_str(&format!(" {value}")),
        Document::Text(value) => out.push_str(&format!(" {}", text(value))),
        Document::List(members) if members.is_empty() => out.push_str(" []"),
        Document::Object(fields) if fields.is_empty() => out.push_str(" {}"),
        Document::List(members) => {
            for each in members {
                new_line(out, depth);
                out.push('-');
                member(out, each, depth + 1);
            }
        }
        Document::Object(fields) => {
            for (key, value) in fields {
                new_line(out, depth);
                field(out, key, value, depth);
            }
        }
    }
}

fn field(out: &mut String, key: &str, document: &Document, depth: usize) {
    out.push_str(&format!("{}:", text(key)));
    value(out, document, depth + 1);
}

/// Writes a member of a list. The first field of an object is on the line of its dash.
fn member(out: &mut String, document: &Document, depth: usize) {
    match document {
        Document::Object(fields) if !fields.is_empty() => {
            for (nth, (key, value)) in fields.iter().enumerate() {
                if nth == 0 {
                    out.push(' ');
                } else {
                    new_line(out, depth);
                }
                field(out, key, value, depth);
            }
        }
        other => value(out, other, depth),
    }
}

fn new_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', depth * INDENT));
}

/// Returns a string as YAML. A quoted string has the syntax of JSON.
fn text(text: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_-./ ".contains(c);
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(is_safe)
        && !text.ends_with(' ')
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
            .contains(&text.to_ascii_lowercase().as_str());
    if is_plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(json: &str) -> String {
        emit(&Document::parse(json).unwrap())
    }

    #[test]
    fn output_is_in_block_style_and_quotes_ambiguous_text() {
        let json =
            r#"{"z":1,"a":[{"b":true,"c":[]},"x: y",[1.5,-2]],"n":null,"e":{},"no":"yes","o":{"k":"v w"}}"#;
        let expected = "z: 1\na:\n  - b: true\n    c: []\n  - \"x: y\"\n  -\n    - 1.5\n    - -2\n\
                        \"n\": null\ne: {}\n\"no\": \"yes\"\no:\n  k: v w";
        assert_eq!(yaml(json), expected);
        assert_eq!(yaml("[1,2]"), "- 1\n- 2");
        assert_eq!(yaml("\"a\""), "a");
    }
}
