//! Times in the forms of the API.

use goconductor_saga::Timestamp;
use serde::{Serialize, Serializer};

/// A time of a view. It serializes as RFC 3339 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Time {
    /// Converts a time in milliseconds since the epoch.
    pub(crate) fn from_millis(millis: i64) -> Self {
        Self(Timestamp(millis.saturating_mul(1000)))
    }
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(time)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

/// Formats a time as RFC 3339 in UTC. It always has microseconds, so that the times of two events can be compared.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.0).map(|time| format!("{time:.6}")).unwrap_or_default()
}

/// Parses a time in RFC 3339.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|time| Timestamp(time.as_microsecond()))
}
