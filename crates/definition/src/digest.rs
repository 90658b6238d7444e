//! The digest of a document, which depends on its content and not on its format.

use goconductor_saga::Json;
use std::collections::BTreeMap;

/// Returns the digest of a document: `blake3:` and 64 hexadecimal digits. It does not depend on the order of keys.
#[must_use]
pub fn of(document: &Json) -> String {
    let mut canonical = String::new();
    write(document, &mut canonical);
    format!("blake3:{}", blake3::hash(canonical.as_bytes()).to_hex())
}

/// Writes JSON with sorted keys and without `$schema`, which only tools use.
fn write(value: &Json, to: &mut String) {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => to.push_str(&value.to_string()),
        Json::Array(items) => {
            to.push('[');
            for item in items {
                write(item, to);
                to.push(',');
            }
            to.push(']');
        }
        Json::Object(entries) => {
            let sorted: BTreeMap<_, _> = entries.iter().filter(|(key, _)| *key != "$schema").collect();
            to.push('{');
            for (key, value) in sorted {
                to.push_str(&Json::String(key.clone()).to_string());
                to.push(':');
                write(value, to);
                to.push(',');
            }
            to.push('}');
        }
    }
}
