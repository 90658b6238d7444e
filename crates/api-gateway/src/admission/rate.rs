//! Limits of the rate of requests: a token bucket for each caller, and one for each namespace.
//!
//! The limit of a caller counts all its requests, in all namespaces. The limit of a namespace counts the requests of
//! all callers that may use it. With access control, a caller is a credential, and requests without a valid credential count
//! for their network. Without a limit, a request costs nothing here; with one, it costs a lookup in a table.

mod buckets;
mod fields;

use crate::access::Authorised;
use crate::error::{Problem, RATE_LIMITED};
use crate::metrics::RATE_LIMITED_REQUESTS;
use axum::http::Extensions;
use buckets::{Balance, Buckets, Policy};
use goconductor_access::CredentialId;
use goconductor_process::PeerAddress;
use goconductor_service_kit::config::{RateConfig, RatePolicy};
use parking_lot::RwLock;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) use fields::RateFields;

/// The caller of a request, as far as its rate is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RateCaller<'r> {
    /// An authenticated caller.
    Credential(&'r CredentialId),
    /// A caller that is known by its network only.
    Network(IpAddr),
    /// A caller without an address. All of them share a bucket.
    Unknown,
}

impl<'r> RateCaller<'r> {
    /// Returns the caller of a request. Nothing else decides what identifies a caller here.
    pub(crate) fn of(extensions: &'r Extensions) -> Self {
        match extensions.get::<Authorised>() {
            Some(authorised) => Self::Credential(&authorised.principal.credential),
            None => Self::network(extensions),
        }
    }

    /// Returns the network of a request, whose caller is not known.
    pub(crate) fn network(extensions: &Extensions) -> Self {
        extensions.get::<PeerAddress>().map_or(Self::Unknown, |peer| Self::Network(peer.network()))
    }
}

/// The limits of the rate of requests, and their buckets.
#[derive(Debug)]
pub(crate) struct RateLimits {
    /// Whether there is a limit.
    is_on: AtomicBool,
    limits: RwLock<CurrentLimits>,
    started: Instant,
}

/// The limits of now. They can change while the gateway runs.
#[derive(Debug, Default)]
struct CurrentLimits {
    caller: Option<RateBucketLimit>,
    namespace: Option<RateBucketLimit>,
}

/// A limit and its buckets.
#[derive(Debug)]
struct RateBucketLimit {
    name: &'static str,
    config: RatePolicy,
    policy: Policy,
    buckets: Buckets,
}

impl RateLimits {
    /// Creates the limits. `now` is the time of the start.
    pub(crate) fn new(config: RateConfig, now: Instant) -> Self {
        let limits = Self { is_on: AtomicBool::new(false), limits: RwLock::default(), started: now };
        limits.set(config);
        limits
    }

