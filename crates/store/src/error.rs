//! Errors of durable state, by what the caller can do about them.

use std::sync::Arc;

/// The error of a driver or of the operating system that caused an [`Error`].
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// An error of the store.
///
/// The text of `reason` includes the message of `source`, because the text alone crosses the network.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The operation was certainly not carried out. The same call may succeed later.
    #[error("the database is unavailable: {reason}")]
    Unavailable {
        /// The reason, including the driver's message.
        reason: String,
        /// The driver's error. `None` if the error comes from another process or has no cause.
        #[source]
        source: Option<Cause>,
    },
    /// The response was lost. The caller must read the state before it writes again.
    #[error("the outcome of the write is unknown: {reason}")]
    OutcomeUnknown {
        /// The reason, including the driver's message.
        reason: String,
        /// The driver's error. `None` if the error comes from another process or has no cause.
        #[source]
        source: Option<Cause>,
    },
    /// A newer holder has replaced the caller.
    #[error("fencing token {token} of {name} was replaced by {newest}")]
    Fenced {
        /// The name of the election or lock.
        name: String,
        /// The caller's token.
        token: u64,
        /// The newest token seen.
        newest: u64,
    },
    /// The database's schema is of another release.
    #[error("the database schema is of another release: {reason}")]
    Schema {
        /// The version that was found and what to do.
        reason: String,
    },
    /// A stored value cannot be decoded.
    #[error("failed to decode {what}: {reason}")]
    Corrupt {
        /// The value.
        what: String,
        /// The reason, including the decoder's message.
        reason: String,
        /// The decoder's error. `None` if the error comes from another process or has no cause.
        #[source]
        source: Option<Cause>,
    },
    /// The database's location or settings are unusable.
    #[error("the database cannot be used: {reason}")]
    Configuration {
        /// The setting at fault and what to do.
        reason: String,
        /// The error of the driver or of the operating system. `None` if the error comes from another process or has no
        /// cause.
        #[source]
        source: Option<Cause>,
    },
}

impl Error {
    /// Creates [`Error::Unavailable`] without a cause.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }

    /// Creates [`Error::OutcomeUnknown`] without a cause.
    pub fn outcome_unknown(reason: impl Into<String>) -> Self {
        Self::OutcomeUnknown { reason: reason.into(), source: None }
    }

    /// Creates [`Error::Corrupt`] without a cause.
    pub fn corrupt(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), reason: reason.into(), source: None }
    }

    /// Creates [`Error::Configuration`] without a cause.
    pub fn configuration(reason: impl Into<String>) -> Self {
        Self::Configuration { reason: reason.into(), source: None }
    }

    /// Sets the cause. An error of a kind that has none is returned unchanged.
    #[must_use]
    pub fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        match &mut self {
            Self::Unavailable { source, .. }
            | Self::OutcomeUnknown { source, .. }
            | Self::Corrupt { source, .. }
            | Self::Configuration { source, .. } => *source = Some(Arc::new(cause)),
            Self::Fenced { .. } | Self::Schema { .. } => {}
        }
        self
    }

    /// Returns the cause.
    #[must_use]
    pub fn cause(&self) -> Option<&Cause> {
        match self {
            Self::Unavailable { source, .. }
            | Self::OutcomeUnknown { source, .. }
            | Self::Corrupt { source, .. }
            | Self::Configuration { source, .. } => source.as_ref(),
            Self::Fenced { .. } | Self::Schema { .. } => None,
        }
    }

    /// Returns whether the same call may succeed later.
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

#[cfg(test)]
mod tests {
    use super::Error;
    use std::error::Error as _;

    #[test]
    fn clone_keeps_the_cause() {
        let error = Error::unavailable("timed out").caused_by(std::io::Error::other("timed out"));
        let clone = error.clone();
        assert_eq!(clone.to_string(), "the database is unavailable: timed out");
        assert_eq!(clone.source().map(ToString::to_string).as_deref(), Some("timed out"));
        assert!(clone.cause().is_some_and(|cause| cause.downcast_ref::<std::io::Error>().is_some()));
    }
}
