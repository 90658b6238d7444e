//! The digest by which a repeated start is recognized.

use goconductor_saga::Json;
use std::collections::BTreeMap;

/// Returns the digest of the parts that must be equal in a repeated start.
pub(crate) fn request_digest(definition: &str, input: &Json) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(definition.as_bytes());
    hasher.update(b"\0");
    hash_json(&mut hasher, input);
    hasher.finalize().to_hex().to_string()
}

/// Hashes a value. Equal values have equal digests, regardless of the order of their keys.
fn hash_json(hasher: &mut blake3::Hasher, value: &Json) {
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {
            hasher.update(value.to_string().as_bytes());
        }
        Json::Array(items) => {
            hasher.update(b"[");
            for item in items {
                hash_json(hasher, item);
                hasher.update(b",");
            }
            hasher.update(b"]");
        }
        Json::Object(entries) => {
            let sorted: BTreeMap<&String, &Json> = entries.iter().collect();
            hasher.update(b"{");
            for (key, value) in sorted {
                hasher.update(Json::String(key.clone()).to_string().as_bytes());
                hasher.update(b":");
                hash_json(hasher, value);
                hasher.update(b",");
            }
            hasher.update(b"}");
        }
    }
}
