//! Where values come from, and what is wrong with them.

use std::fmt;
use std::path::{Path, PathBuf};

/// What every variable of the environment that is read begins with.
pub const ENV_PREFIX: &str = "GOCONDUCTOR_";

/// The code of a configuration that is invalid; `docs/errors/GC0001.md` is its page.
pub const INVALID: &str = "GC0001";

/// Variables with our prefix that are not settings.
const NOT_SETTINGS: [&str; 1] = ["GOCONDUCTOR_CONFIG"];

/// A value given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Which setting, by its dotted path.
    pub path: String,
    /// The value, as it was written.
    pub value: String,
    /// The flag's name, such as `--listen`.
    pub name: String,
}

/// What a configuration is made of. The later in this list, the stronger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// The YAML file.
    pub file: Option<PathBuf>,
    /// The environment: names and values. Other than ours are passed over.
    pub env: Vec<(String, String)>,
    /// Variables with our prefix that somebody else reads, such as the command line.
    pub other_env: Vec<String>,
    /// The command line.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// A file and flags above and below this process's environment.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let env = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
            .collect();
        Self { file, env, other_env: Vec::new(), flags }
    }

    /// Whether a variable of the environment is meant to be a setting.
    pub(super) fn is_setting(&self, name: &str) -> bool {
        name.starts_with(ENV_PREFIX)
            && !NOT_SETTINGS.contains(&name)
            && !self.other_env.iter().any(|other| other == name)
    }

    /// What `env://NAME` stands for.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The YAML file.
    File {
        /// Which.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1, in characters.
        column: usize,
    },
    /// The environment.
    Env {
        /// The variable.
        name: String,
    },
    /// The command line.
    Flag {
        /// The flag.
        name: String,
    },
}

impl Origin {
    /// The directory that a relative `file://` is looked up in: that of the file it stands in.
    pub(super) fn directory(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => path.parent(),
            Self::Default | Self::Env { .. } | Self::Flag { .. } => None,
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
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which setting, by its dotted path; empty: the file as a whole.
    pub path: String,
    /// Where it was said.
    pub origin: Origin,
    /// What is wrong, and what would be right.
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

/// A configuration that can't be used, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{INVALID}: configuration is invalid{}", listed(.problems))]
pub struct Invalid {
    /// What is wrong, at least one.
    pub problems: Vec<Problem>,
}

impl Invalid {
    /// The error's stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        INVALID
    }
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// A setting as it came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its dotted path.
    pub path: String,
    /// Its value, with secrets masked.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
    /// The reference that stood for it, such as `env://DATABASE_URL`.
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
