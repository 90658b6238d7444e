//! Arguments that hold JSON.

use crate::error::{CliError, Exit, Result};
use crate::source::read_bytes;
use goconductor_saga::{JsonErrorKind, parse_json};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Parses the JSON of the option `name`. Its value is JSON itself, `@FILE`, or `-` for standard input.
pub(crate) fn parse(name: &str, text: &str) -> Result<Value> {
    let (location, bytes) = match (text, text.strip_prefix('@')) {
        ("-", _) => ("standard input", read_bytes(Path::new("-"))?),
        (_, Some(path)) => (path, read_bytes(Path::new(path))?),
        (text, None) => (name, text.as_bytes().to_vec()),
    };
    parse_json(&bytes).map_err(|error| {
        let (code, verdict, hint) = match error.kind {
            JsonErrorKind::Encoding(_) => ("GC3005", "is not valid JSON", None),
            JsonErrorKind::Syntax(_) => {
                let hint = "quote JSON with single quotes, or use @FILE to read a file";
                ("GC3005", "is not valid JSON", Some(hint))
            }
            JsonErrorKind::DuplicateKey(_) => {
                ("GC2050", "is not accepted", Some("remove one of the two keys"))
            }
            JsonErrorKind::InexactNumber(_) => {
                ("GC2051", "is not accepted", Some("write the number as a string, in double quotes"))
            }
        };
        let location = match error.line {
            0 => location.to_owned(),
            line => format!("{location}:{line}:{}", error.column),
        };
        let refused = CliError::new(Exit::Usage, format!("{name} {verdict}: {error}"));
        let refused = refused.code(code).location(location);
        match hint {
            Some(hint) => refused.hint(hint),
            None => refused,
        }
    })
}

/// Collects the values of a repeated option `KEY=VALUE`. A key that occurs twice is refused, as in JSON.
pub(crate) fn without_duplicates<V>(name: &str, values: Vec<(String, V)>) -> Result<BTreeMap<String, V>> {
    let mut collected = BTreeMap::new();
    for (key, value) in values {
        if collected.contains_key(&key) {
            let message = format!("the key {key} of {name} occurs twice; remove one of the two");
            return Err(CliError::new(Exit::Usage, message));
        }
        collected.insert(key, value);
    }
    Ok(collected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn file_with_a_byte_order_mark_is_read_as_without_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bom.json");
        fs::write(&path, b"\xef\xbb\xbf{\"amount\": 5}").unwrap();
        let argument = format!("@{}", path.display());
        assert_eq!(parse("--input", &argument).unwrap(), serde_json::json!({"amount": 5}));
    }

    #[test]
    fn repeated_key_of_an_option_is_refused() {
        let values = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), 1)).collect::<Vec<_>>();
        assert_eq!(without_duplicates("--label", values(&["a", "b"])).unwrap().len(), 2);
        let error = without_duplicates("--label", values(&["a", "b", "a"])).expect_err("a occurs twice");
        assert!(error.to_string().contains("the key a of --label occurs twice"), "{error}");
    }

    #[test]
    fn json_that_would_be_changed_is_refused_with_its_position() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("input.json");
        for (bytes, code, part) in [
            (&b"{\"amount\":\n 123456789012345678.99}"[..], "GC2051", "input.json:2:2"),
            (b"{\"a\": {\"b\": 1,\n \"b\": 2}}", "GC2050", "duplicate key \"b\""),
            (b"\xff\xfe{\0}\0", "GC3005", "UTF-16"),
            (b"{\"a\": }", "GC3005", "expected a value"),
        ] {
            fs::write(&path, bytes).unwrap();
            let error = parse("--input", &format!("@{}", path.display())).expect_err(code);
            let shown = error.to_string();
            assert!(shown.contains(code) && shown.contains(part), "{shown}");
        }
    }
}
