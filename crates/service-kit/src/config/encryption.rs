//! The section `encryption`: encrypted payloads of workflows, and fields that the API masks.

use super::reader::SettingReader;
use super::value;
use goconductor_saga::NameKind;
use std::collections::BTreeSet;

const PAYLOADS: &str = "encryption.payloads";
const NAMESPACES: &str = "encryption.namespaces";

/// Encrypted payloads, and masked fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncryptionConfig {
    /// Whether the payloads of all namespaces are encrypted.
    pub payloads: bool,
    /// The namespaces whose payloads are encrypted.
    pub namespaces: BTreeSet<String>,
    /// Paths of fields in inputs, outputs and details of failures that the API masks, such as `$.card.number`.
    pub redact: Vec<String>,
}

impl EncryptionConfig {
    /// Returns whether the payloads of a namespace are encrypted.
    #[must_use]
    pub fn seals(&self, namespace: &str) -> bool {
        self.payloads || self.namespaces.contains(namespace)
    }
}

pub(super) fn read(reader: &mut SettingReader<'_>) -> EncryptionConfig {
    let namespaces = value::list("a list of namespaces", |name| NameKind::Namespace.check(name).is_ok());
    let redact = value::list("a list of paths such as [$.card.number, $..token]", is_path);
    EncryptionConfig {
        payloads: reader.get(PAYLOADS, &value::boolean(), false),
        namespaces: reader.get(NAMESPACES, &namespaces, Vec::new()).into_iter().collect(),
        redact: reader.get("encryption.redact", &redact, Vec::new()),
    }
}

/// Checks that encrypted payloads have a master key.
pub(super) fn check(config: &EncryptionConfig, has_master_key: bool, reader: &mut SettingReader<'_>) {
    if !has_master_key && (config.payloads || !config.namespaces.is_empty()) {
        let path = if config.payloads { PAYLOADS } else { NAMESPACES };
        let message = "requires secrets.master_key, which wraps the keys of the payloads";
        reader.problem(path, reader.origin(path), message);
    }
}

/// Returns whether a text is a path: `$`, and names after `.` or `..`. The name `*` is any name or element.
fn is_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('$') else { return false };
    let names = rest.replace("..", ".");
    names.strip_prefix('.').is_some_and(|names| {
        names.split('.').all(|name| !name.is_empty() && !name.contains(['[', ']', ' ', '"', '\'']))
    })
}

#[cfg(test)]
mod tests {
    use super::is_path;

    #[test]
    fn paths_of_fields_are_recognised() {
        for path in ["$.card.number", "$..token", "$.items.*.secret", "$.a..b"] {
            assert!(is_path(path), "{path}");
        }
        for path in ["", "$", "card", "$card", "$.", "$.a.", "$.a[0]", "$...a", "$.a b"] {
            assert!(!is_path(path), "{path}");
        }
    }
}
