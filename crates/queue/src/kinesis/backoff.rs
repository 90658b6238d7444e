//! Exponential backoff with jitter.

use super::names::digest;
use crate::backoff::ReconnectBackoff;
use std::time::Duration;

/// Creates a backoff whose jitter depends on `name`, so that callers with different names do not retry in lockstep.
pub(super) fn jittered(name: &str, min: Duration, max: Duration) -> ReconnectBackoff {
    let seed = u64::try_from(digest(name.as_bytes()) >> 64).unwrap_or(0);
    ReconnectBackoff::new(min, max).with_jitter(seed)
}
