//! Admission control: limits on what the gateway accepts at once.
//!
//! Requests in flight, long polls and streams, starts in flight and the memory of bodies each have a limit. A start
//! is also refused if a service that it needs is overloaded, which [`BacklogLimits`] tracks. [`RateLimits`] limit the
//! requests per second.
//!
//! Invariants: a refused request had no effect, costs next to nothing and states when to retry. All limits are
//! shared fairly between namespaces: a busy namespace is refused before it affects others.

mod backlog;
mod backlog_monitor;
mod message_body;
mod rate;
mod responses;

use crate::error::{OVERLOADED, Problem, TOO_MANY_REQUESTS, TOO_MANY_STARTS, TOO_MANY_WAITING};
use crate::metrics::{
    BODY_BYTES, RATE_BUCKETS, REQUESTS_IN_FLIGHT, REQUESTS_REFUSED, RESPONSE_BYTES, STARTS_IN_FLIGHT,
    STARTS_REFUSED, WAITING_CALLERS,
};
use axum::http::Extensions;
use backlog::{BacklogLimits, Overloaded};
use goconductor_saga::Plan;
use goconductor_service_kit::config::RateConfig;
use goconductor_service_kit::fair::{FairSemaphore, Limits as FairLimits, Permit};
use goconductor_transition::clock;
use parking_lot::{Mutex, RwLock};
use rate::RateLimits;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(crate) use backlog_monitor::monitor;
pub(crate) use message_body::{MESSAGE_OVERHEAD, limit_message};
pub(crate) use rate::{RateCaller, RateFields};
pub(crate) use responses::ResponseHolds;

/// The retry delay where the backlog gives no better estimate: a permit is likely to be free by then.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The most namespaces with a metric of their own. Callers could otherwise create any number, and each takes memory
/// until the process ends.
const MAX_NAMED_NAMESPACES: usize = 256;

/// Limits on what the gateway accepts at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests in flight.
    pub requests: usize,
    /// Memory of the bodies of requests in flight, in bytes, and the same for responses that were not sent completely.
    pub bodies_bytes: usize,
    /// Open long polls and streams.
    pub waiting: usize,
    /// Starts in flight.
    pub starts: usize,
    /// Queued starts of one namespace.
    pub starts_waiting: usize,
    /// Time for which a start is queued at most.
    pub start_wait: Duration,
    /// Commands in the backlog of one service of one namespace, or of one action with a limit of its own.
    pub backlog: u64,
    /// Requests per second of each caller and of each namespace.
    pub rate: RateConfig,
}

/// The state of admission control.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: RwLock<Limits>,
    requests: FairSemaphore,
    waiting: FairSemaphore,
    starts: FairSemaphore,
    bodies: Arc<Semaphore>,
    responses: Arc<Semaphore>,
    backlog: BacklogLimits,
    rate: RateLimits,
    named: Mutex<BTreeSet<String>>,
}

/// The share of a body in the memory of all bodies.
pub(crate) type BodyPermit = OwnedSemaphorePermit;

/// The permit of a request in flight. A request that starts to wait releases it.
#[derive(Debug, Clone)]
pub(crate) struct RequestPermit(Arc<Mutex<Option<Permit>>>);

impl RequestPermit {
    /// Releases the permit. The request may have to wait for others.
    pub(crate) fn release(&self) {
        drop(self.0.lock().take());
    }

    /// Replaces the permit of a request that had released it.
    pub(crate) fn renew(&self, permit: &Self) {
        let renewed = permit.0.lock().take();
        *self.0.lock() = renewed;
    }
}

