//! The errors of a queue, by what the caller can do about them.

use crate::message::Topic;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The error of a queue. `Display` does not print the source: use [`Error::report`] to print all of it.
///
/// Two errors are equal if they are equal apart from their sources.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The topic has no capacity. No message was published; the dispatch ledger publishes them later.
    #[error("topic {topic} is full: the limit is {capacity}")]
    Full {
        /// The topic.
        topic: Topic,
        /// The limit that was reached.
        capacity: Capacity,
    },
    /// A message can never be published. No message was published.
    #[error("message of {bytes} bytes is too large for topic {topic}: the limit is {limit} bytes")]
    TooLarge {
        /// The topic.
        topic: Topic,
        /// The size of the message: key and payload.
        bytes: usize,
        /// The largest size that an empty topic accepts.
        limit: usize,
    },
    /// The queue was closed and stays closed.
    #[error("queue is closed")]
    Closed,
    /// The settings of the queue, or the objects at the broker, do not work. A person has to correct them.
    #[error("queue is misconfigured: {reason}")]
    Configuration {
        /// The setting, its problem and how to solve it.
        reason: String,
        /// The underlying error.
        #[source]
        source: Option<ErrorSource>,
    },
    /// The broker did not respond. The same call may succeed later.
    #[error("queue is unavailable: {reason}")]
    Unavailable {
        /// The operation that failed.
        reason: String,
        /// The underlying error.
        #[source]
        source: Option<ErrorSource>,
    },
}

/// The limit of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// A number of messages.
    Messages(usize),
    /// A number of bytes of keys and payloads.
    Bytes(usize),
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Messages(limit) => write!(f, "{limit} messages"),
            Self::Bytes(limit) => write!(f, "{limit} bytes"),
        }
    }
}

/// The error of a driver, shared so that [`Error`] can be cloned.
#[derive(Clone)]
pub struct ErrorSource(Arc<dyn StdError + Send + Sync>);

impl ErrorSource {
    /// Wraps the error of a driver.
    pub fn new(error: impl StdError + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }

    /// Returns the error of the driver, for example to downcast it.
    #[must_use]
    pub fn get(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Debug for ErrorSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ErrorSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for ErrorSource {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Full { topic, capacity }, Self::Full { topic: other_topic, capacity: other_capacity }) => {
                (topic, capacity) == (other_topic, other_capacity)
            }
            (
                Self::TooLarge { topic, bytes, limit },
                Self::TooLarge { topic: other_topic, bytes: other_bytes, limit: other_limit },
            ) => (topic, bytes, limit) == (other_topic, other_bytes, other_limit),
            (Self::Closed, Self::Closed) => true,
            (Self::Configuration { reason, .. }, Self::Configuration { reason: other, .. })
            | (Self::Unavailable { reason, .. }, Self::Unavailable { reason: other, .. }) => reason == other,
            (
                Self::Full { .. }
                | Self::TooLarge { .. }
                | Self::Closed
                | Self::Configuration { .. }
                | Self::Unavailable { .. },
                _,
            ) => false,
        }
    }
}

impl Eq for Error {}

/// The kind of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The topic has no capacity at present.
    Full,
    /// The message exceeds the limit.
    TooLarge,
    /// The queue was closed.
    Closed,
    /// The settings do not work.
    Configuration,
    /// The broker did not respond.
    Unavailable,
}

impl Error {
    /// Creates an [`Error::Unavailable`] without a source.
    #[must_use]
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }

    /// Creates an [`Error::Configuration`] without a source.
    #[must_use]
    pub fn configuration(reason: impl Into<String>) -> Self {
        Self::Configuration { reason: reason.into(), source: None }
    }

    /// Sets the underlying error, if the variant has one.
    #[must_use]
    pub fn with_source(mut self, error: impl StdError + Send + Sync + 'static) -> Self {
        match &mut self {
            Self::Configuration { source, .. } | Self::Unavailable { source, .. } => {
                *source = Some(ErrorSource::new(error));
            }
            Self::Full { .. } | Self::TooLarge { .. } | Self::Closed => {}
        }
        self
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Full { .. } => ErrorKind::Full,
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::Closed => ErrorKind::Closed,
            Self::Configuration { .. } => ErrorKind::Configuration,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
        }
    }

    /// Returns whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            ErrorKind::Full | ErrorKind::Unavailable => true,
            ErrorKind::TooLarge | ErrorKind::Closed | ErrorKind::Configuration => false,
        }
    }

    /// Returns the error with all its sources as one line, for logs and API responses. Some drivers print the source
    /// of an error as a part of it; such a source is not printed twice.
    #[must_use]
    pub fn report(&self) -> String {
        let mut line = self.to_string();
        let mut source = self.source();
        while let Some(error) = source {
            let text = error.to_string();
            if !line.ends_with(&text) {
                line.push_str(": ");
                line.push_str(&text);
            }
            source = error.source();
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error that prints its source, as those of some drivers do.
    #[derive(Debug, thiserror::Error)]
    #[error("publish failed: {0}")]
    struct Driver(#[source] std::io::Error);

    #[test]
    fn report_prints_each_source_once() {
        let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = Error::unavailable("no response").with_source(Driver(refused()));
        assert_eq!(error.report(), "queue is unavailable: no response: publish failed: connection refused");
    }

    #[test]
    fn display_does_not_print_the_source() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = Error::unavailable("failed to publish").with_source(refused);
        assert_eq!(error.to_string(), "queue is unavailable: failed to publish");
        assert_eq!(error.report(), "queue is unavailable: failed to publish: connection refused");
        assert_eq!(error, Error::unavailable("failed to publish"));
        assert_eq!(Error::Closed.with_source(std::fmt::Error).report(), "queue is closed");
    }
}
