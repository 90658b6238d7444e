//! Names that users choose: their rules, and one type for each kind that travels between crates.
//!
//! All checks are done here, so that the gateway, the executor, the configuration and the definition language
//! accept the same names.

use crate::text::shown;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Maximum bytes of a namespace, a service name and a definition name: one DNS label.
pub const MAX_LABEL_BYTES: usize = 63;
/// Maximum characters of the name of an action, a secret or a signal, which are ASCII.
const MAX_ACTION_CHARS: usize = 128;
/// Maximum characters of a lock key.
pub const MAX_LOCK_KEY_CHARS: usize = 512;
/// Maximum characters of a lock owner, an election name and a candidate name.
pub const MAX_TEXT_CHARS: usize = 256;
/// Characters of a refused value that an error message repeats.
pub(crate) const SHOWN_CHARS: usize = 80;

/// The kind of a name, which determines its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NameKind {
    /// The name of a namespace.
    Namespace,
    /// The name of a service, which is also the name of its task queue.
    Service,
    /// The name of an action of a service.
    Action,
    /// The name of a definition.
    Definition,
    /// The key of a lock.
    LockKey,
    /// The owner of a lock.
    LockOwner,
    /// The name of an election.
    Election,
    /// The name of a candidate in an election.
    Candidate,
    /// The name of a secret.
    Secret,
    /// The name of a signal.
    Signal,
}

impl NameKind {
    /// Checks a name of this kind.
    ///
    /// # Errors
    /// Returns a [`NameError`] with the value and the rule if the name breaks the rule.
    pub fn check(self, name: &str) -> Result<(), NameError> {
        let valid = match self {
            Self::Namespace => is_label(name),
            Self::Service | Self::Definition => is_label(name) && !name.ends_with('-'),
            Self::Action | Self::Secret | Self::Signal => is_action(name),
            Self::LockKey => is_printable(name, MAX_LOCK_KEY_CHARS) && is_path_segment(name),
            Self::Election => is_printable(name, MAX_TEXT_CHARS) && is_path_segment(name),
            Self::LockOwner | Self::Candidate => is_printable(name, MAX_TEXT_CHARS),
        };
        if valid { Ok(()) } else { Err(NameError { kind: self, value: shown(name, SHOWN_CHARS) }) }
    }

    /// The rule for names of this kind, to complete the sentence "use …".
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Self::Namespace => {
                "1 to 63 lower-case letters (a-z), digits and hyphens, with no hyphen at the start"
            }
            Self::Service | Self::Definition => {
                "1 to 63 lower-case letters (a-z), digits and hyphens, with no hyphen at the start or the end"
            }
            Self::Action | Self::Secret | Self::Signal => {
                "1 to 128 letters, digits, `_`, `.` and `-`, other than dots alone"
            }
            Self::LockKey => "1 to 512 characters, none of them a control character, and not `.` or `..`",
            Self::Election => "1 to 256 characters, none of them a control character, and not `.` or `..`",
            Self::LockOwner | Self::Candidate => "1 to 256 characters, none of them a control character",
        }
    }

    /// Maximum characters of a name of this kind.
    #[must_use]
    pub fn max_chars(self) -> usize {
        match self {
            Self::Namespace | Self::Service | Self::Definition => MAX_LABEL_BYTES,
            Self::Action | Self::Secret | Self::Signal => MAX_ACTION_CHARS,
            Self::LockKey => MAX_LOCK_KEY_CHARS,
            Self::LockOwner | Self::Election | Self::Candidate => MAX_TEXT_CHARS,
        }
    }

    /// The rule as a regular expression in the dialect of JSON Schema (ECMA 262). With
    /// [`max_chars`](Self::max_chars), it accepts the same names as [`check`](Self::check).
    #[must_use]
    pub fn pattern(self) -> &'static str {
        match self {
            Self::Namespace => "^[a-z0-9][a-z0-9-]*$",
            Self::Service | Self::Definition => "^[a-z0-9](?:[a-z0-9]|-+[a-z0-9])*$",
            Self::Action | Self::Secret | Self::Signal => r"^\.*[A-Za-z0-9_-][A-Za-z0-9_.-]*$",
            // The first three alternatives leave out `.` and `..`.
            Self::LockKey | Self::Election => {
                r"^(?:[^.\u0000-\u001f\u007f-\u009f]|[^.\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]|\.[^.\u0000-\u001f\u007f-\u009f]|[^\u0000-\u001f\u007f-\u009f]{3,})$"
            }
            Self::LockOwner | Self::Candidate => r"^[^\u0000-\u001f\u007f-\u009f]+$",
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Service => "service name",
            Self::Action => "action name",
            Self::Definition => "definition name",
            Self::LockKey => "lock key",
            Self::LockOwner => "lock owner",
            Self::Election => "election name",
            Self::Candidate => "candidate name",
            Self::Secret => "secret name",
            Self::Signal => "signal name",
        }
    }
}

/// A name that breaks the rule of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a valid {}: use {}", .kind.noun(), .kind.rule())]
pub struct NameError {
    /// The kind of the name.
    pub kind: NameKind,
    /// The refused value, with control characters escaped, shortened to 80 characters.
    pub value: String,
}

fn is_label(name: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
}

fn is_action(name: &str) -> bool {
    (1..=MAX_ACTION_CHARS).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        && !name.bytes().all(|byte| byte == b'.')
}

/// A JSON Schema limits characters, not bytes. The check counts the same.
fn is_printable(name: &str, max_chars: usize) -> bool {
    (1..=max_chars).contains(&name.chars().count()) && !name.contains(char::is_control)
}

/// Returns whether a URL can name it as a path segment: HTTP clients remove `.` and `..` from a path.
fn is_path_segment(name: &str) -> bool {
    !matches!(name, "." | "..")
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        ///
        /// A value has passed the check of its kind. A clone shares the text. Serialized as a plain string.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks a name without taking ownership of it.
            ///
            /// # Errors
            /// Returns a [`NameError`] with the value and the rule if the name breaks the rule.
            pub fn check(name: &str) -> Result<(), NameError> {
                $kind.check(name)
            }

            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::check(name)?;
                Ok(Self(name.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                Self::check(&name)?;
                Ok(Self(name.into()))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl core::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::try_from(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// The name of a namespace.
    Namespace, NameKind::Namespace
}
name! {
    /// The name of a service, which is also the name of its task queue.
    ServiceName, NameKind::Service
}
name! {
    /// The key of a lock.
    LockKey, NameKind::LockKey
}

impl Namespace {
    /// The namespace of requests that name none.
    pub const DEFAULT: &str = "default";
}

impl Default for Namespace {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}