    /// Replaces the limits. Requests that were counted before count towards the new limits.
    pub(crate) fn set(&self, config: RateConfig) {
        let mut limits = self.limits.write();
        RateBucketLimit::replace(&mut limits.caller, "caller", config.caller);
        RateBucketLimit::replace(&mut limits.namespace, "namespace", config.namespace);
        let is_on = limits.caller.is_some() || limits.namespace.is_some();
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Takes a token of the caller and one of the namespace. Returns the fields for the response, or `None` if there is no
    /// limit.
    ///
    /// # Errors
    /// Returns a problem with the fields if a bucket has no token.
    pub(crate) fn check(
        &self,
        caller: RateCaller<'_>,
        namespace: &str,
        now: Instant,
    ) -> Result<Option<RateFields>, Problem> {
        if !self.is_on.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let now = now.saturating_duration_since(self.started);
        self.limits.read().check(caller, namespace, now).map(Some)
    }

    /// Takes a token of the caller for a request that is refused.
    ///
    /// # Errors
    /// Returns a problem with the fields if the bucket has no token.
    pub(crate) fn count(&self, caller: RateCaller<'_>, now: Instant) -> Result<(), Problem> {
        self.check_caller(now, |limit, now| limit.buckets.take(&limit.policy, &caller, now))
    }

    /// Checks that the bucket of the caller has a token, and takes none.
    ///
    /// # Errors
    /// Returns a problem with the fields if it has none.
    pub(crate) fn peek(&self, caller: RateCaller<'_>, now: Instant) -> Result<(), Problem> {
        self.check_caller(now, |limit, now| limit.buckets.peek(&limit.policy, &caller, now))
    }

    fn check_caller(
        &self,
        now: Instant,
        balance: impl FnOnce(&RateBucketLimit, Duration) -> Balance,
    ) -> Result<(), Problem> {
        if !self.is_on.load(Ordering::Relaxed) {
            return Ok(());
        }
        let limits = self.limits.read();
        let Some(limit) = &limits.caller else { return Ok(()) };
        let balance = balance(limit, now.saturating_duration_since(self.started));
        match balance.wait {
            None => Ok(()),
            Some(wait) => {
                let fields = RateFields::new(std::iter::once((limit.name, &limit.policy, &balance)));
                Err(limit.refuse("this caller", wait, fields))
            }
        }
    }

    /// Returns the number of buckets that are kept.
    pub(super) fn buckets(&self) -> usize {
        let limits = self.limits.read();
        [&limits.caller, &limits.namespace].into_iter().flatten().map(|limit| limit.buckets.len()).sum()
    }
}

impl CurrentLimits {
    fn check(&self, caller: RateCaller<'_>, namespace: &str, now: Duration) -> Result<RateFields, Problem> {
        let mut balances = [None::<(&RateBucketLimit, Balance)>; 2];
        let mut refused = None;
        let [of_caller, of_namespace] = &mut balances;
        if let Some(limit) = &self.caller {
            let balance = limit.buckets.take(&limit.policy, &caller, now);
            refused = balance.wait.map(|wait| (limit, "this caller", wait));
            *of_caller = Some((limit, balance));
        }
        // A refused request does not count for the namespace: a caller over its limit could otherwise use it up.
        if let Some(limit) = self.namespace.as_ref().filter(|_| refused.is_none()) {
            let balance = limit.buckets.take(&limit.policy, namespace, now);
            refused = balance.wait.map(|wait| (limit, "this namespace", wait));
            *of_namespace = Some((limit, balance));
        }
        let fields = RateFields::new(balances.iter().flatten().map(|(limit, balance)| {
            let RateBucketLimit { name, policy, .. } = limit;
            (*name, policy, balance)
        }));
        match refused {
            None => Ok(fields),
            Some((limit, whose, wait)) => Err(limit.refuse(whose, wait, fields)),
        }
    }
}

impl RateBucketLimit {
    /// Changes a limit, and keeps its buckets.
    fn replace(limit: &mut Option<Self>, name: &'static str, config: Option<RatePolicy>) {
        let Some(config) = config else {
            *limit = None;
            return;
        };
        let policy = Policy::new(config.per_second, config.burst);
        match limit {
            Some(limit) => (limit.config, limit.policy) = (config, policy),
            None => *limit = Some(Self { name, config, policy, buckets: Buckets::default() }),
        }
    }

