//! Times and durations as the API writes them.

use goconductor_saga::Timestamp;

/// RFC 3339, UTC, with microseconds: two events are told apart by it.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    jiff::Timestamp::from_microsecond(time.0).map(|time| format!("{time:.6}")).unwrap_or_default()
}

/// A time in RFC 3339.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|time| Timestamp(time.as_microsecond()))
}
