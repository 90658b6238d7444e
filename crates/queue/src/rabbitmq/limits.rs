//! Timeouts that several files of the adapter share.

use std::time::Duration;

/// Timeout of a request to a broker.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
