//! The response fields `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10).

use super::buckets::{Balance, Policy};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The limits of a request and what is left of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RateFields {
    /// Each limit: its name, its requests `q` at once, and the seconds `w` in which they arrive.
    policy: String,
    /// The requests `r` that are left, and the seconds `t` until all of them are available again.
    limit: String,
}

impl RateFields {
    pub(super) fn new<'p>(limits: impl Iterator<Item = (&'static str, &'p Policy, &'p Balance)>) -> Self {
        let (policies, balances): (Vec<_>, Vec<_>) = limits
            .map(|(name, policy, balance)| {
                let (quota, window) = (policy.burst, seconds(policy.window()));
                let (remaining, reset) = (balance.remaining, seconds(balance.full_in));
                (format!("\"{name}\";q={quota};w={window}"), format!("\"{name}\";r={remaining};t={reset}"))
            })
            .unzip();
        Self { policy: policies.join(", "), limit: balances.join(", ") }
    }

    /// Adds the fields to a response.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in [(RATE_LIMIT_POLICY, &self.policy), (RATE_LIMIT, &self.limit)] {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        }
    }
}

/// Returns whole seconds, rounded up.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_name_each_limit() {
        let (caller, namespace) = (Policy::new(10, 25), Policy::new(100, 100));
        let balance =
            |remaining, millis| Balance { remaining, full_in: Duration::from_millis(millis), wait: None };
        let (of_caller, of_namespace) = (balance(24, 100), balance(0, 1001));
        let limits = [("caller", &caller, &of_caller), ("namespace", &namespace, &of_namespace)];
        let mut headers = HeaderMap::new();
        RateFields::new(limits.into_iter()).write(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"caller\";q=25;w=3, \"namespace\";q=100;w=1");
        assert_eq!(headers["ratelimit"], "\"caller\";r=24;t=1, \"namespace\";r=0;t=2");
    }
}
