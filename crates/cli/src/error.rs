//! Errors and exit codes of a command.

use goconductor_client::{Error, ProblemDetail};
use goconductor_process::VaultError;
use goconductor_service_kit::config::Invalid;
use std::fmt;

/// The exit codes. They are an interface for scripts and must not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command succeeded.
    Success = 0,
    /// A failure without an exit code of its own.
    Other = 1,
    /// The command line is invalid.
    Usage = 2,
    /// The resource does not exist.
    NotFound = 3,
    /// The current status does not allow the operation.
    Conflict = 4,
    /// The caller lacks permission.
    NotAllowed = 5,
    /// The server cannot be reached.
    Unreachable = 6,
    /// The operation timed out.
    Timeout = 7,
    /// A definition, a configuration or an input is invalid.
    Invalid = 8,
    /// A comparison found a difference.
    Difference = 9,
    /// The awaited workflow was rolled back.
    RolledBack = 10,
    /// The awaited workflow is in error.
    InError = 11,
}

/// The error of a command, as shown to the user.
#[derive(Debug)]
pub(crate) struct CliError(Box<Parts>);

#[derive(Debug, Default)]
struct Parts {
    exit: u8,
    message: String,
    code: Option<String>,
    location: Option<String>,
    hint: Option<String>,
    details: Vec<String>,
}

/// The result of a command, or of a part of it.
pub(crate) type Result<T = Exit, E = CliError> = std::result::Result<T, E>;

impl Exit {
    /// Returns the exit code as a number.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl CliError {
    /// Creates an error that ends the command with `exit`.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self(Box::new(Parts { exit: exit.code(), message: message.into(), ..Parts::default() }))
    }

    /// Adds the code of an error page.
    pub(crate) fn code(mut self, code: &str) -> Self {
        if !code.is_empty() {
            self.0.code = Some(code.to_owned());
        }
        self
    }

    /// Adds the location of the error.
    pub(crate) fn location(mut self, location: impl Into<String>) -> Self {
        self.0.location = Some(location.into());
        self
    }

    /// Adds advice for the user.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds details, each on its own line.
    pub(crate) fn details(mut self, details: Vec<String>) -> Self {
        self.0.details = details;
        self
    }

    /// Returns the exit code of the process.
    pub(crate) fn exit_code(&self) -> u8 {
        self.0.exit
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.0.message)?;
        for detail in &self.0.details {
            write!(f, "\n  {detail}")?;
        }
        if let Some(location) = &self.0.location {
            write!(f, "\nwhere: {location}")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, "\nhint: {hint}")?;
        }
        if let Some(code) = &self.0.code {
            write!(f, "\nsee: goconductor explain {code}")?;
        }
        Ok(())
    }
}

/// Creates the error for a file that cannot be read.
pub(crate) fn unreadable(path: &str, error: &std::io::Error) -> CliError {
    let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Other };
    CliError::new(exit, format!("failed to read {path}: {error}")).code("GC3004")
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Address { .. } => Self::new(Exit::Usage, message)
                .hint("set --server or GOCONDUCTOR_SERVER to a URL of the form http://HOST:PORT"),
            Error::Unreachable { .. } => Self::new(Exit::Unreachable, message)
                .hint("start a server with `goconductor dev`, or set --server or GOCONDUCTOR_SERVER to its address")
                .code("GC3001"),
            Error::Timeout { .. } => Self::new(Exit::Timeout, message).code("GC3002"),
            Error::Unreadable { url, .. } => Self::new(Exit::Other, message)
                .hint(format!("check that {url} is a GoConductor server of the same release"))
                .code("GC3003"),
            Error::NotFound(problem) => Self::new(Exit::NotFound, message).code(&problem.code),
            Error::Conflict(problem) => Self::new(Exit::Conflict, message).code(&problem.code),
            Error::NotAllowed(problem) => Self::new(Exit::NotAllowed, message).code(&problem.code),
            Error::Invalid(problem) => {
                let invalid = Self::new(Exit::Invalid, &message).code(&problem.code);
                match problem.errors.as_slice() {
                    // The message already states the only error.
                    [only] if message.contains(&only.detail) => match only.pointer.as_deref() {
                        Some(pointer) if only.line.is_none() && !pointer.is_empty() => invalid.location(pointer),
                        Some(_) | None => invalid.details(vec![detail(only)]),
                    },
                    several => invalid.details(several.iter().map(detail).collect()),
                }
            }
            Error::Other(problem) => {
                let mut converted = Self::new(Exit::Other, message).code(&problem.code);
                if let Some(trace) = &problem.trace_id {
                    converted = converted.location(format!("log of the server, trace {trace}"));
                }
                converted
            }
        }
    }
}

/// Formats one error of a problem: its location, code, text and hint.
fn detail(part: &ProblemDetail) -> String {
    let mut text = String::new();
    match (part.line, part.column, &part.pointer) {
        (Some(line), Some(column), _) => text.push_str(&format!("{line}:{column}: ")),
        (_, _, Some(pointer)) if !pointer.is_empty() => text.push_str(&format!("{pointer}: ")),
        (_, _, _) => {}
    }
    if !part.code.is_empty() {
        text.push_str(&format!("{}: ", part.code));
    }
    text.push_str(&part.detail);
    if let Some(hint) = &part.hint {
        text.push_str(&format!(" ({hint})"));
    }
    text
}

impl From<Invalid> for CliError {
    fn from(invalid: Invalid) -> Self {
        let details = invalid.problems.iter().map(ToString::to_string).collect();
        Self::new(Exit::Invalid, "the configuration is invalid").code(invalid.code()).details(details)
    }
}

impl From<goconductor_store::Error> for CliError {
    fn from(error: goconductor_store::Error) -> Self {
        let exit = match &error {
            goconductor_store::Error::Unavailable { .. } => Exit::Unreachable,
            goconductor_store::Error::Configuration { .. } => Exit::Invalid,
            goconductor_store::Error::OutcomeUnknown { .. }
            | goconductor_store::Error::Fenced { .. }
            | goconductor_store::Error::Schema { .. }
            | goconductor_store::Error::Corrupt { .. } => Exit::Other,
        };
        let code = match &error {
            goconductor_store::Error::Schema { .. } => "GC3020",
            goconductor_store::Error::Unavailable { .. }
            | goconductor_store::Error::Configuration { .. }
            | goconductor_store::Error::OutcomeUnknown { .. }
            | goconductor_store::Error::Fenced { .. }
            | goconductor_store::Error::Corrupt { .. } => "GC3010",
        };
        Self::new(exit, error.to_string()).code(code)
    }
}

/// Errors of a server in this process. The message holds the chain of sources in one line.
impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        let error = match error.downcast::<Invalid>() {
            Ok(invalid) => return invalid.into(),
            Err(error) => error,
        };
        let vault = error.chain().find_map(|cause| cause.downcast_ref::<VaultError>());
        let exit =
            if vault.is_some_and(VaultError::is_about_configuration) { Exit::Invalid } else { Exit::Other };
        let code = vault.and_then(VaultError::code).unwrap_or_default();
        Self::new(exit, goconductor_process::chain(&error)).code(code)
    }
}
