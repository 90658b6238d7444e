//! Errors of elections, classified by the possible reaction of the caller.

/// An error of an election.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The backend did not answer. The same call may succeed later.
    #[error("the election backend is unavailable: {reason}")]
    Unavailable {
        /// The report of the driver.
        reason: String,
    },
    /// The address or the settings of the backend are invalid.
    #[error("the election backend cannot be used: {reason}")]
    Configuration {
        /// The problem and its remedy.
        reason: String,
    },
    /// No token is left that is higher than the last one.
    #[error("election {name} has no fencing token left")]
    TokensExhausted {
        /// The name of the election.
        name: String,
    },
}

/// The kind of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The backend did not answer.
    Unavailable,
    /// The address or the settings are invalid.
    Configuration,
    /// No higher token exists.
    TokensExhausted,
}

impl Error {
    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Configuration { .. } => ErrorKind::Configuration,
            Self::TokensExhausted { .. } => ErrorKind::TokensExhausted,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            ErrorKind::Unavailable => true,
            ErrorKind::TokensExhausted | ErrorKind::Configuration => false,
        }
    }
}
