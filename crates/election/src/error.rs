//! What can go wrong with an election, by what the caller can do about it.

/// Why an election did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The backend did not answer; the same call may succeed later.
    #[error("the election can't be reached: {reason}")]
    Unavailable {
        /// What the driver said.
        reason: String,
    },
    /// The backend's address or settings can't work.
    #[error("the election can't be held: {reason}")]
    Configuration {
        /// What is wrong and what to do.
        reason: String,
    },
    /// No token is left that is higher than the last one.
    #[error("election {name} has no fencing token left")]
    TokensExhausted {
        /// What was to be led.
        name: String,
    },
}

/// An error without its particulars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No answer.
    Unavailable,
    /// It can't work.
    Configuration,
    /// No further term is possible.
    TokensExhausted,
}

impl Error {
    /// Which kind of error it is.
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
    pub fn retryable(&self) -> bool {
        match self.kind() {
            ErrorKind::Unavailable => true,
            ErrorKind::TokensExhausted | ErrorKind::Configuration => false,
        }
    }
}
