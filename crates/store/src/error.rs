//! What can go wrong with durable state, by what the caller can do about it.

/// Why the store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It certainly was not done; the same call may succeed later.
    #[error("the database can't be reached: {reason}")]
    Unavailable {
        /// What the driver said.
        reason: String,
    },
    /// The answer was lost: read, don't write again as new.
    #[error("nobody can say whether the write was done: {reason}")]
    OutcomeUnknown {
        /// What the driver said.
        reason: String,
    },
    /// The writer has been replaced.
    #[error("fencing token {token} of {name} was replaced by {newest}")]
    Fenced {
        /// What is led.
        name: String,
        /// The writer's token.
        token: u64,
        /// The newest token seen.
        newest: u64,
    },
    /// The tables are not those of this release.
    #[error("the database's tables are of another release: {reason}")]
    Schema {
        /// What was found and what to do.
        reason: String,
    },
    /// What is stored can't be read.
    #[error("{what} is stored in a form that this release can't read: {reason}")]
    Corrupt {
        /// What.
        what: String,
        /// Why.
        reason: String,
    },
    /// The database's location or settings can't work.
    #[error("the database can't be used: {reason}")]
    Configuration {
        /// What is wrong and what to do.
        reason: String,
    },
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::OutcomeUnknown { .. } => true,
            Self::Fenced { .. } | Self::Schema { .. } | Self::Corrupt { .. } | Self::Configuration { .. } => {
                false
            }
        }
    }
}
