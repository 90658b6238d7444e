//! The layers of a configuration, the origins of values, and problems.

use super::secret_reference::ResolvedSecrets;
use serde_json::Value;
use std::fmt;
use std::path::{Path, PathBuf};

/// Prefix of all environment variables that are read.
pub const ENV_PREFIX: &str = "GOCONDUCTOR_";

/// Error code of an invalid configuration. Its page is `docs/errors/GC0001.md`.
pub const INVALID: &str = "GC0001";

/// Variables with the prefix that are read elsewhere: the path of the file, the variables of the command line, and that
/// of the tests.
pub(super) const NOT_SETTINGS: [&str; 10] = [
    "GOCONDUCTOR_CONFIG",
    "GOCONDUCTOR_SERVER",
    "GOCONDUCTOR_NAMESPACE",
    "GOCONDUCTOR_TOKEN",
    "GOCONDUCTOR_TOKEN_FILE",
    "GOCONDUCTOR_CA",
    "GOCONDUCTOR_CERT",
    "GOCONDUCTOR_KEY",
    "GOCONDUCTOR_COMPLETE",
    "GOCONDUCTOR_TEST_PANIC",
];

/// A value on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The dotted path of the setting.
    pub path: String,
    /// The value as it was written.
    pub value: String,
    /// The name of the flag, such as `--listen`.
    pub name: String,
}

/// The settings of the API: a document with the form of the YAML file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamicSettings {
    /// The version of the document, from 1.
    pub version: u64,
    /// The document: an object, whose values are settings and sections.
    pub settings: Value,
}

/// The layers of a configuration, from the weakest to the strongest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The YAML file.
    pub file: Option<PathBuf>,
    /// The environment variables: names and values. Variables without the prefix are ignored.
    pub env: Vec<(String, String)>,
    /// The flags of the command line.
    pub flags: Vec<Flag>,
    /// The settings that were changed by the API.
    pub dynamic: Option<DynamicSettings>,
    /// The values of references to secrets. A setting with another reference has its default, and
    /// [`Config::secret_references`](super::Config::secret_references) lists it.
    pub secrets: ResolvedSecrets,
}

impl Sources {
    /// Returns the layers of this process: a file, the environment of the process, and flags.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let env = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect();
        Self { file, env, flags, ..Self::default() }
    }

    /// Returns the environment variables that are read as settings: names and values.
    pub(super) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        let variables = self.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        variables.filter(|(name, _)| name.starts_with(ENV_PREFIX) && !NOT_SETTINGS.contains(name))
    }

    /// Returns the value of `env://NAME`.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The default.
    Default,
    /// The YAML file.
    File {
        /// The path of the file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in characters.
        column: usize,
    },
    /// The environment.
    Env {
        /// The name of the variable.
        name: String,
    },
    /// The command line.
    Flag {
        /// The name of the flag.
        name: String,
    },
    /// The settings of the API.
    Api {
        /// Their version.
        version: u64,
    },
}

impl Origin {
    /// Returns the base directory of a relative `file://`: the directory of the configuration file.
    pub(super) fn directory(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => path.parent(),
            Self::Default | Self::Env { .. } | Self::Flag { .. } | Self::Api { .. } => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Env { name } => write!(f, "env {name}"),
            Self::Flag { name } => write!(f, "flag {name}"),
            Self::Api { version } => write!(f, "api version {version}"),
        }
    }
}

/// A problem in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The dotted path of the setting. Empty for the file as a whole.
    pub path: String,
    /// The origin of the wrong value.
    pub origin: Origin,
    /// The problem and the expected value.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin != Origin::Default {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// An invalid configuration with all its problems.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{INVALID}: configuration is invalid{}", lines(.problems))]
pub struct Invalid {
    /// The problems, at least one.
    pub problems: Vec<Problem>,
}

impl Invalid {
    /// Returns the stable error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        INVALID
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// A setting with its effective value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The dotted path.
    pub path: String,
    /// The value, with secrets masked.
    pub value: String,
    /// The origin of the value.
    pub origin: Origin,
    /// The reference that the value replaced, such as `env://DATABASE_URL`.
    pub reference: Option<String>,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  ({}", self.path, self.value, self.origin)?;
        if let Some(reference) = &self.reference {
            write!(f, ", {reference}")?;
        }
        f.write_str(")")
    }
}