    fn refuse(&self, whose: &str, wait: Duration, fields: RateFields) -> Problem {
        RATE_LIMITED_REQUESTS.with([self.name.into()]).increment(1);
        let RatePolicy { per_second, burst } = self.config;
        let detail = format!(
            "too many requests: the limit of {whose} is {per_second} per second, and {burst} at once; the request had no \
             effect, retry later"
        );
        Problem::new(RATE_LIMITED, detail).retry_after(wait).with_rate(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(caller: Option<(u32, u32)>, namespace: Option<(u32, u32)>) -> (RateLimits, Instant) {
        let policy =
            |limit: Option<(u32, u32)>| limit.map(|(per_second, burst)| RatePolicy { per_second, burst });
        let now = goconductor_transition::clock::monotonic();
        (RateLimits::new(RateConfig { caller: policy(caller), namespace: policy(namespace) }, now), now)
    }

    fn caller(last: u8) -> RateCaller<'static> {
        RateCaller::Network(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn without_limits_nothing_is_counted() {
        let (limits, now) = limits(None, None);
        assert!(limits.check(caller(1), "default", now).unwrap().is_none());
        assert_eq!(limits.buckets(), 0);
    }

    #[test]
    fn caller_over_its_limit_is_refused_until_it_has_a_token() {
        let (limits, now) = limits(Some((10, 2)), None);
        for _ in 0..2 {
            assert!(limits.check(caller(1), "a", now).unwrap().is_some());
        }
        let problem = limits.check(caller(1), "b", now).unwrap_err();
        assert!(problem.is(RATE_LIMITED));
        assert_eq!(problem.retry_after_seconds(), Some(1));
        assert!(problem.to_string().contains("limit of this caller is 10 per second, and 2 at once"));
        assert!(limits.check(caller(2), "a", now).is_ok(), "another caller has a bucket of its own");
        let later = now + Duration::from_millis(100);
        assert!(limits.check(caller(1), "a", later).is_ok());
        assert!(limits.check(caller(1), "a", later).is_err());
    }

    #[test]
    fn credentials_and_networks_have_buckets_of_their_own() {
        let (limits, now) = limits(Some((1, 1)), None);
        let keys = ["a", "b"].map(|id| CredentialId::Key(id.to_owned()));
        let [first, second] = keys.each_ref().map(RateCaller::Credential);
        for caller in [first, second, caller(1), RateCaller::Unknown] {
            assert!(limits.check(caller, "shop", now).is_ok(), "{caller:?}");
            assert!(limits.check(caller, "shop", now).is_err(), "{caller:?}");
        }
    }

    #[test]
    fn network_that_sends_invalid_credentials_is_refused_without_losing_tokens() {
        let (limits, now) = limits(Some((1, 2)), Some((100, 100)));
        for _ in 0..2 {
            assert!(limits.peek(caller(1), now).is_ok());
            assert!(limits.count(caller(1), now).is_ok());
        }
        let problem = limits.peek(caller(1), now).unwrap_err();
        assert!(problem.is(RATE_LIMITED));
        assert!(limits.peek(caller(2), now).is_ok());
        let later = now + Duration::from_secs(1);
        for _ in 0..3 {
            assert!(limits.peek(caller(1), later).is_ok(), "peek takes no token");
        }
        assert!(limits.count(caller(1), later).is_ok());
        assert!(limits.count(caller(1), later).is_err());
    }

    #[test]
    fn namespace_is_limited_over_all_callers_and_not_by_refused_ones() {
        let (limits, now) = limits(Some((1, 1)), Some((4, 4)));
        assert!(limits.check(caller(1), "shop", now).is_ok());
        for _ in 0..100 {
            assert!(limits.check(caller(1), "shop", now).is_err());
        }
        for last in 2..5 {
            assert!(limits.check(caller(last), "shop", now).is_ok());
        }
        let problem = limits.check(caller(9), "shop", now).unwrap_err();
        assert!(problem.to_string().contains("limit of this namespace is 4 per second"), "{problem}");
        assert!(limits.check(caller(10), "other", now).is_ok(), "another namespace is not affected");
    }

    #[test]
    fn changed_limit_applies_to_callers_that_are_known() {
        let (limits, now) = limits(None, None);
        let config = |per_second| RateConfig {
            caller: Some(RatePolicy { per_second, burst: per_second }),
            namespace: None,
        };
        limits.set(config(2));
        for _ in 0..2 {
            assert!(limits.check(caller(1), "default", now).is_ok());
        }
        assert!(limits.check(caller(1), "default", now).is_err());
        limits.set(config(1000));
        let later = now + Duration::from_millis(100);
        assert!(limits.check(caller(1), "default", later).is_ok());
        limits.set(RateConfig::default());
        assert!(limits.check(caller(1), "default", later).unwrap().is_none());
    }
}
