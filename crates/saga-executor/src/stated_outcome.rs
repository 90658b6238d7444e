//! The outcome of an attempt that a participant states in a response of HTTP or of gRPC. The values are part of the
//! contract with participants.

use goconductor_saga::Timestamp;
use http::HeaderMap;
use std::time::Duration;

/// The header, or the metadata, in which a participant states the outcome itself.
pub(crate) const OUTCOME: &str = "goconductor-outcome";
/// The delay that a participant asks for is limited to this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The outcome, as far as the head of a response states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatedOutcome {
    Done,
    Retry,
    Refused,
    Unknown {
        /// Whether the request is over.
        answered: bool,
    },
}

/// Returns the outcome that the participant stated. A value that is not known is ignored.
pub(crate) fn stated(headers: &HeaderMap) -> Option<StatedOutcome> {
    let value = headers.get(OUTCOME)?.to_str().ok()?.trim();
    let values = [
        ("done", StatedOutcome::Done),
        ("retry", StatedOutcome::Retry),
        ("refused", StatedOutcome::Refused),
        ("unknown", StatedOutcome::Unknown { answered: true }),
    ];
    values
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(value))
        .map(|(_, stated_outcome)| stated_outcome)
}

/// Returns the time before which an attempt is not retried, for the delay that the participant asks for.
pub(crate) fn retry_at(now: Timestamp, delay: Duration) -> Timestamp {
    now.after(delay.min(MAX_RETRY_AFTER))
}