/// Returns the limits of requests in flight, of long polls and streams, and of starts.
fn fair_limits(limits: &Limits) -> [FairLimits; 3] {
    // A single namespace can use three quarters of the permits. The rest is always left to others.
    let share = |permits: usize| (permits - permits / 4).max(1);
    let fair = |permits: usize, permits_per_key: usize, waiting_per_key: usize| FairLimits {
        permits,
        permits_per_key,
        waiting_per_key,
    };
    [
        fair(limits.requests, share(limits.requests), 0),
        fair(limits.waiting, share(limits.waiting), 0),
        fair(limits.starts, limits.starts, limits.starts_waiting),
    ]
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        let [requests, waiting, starts] = fair_limits(&limits).map(FairSemaphore::new);
        Self {
            limits: RwLock::new(limits),
            requests,
            waiting,
            starts,
            bodies: Arc::new(Semaphore::new(limits.bodies_bytes.min(Semaphore::MAX_PERMITS))),
            responses: responses::memory(limits.bodies_bytes),
            backlog: BacklogLimits::new(limits.backlog),
            rate: RateLimits::new(limits.rate, clock::monotonic()),
            named: Mutex::default(),
        }
    }

    /// Replaces the limits, except for the memory of bodies. Requests that were admitted before count towards the new
    /// limits.
    pub(crate) fn set_limits(&self, new: Limits) {
        let limits = {
            let mut limits = self.limits.write();
            *limits = Limits { bodies_bytes: limits.bodies_bytes, ..new };
            *limits
        };
        let [requests, waiting, starts] = fair_limits(&limits);
        self.requests.set_limits(requests);
        self.waiting.set_limits(waiting);
        self.starts.set_limits(starts);
        self.backlog.set_limit(limits.backlog);
        self.rate.set(limits.rate);
    }

    fn limits(&self) -> Limits {
        *self.limits.read()
    }

    /// Counts a request for the limits of the rate. Returns the fields for its response, or `None` if there is no limit.
    pub(crate) fn check_rate(
        &self,
        extensions: &Extensions,
        namespace: &str,
    ) -> Result<Option<RateFields>, Problem> {
        self.rate.check(RateCaller::of(extensions), namespace, clock::monotonic())
    }

    /// Counts a request that is refused before it is admitted for the limit of its caller.
    pub(crate) fn count_refused(&self, caller: RateCaller<'_>) -> Result<(), Problem> {
        self.rate.count(caller, clock::monotonic())
    }

    /// Checks that a caller has not reached the limit of its rate. Counts nothing.
    pub(crate) fn peek_rate(&self, caller: RateCaller<'_>) -> Result<(), Problem> {
        self.rate.peek(caller, clock::monotonic())
    }

    /// Admits a request.
    pub(crate) fn admit_request(&self, namespace: &str) -> Result<RequestPermit, Problem> {
        let permit = self.requests.try_acquire(namespace).ok_or_else(|| {
            REQUESTS_REFUSED.increment(1);
            let detail = format!(
                "too many requests in flight: the limit is {}, and three quarters of it for one namespace; the \
                 request had no effect, retry later",
                self.limits().requests
            );
            Problem::new(TOO_MANY_REQUESTS, detail).retry_after(RETRY_AFTER)
        })?;
        Ok(RequestPermit(Arc::new(Mutex::new(Some(permit)))))
    }

    /// Reserves memory for `bytes` of a body.
    pub(crate) fn reserve_body(&self, bytes: usize) -> Result<BodyPermit, Problem> {
        let bytes = u32::try_from(bytes.min(self.limits().bodies_bytes)).unwrap_or(u32::MAX);
        Arc::clone(&self.bodies).try_acquire_many_owned(bytes).map_err(|_| {
            REQUESTS_REFUSED.increment(1);
            let detail = format!(
                "the bodies of the requests in flight use too much memory: the limit is {} bytes; the request had no \
                 effect, retry later",
                self.limits().bodies_bytes
            );
            Problem::new(TOO_MANY_REQUESTS, detail).retry_after(RETRY_AFTER)
        })
    }

    /// Admits a long poll or a stream, and releases the permit of its request.
    pub(crate) fn admit_waiting(
        &self,
        namespace: &str,
        request: Option<&RequestPermit>,
    ) -> Result<Permit, Problem> {
        let permit = self.waiting.try_acquire(namespace).ok_or_else(|| {
            let detail = format!(
                "too many open long polls and streams: the limit is {}, and three quarters of it for one namespace; \
                 send the request without a wait, or retry later",
                self.limits().waiting
            );
            Problem::new(TOO_MANY_WAITING, detail).retry_after(RETRY_AFTER)
        })?;
        if let Some(request) = request {
            request.release();
        }
        Ok(permit)
    }

    /// Refuses a start early if the services that its definition needs are already known to be overloaded.
    pub(crate) fn precheck(
        &self,
        namespace: &str,
        definition: &str,
        version: Option<u32>,
        now: Instant,
    ) -> Result<(), Problem> {
        let checked = self.backlog.precheck(namespace, definition, version, now);
        checked.map_err(|overloaded| self.overloaded(namespace, overloaded))
    }

    /// Waits for a slot among the starts in flight.
    pub(crate) async fn acquire_start_slot(&self, namespace: &str) -> Result<Permit, Problem> {
        self.starts.acquire(namespace, self.limits().start_wait).await.map_err(|error| {
            self.count_refused_start("starts", namespace);
            let detail = format!(
                "too many starts in flight in this namespace ({error}); nothing was started, retry later"
            );
            Problem::new(TOO_MANY_STARTS, detail).retry_after(RETRY_AFTER)
        })
    }

    /// Charges a start to the backlogs of the services that it needs. Refuses it if one of them is overloaded.
    pub(crate) fn charge_start(
        &self,
        namespace: &str,
        plan: &Plan,
        version: Option<u32>,
        now: Instant,
    ) -> Result<(), Problem> {
        let charged = self.backlog.charge(namespace, plan, version, now);
        charged.map_err(|overloaded| self.overloaded(namespace, overloaded))
    }

    fn overloaded(&self, namespace: &str, overloaded: Overloaded) -> Problem {
        let Overloaded { target, waiting, retry_after } = overloaded;
        self.count_refused_start("backlog", namespace);
        let limit = self.limits().backlog;
        let cause = if waiting < limit {
            format!(
                "{target} may be overloaded: the starts since the last sample of its backlog reach the limit"
            )
        } else {
            format!("{target} is overloaded: its backlog of {waiting} commands is over the limit of {limit}")
        };
        Problem::new(OVERLOADED, format!("{cause}; nothing was started, retry later"))
            .retry_after(retry_after)
    }

    fn count_refused_start(&self, reason: &'static str, namespace: &str) {
        let namespace = {
            let mut named = self.named.lock();
            if named.contains(namespace) {
                namespace.to_owned()
            } else if named.len() < MAX_NAMED_NAMESPACES {
                named.insert(namespace.to_owned());
                namespace.to_owned()
            } else {
                "other".to_owned()
            }
        };
        STARTS_REFUSED.with([reason.into(), namespace.into()]).increment(1);
    }

    #[allow(clippy::cast_precision_loss, reason = "a gauge has no need for exact values over 2^52")]
    fn record_gauges(&self) {
        REQUESTS_IN_FLIGHT.set(self.requests.in_use() as f64);
        WAITING_CALLERS.set(self.waiting.in_use() as f64);
        STARTS_IN_FLIGHT.set(self.starts.in_use() as f64);
        let reserved = self.limits().bodies_bytes.saturating_sub(self.bodies.available_permits());
        BODY_BYTES.set(reserved as f64);
        RESPONSE_BYTES.set(self.response_bytes() as f64);
        RATE_BUCKETS.set(self.rate.buckets() as f64);
    }
}
