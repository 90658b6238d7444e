//! The source of the master key.

use std::fmt;
use std::path::PathBuf;

/// The source of the master key. The key itself is never part of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MasterKeySource {
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A credential of the systemd unit, by its name.
    Systemd(String),
    /// The standard output of a command, such as the client of a key management service: the program and its arguments.
    Command(Vec<String>),
}

impl fmt::Display for MasterKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file://{}", path.display()),
            Self::Env(name) => write!(f, "env://{name}"),
            Self::Systemd(name) => write!(f, "systemd://{name}"),
            // The arguments may be confidential.
            Self::Command(command) => {
                write!(f, "the command {}", command.first().map(String::as_str).unwrap_or_default())
            }
        }
    }
}
