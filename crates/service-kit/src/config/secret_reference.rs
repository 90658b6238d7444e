//! References to secrets of the store: `secret://name` and `secret://name?version=N`.

use goconductor_saga::NameKind;
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

const SCHEME: &str = "secret://";
/// Settings that a process needs before it can read the store.
const NEEDED_FOR_STORE: [&str; 3] = ["state_store", "secrets", "tls"];

/// A reference to a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretReference {
    /// The name of the secret.
    pub name: String,
    /// The version. `None` for the newest one.
    pub version: Option<u32>,
}

/// A text that is not a reference to a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} is not a reference to a secret: write secret://NAME or secret://NAME?version=N")]
pub struct InvalidSecretReference {
    text: String,
}

impl SecretReference {
    /// Returns whether a text has the scheme of references.
    #[must_use]
    pub fn is_reference(text: &str) -> bool {
        text.starts_with(SCHEME)
    }
}

impl FromStr for SecretReference {
    type Err = InvalidSecretReference;

    fn from_str(text: &str) -> Result<Self, InvalidSecretReference> {
        let invalid = || InvalidSecretReference { text: text.to_owned() };
        let rest = text.strip_prefix(SCHEME).ok_or_else(invalid)?;
        let (name, version) = match rest.split_once('?') {
            Some((name, query)) => {
                let version = query.strip_prefix("version=").and_then(|number| number.parse().ok());
                (name, Some(version.filter(|version| *version > 0).ok_or_else(invalid)?))
            }
            None => (rest, None),
        };
        NameKind::Secret.check(name).map_err(|_| invalid())?;
        Ok(Self { name: name.to_owned(), version })
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.name)?;
        self.version.map_or(Ok(()), |version| write!(f, "?version={version}"))
    }
}

/// The values of references. They are never printed.
#[derive(Debug, Clone, Default)]
pub struct ResolvedSecrets(BTreeMap<SecretReference, Option<SecretString>>);

impl ResolvedSecrets {
    /// Adds the value of a reference. `None` if the secret does not exist.
    pub fn insert(&mut self, reference: SecretReference, value: Option<SecretString>) {
        self.0.insert(reference, value);
    }

    /// Adds other values.
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Returns whether a reference was looked up.
    pub(super) fn contains(&self, reference: &SecretReference) -> bool {
        self.0.contains_key(reference)
    }

    pub(super) fn get(&self, reference: &SecretReference) -> Option<&str> {
        self.0.get(reference)?.as_ref().map(ExposeSecret::expose_secret)
    }
}

impl PartialEq for ResolvedSecrets {
    fn eq(&self, other: &Self) -> bool {
        self.0.keys().eq(other.0.keys()) && self.0.keys().all(|key| self.get(key) == other.get(key))
    }
}

impl Eq for ResolvedSecrets {}

/// Returns whether a process needs a setting before it can read the store.
pub(super) fn is_needed_for_store(path: &str) -> bool {
    path == "data_dir" || NEEDED_FOR_STORE.contains(&section(path))
}

/// Returns the first part of a path.
pub(super) fn section(path: &str) -> &str {
    path.split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_parsed_and_printed() {
        for (text, name, version) in [
            ("secret://payments-token", "payments-token", None),
            ("secret://a.b_c?version=7", "a.b_c", Some(7)),
        ] {
            let reference: SecretReference = text.parse().unwrap();
            assert_eq!((reference.name.as_str(), reference.version), (name, version));
            assert_eq!(reference.to_string(), text);
        }
        for text in [
            "secret://",
            "secret://a/b",
            "secret://a?version=0",
            "secret://a?v=1",
            "env://A",
            "secret://a?version=x",
        ] {
            assert!(text.parse::<SecretReference>().is_err(), "{text}");
        }
    }
}
