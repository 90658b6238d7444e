//! How a command ends: exit codes, and errors in one form.

use goconductor_client::{Error, ProblemDetail};
use goconductor_service_kit::config::Invalid;
use std::fmt;

/// Exit codes. Scripts hold on to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Anything that has no code of its own.
    Other = 1,
    /// The command line is wrong.
    Usage = 2,
    /// No such thing.
    NotFound = 3,
    /// The present status does not allow it.
    Conflict = 4,
    /// The caller may not do it.
    NotAllowed = 5,
    /// No answer from the server.
    Unreachable = 6,
    /// It took too long.
    Timeout = 7,
    /// A definition, a configuration or an input is wrong.
    Invalid = 8,
    /// A comparison found a difference.
    Difference = 9,
    /// The awaited workflow was rolled back.
    RolledBack = 10,
    /// The awaited workflow is in error.
    InError = 11,
}

/// Why a command did not do what it was asked to, for people.
#[derive(Debug)]
pub(crate) struct CliError(Box<Parts>);

#[derive(Debug, Default)]
struct Parts {
    exit: u8,
    message: String,
    code: Option<String>,
    place: Option<String>,
    hint: Option<String>,
    details: Vec<String>,
}

/// What a command comes to.
pub(crate) type Result<T = Exit, E = CliError> = std::result::Result<T, E>;

impl Exit {
    /// As a process has it.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

impl CliError {
    /// An error that ends the command with `exit`.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self(Box::new(Parts { exit: exit.code(), message: message.into(), ..Parts::default() }))
    }

    /// With a code that has a page.
    pub(crate) fn code(mut self, code: &str) -> Self {
        if !code.is_empty() {
            self.0.code = Some(code.to_owned());
        }
        self
    }

    /// With the place that it is about.
    pub(crate) fn place(mut self, place: impl Into<String>) -> Self {
        self.0.place = Some(place.into());
        self
    }

    /// With what to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// With its parts, one a line.
    pub(crate) fn details(mut self, details: Vec<String>) -> Self {
        self.0.details = details;
        self
    }

    /// What the process ends with.
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
        if let Some(place) = &self.0.place {
            write!(f, "\nwhere: {place}")?;
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

/// A file that can't be read.
pub(crate) fn unreadable(path: &str, error: &std::io::Error) -> CliError {
    let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Other };
    CliError::new(exit, format!("{path} can't be read: {error}")).code("GC3004")
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Address { .. } => Self::new(Exit::Usage, message)
                .hint("an address is written http://HOST:PORT; it comes from --server or GOCONDUCTOR_SERVER"),
            Error::Unreachable { .. } => Self::new(Exit::Unreachable, message)
                .hint("start a server by `goconductor dev`, or say where it is by --server or GOCONDUCTOR_SERVER")
                .code("GC3001"),
            Error::Timeout { .. } => Self::new(Exit::Timeout, message).code("GC3002"),
            Error::Unreadable { url, .. } => Self::new(Exit::Other, message)
                .hint(format!("is it GoConductor that answers at {url}, and of this release?"))
                .code("GC3003"),
            Error::NotFound(problem) => Self::new(Exit::NotFound, message).code(&problem.code),
            Error::Conflict(problem) => Self::new(Exit::Conflict, message).code(&problem.code),
            Error::NotAllowed(problem) => Self::new(Exit::NotAllowed, message).code(&problem.code),
            Error::Invalid(problem) => {
                let details = problem.errors.iter().map(detail).collect();
                Self::new(Exit::Invalid, message).code(&problem.code).details(details)
            }
            Error::Other(problem) => {
                let mut converted = Self::new(Exit::Other, message).code(&problem.code);
                if let Some(trace) = &problem.trace_id {
                    converted = converted.place(format!("the server's log, trace {trace}"));
                }
                converted
            }
        }
    }
}

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
        Self::new(exit, error.to_string()).code("GC3010")
    }
}

/// An error of a server in this process: its chain in one line.
impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        let error = match error.downcast::<Invalid>() {
            Ok(invalid) => return invalid.into(),
            Err(error) => error,
        };
        Self::new(Exit::Other, format!("{error:#}"))
    }
}
