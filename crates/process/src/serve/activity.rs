//! The activity of one connection: its requests in flight, the responses that its peer has not read, and what its peer
//! sends besides requests.

use crate::count_limit::CountPermit;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Time in which a new connection must send its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Time after which a connection without requests is closed. It is longer than clients usually keep idle connections.
const IDLE: Duration = Duration::from_secs(120);
/// Time in which a peer must read the next part of a response.
const READ: Duration = Duration::from_secs(30);

/// Requests that a peer may abandon between two checks of its connection. A client that stops cancels all that it has in
/// flight.
const MAX_ABANDONED: usize = 2048;
/// Bytes that may belong to no request before other connections take turns with each read.
const YIELDS_AT: u64 = 64 << 10;
/// Bytes that may belong to no request before the connection is read slowly. A client can send the windows of HTTP/2,
/// 1 MiB, before a handler reads any of it.
const SLOWED_AT: u64 = 1536 << 10;
/// Bytes that may belong to no request between two checks of a connection. Frames such as PING, SETTINGS and
/// WINDOW_UPDATE have 13 to 30 bytes, so this many bytes are a flood.
const FLOOD_AT: u64 = 2 << 20;
/// Bytes that the headers of a request may have, on the wire.
const HEADERS: u64 = 32 << 10;
/// Bytes on the wire for each byte of a body. A chunk or a frame with a single byte has at most ten.
const PER_BODY_BYTE: u64 = 16;
/// Bytes of a response for each byte that its reader may send to acknowledge them.
const PER_SENT_BYTE: u64 = 64;

/// The activity of a connection.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    /// Whether the connection closes after its next response, which says so to the client.
    closes_after_response: AtomicBool,
    /// The bytes since the last check that belong to no request so far.
    unexplained: AtomicU64,
    /// Whether the bytes that belong to no request were a flood.
    is_flooded: AtomicBool,
    flood: Notify,
    /// Whether a request of the connection contains a secret.
    has_secret: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// The requests whose responses are not yet complete.
    requests: usize,
    /// The requests since the last check that the peer cancelled before their responses.
    abandoned: usize,
    /// The end of the last request, or the start of the connection.
    idle_since: Instant,
    idle_limit: Duration,
    next_response: u64,
    /// The responses with unsent data, and the time at which each made progress last.
    unsent: BTreeMap<u64, Instant>,
}

/// The result of a check of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ActivityStatus {
    /// The connection is in use, or was in use recently.
    Active,
    /// The connection has no request in flight, and has had none for too long.
    Idle,
    /// The peer does not read a response.
    Stalled,
}

/// The bytes that the peer of a connection sends besides requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Traffic {
    Normal,
    /// Other connections take their turns before the next read.
    Unclear,
    /// The connection is read slowly, until it is known what the bytes are.
    Suspicious,
    /// The connection must be closed.
    Flood,
}

impl Activity {
    /// Overwrites the free part of the read buffer at each read from now on: a request contains a secret.
    pub(super) fn overwrite_buffers(&self) {
        self.has_secret.store(true, Ordering::Relaxed);
    }

    /// Returns whether the free part of the read buffer must be overwritten.
    pub(super) fn overwrites_buffers(&self) -> bool {
        self.has_secret.load(Ordering::Relaxed)
    }

    pub(super) fn new(now: Instant) -> Self {
        let state = State {
            requests: 0,
            abandoned: 0,
            idle_since: now,
            idle_limit: FIRST_REQUEST,
            next_response: 0,
            unsent: BTreeMap::new(),
        };
        Self {
            state: Mutex::new(state),
            closes_after_response: AtomicBool::new(false),
            unexplained: AtomicU64::new(0),
            is_flooded: AtomicBool::new(false),
            flood: Notify::new(),
            has_secret: AtomicBool::new(false),
        }
    }

    /// Closes the connection after its next response. Closing an idle connection of HTTP/1.1 at once could lose a request
    /// that is on its way.
    pub(super) fn close_after_response(&self) {
        self.closes_after_response.store(true, Ordering::Relaxed);
    }

    /// Returns whether the connection closes after its next response.
    pub(super) fn closes_after_response(&self) -> bool {
        self.closes_after_response.load(Ordering::Relaxed)
    }

    /// Counts a request as in flight until the result is dropped.
    pub(super) fn request(self: &Arc<Self>, permit: Option<CountPermit>) -> ActiveRequest {
        self.explain(HEADERS);
        let mut state = self.state.lock();
        state.requests += 1;
        state.idle_limit = IDLE;
        ActiveRequest { activity: Arc::clone(self), has_response: false, _permit: permit }
    }

    /// Counts bytes that were received.
    pub(super) fn received(&self, bytes: usize) -> Traffic {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let before = self.unexplained.fetch_add(bytes, Ordering::Relaxed);
        match before.saturating_add(bytes) {
            FLOOD_AT.. => {
                self.is_flooded.store(true, Ordering::Relaxed);
                Traffic::Flood
            }
            SLOWED_AT.. => Traffic::Suspicious,
            YIELDS_AT.. => Traffic::Unclear,
            _ => Traffic::Normal,
        }
    }

    /// Returns whether [`received`](Self::received) found a flood.
    pub(super) fn is_flooded(&self) -> bool {
        self.is_flooded.load(Ordering::Relaxed)
    }

    /// Counts bytes that were sent. The peer acknowledges them.
    pub(super) fn sent_bytes(&self, bytes: usize) {
        self.explain(u64::try_from(bytes).unwrap_or(u64::MAX) / PER_SENT_BYTE);
    }

    /// Counts bytes of the body of a request.
    pub(super) fn body_bytes(&self, bytes: usize) {
        self.explain(u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(PER_BODY_BYTE));
    }

    fn explain(&self, bytes: u64) {
        let subtract = |unexplained: u64| Some(unexplained.saturating_sub(bytes)).filter(|_| unexplained > 0);
        // Unchanged if there is nothing to explain.
        let _unchanged = self.unexplained.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
    }

    /// Waits until the peer has abandoned too many requests. Cancel-safe.
    pub(super) async fn flooded(&self) {
        self.flood.notified().await;
    }

    fn abandon(&self, state: &mut State) {
        state.abandoned += 1;
        if state.abandoned == MAX_ABANDONED {
            self.flood.notify_one();
        }
    }

    /// Returns the number of a response that will have unsent data.
    pub(super) fn next_response(&self) -> u64 {
        let mut state = self.state.lock();
        state.next_response += 1;
        state.next_response
    }

    /// Records that a response has unsent data and has just made progress.
    pub(super) fn progressed(&self, response: u64) {
        self.state.lock().unsent.insert(response, Instant::now());
    }

    /// Records that a response has no unsent data.
    pub(super) fn sent(&self, response: u64) {
        self.state.lock().unsent.remove(&response);
    }

    /// Returns the status, and begins a new interval for the limits of what a peer sends besides requests.
    pub(super) fn check(&self, now: Instant) -> ActivityStatus {
        self.unexplained.store(0, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.abandoned = 0;
        if state.unsent.values().any(|at| now.duration_since(*at) > READ) {
            ActivityStatus::Stalled
        } else if state.requests == 0 && now.duration_since(state.idle_since) >= state.idle_limit {
            ActivityStatus::Idle
        } else {
            ActivityStatus::Active
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct ActiveRequest {
    activity: Arc<Activity>,
    has_response: bool,
    /// The place among the requests of all connections.
    _permit: Option<CountPermit>,
}

impl ActiveRequest {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }

    /// Records that the request has a response. One that is dropped without a response was cancelled by the peer.
    pub(super) fn responded(&mut self) {
        self.has_response = true;
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut state = self.activity.state.lock();
        state.requests = state.requests.saturating_sub(1);
        state.idle_since = Instant::now();
        if !self.has_response {
            self.activity.abandon(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connection_without_requests_is_idle_after_its_limit() {
        let activity = Arc::new(Activity::new(Instant::now()));
        tokio::time::advance(FIRST_REQUEST - Duration::from_secs(1)).await;
        assert_eq!(activity.check(Instant::now()), ActivityStatus::Active);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(activity.check(Instant::now()), ActivityStatus::Idle);
        let request = activity.request(None);
        tokio::time::advance(IDLE * 10).await;
        assert_eq!(
            activity.check(Instant::now()),
            ActivityStatus::Active,
            "a long poll is no idle connection"
        );
        drop(request);
        assert_eq!(activity.check(Instant::now()), ActivityStatus::Active);
        tokio::time::advance(IDLE).await;
        assert_eq!(activity.check(Instant::now()), ActivityStatus::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn response_without_progress_stalls_the_connection() {
        let activity = Arc::new(Activity::new(Instant::now()));
        let _request = activity.request(None);
        let (slow, stuck) = (activity.next_response(), activity.next_response());
        activity.progressed(slow);
        activity.progressed(stuck);
        tokio::time::advance(READ).await;
        activity.progressed(slow);
        assert_eq!(activity.check(Instant::now()), ActivityStatus::Active);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(activity.check(Instant::now()), ActivityStatus::Stalled);
        activity.sent(stuck);
        assert_eq!(activity.check(Instant::now()), ActivityStatus::Active, "a slow reader may continue");
    }

    #[tokio::test]
    async fn peer_that_abandons_its_requests_floods() {
        use futures::FutureExt;
        let activity = Arc::new(Activity::new(Instant::now()));
        for _ in 0..MAX_ABANDONED * 2 {
            let mut request = activity.request(None);
            request.responded();
        }
        for _ in 1..MAX_ABANDONED {
            drop(activity.request(None));
        }
        assert!(activity.flooded().now_or_never().is_none());
        activity.check(Instant::now());
        for _ in 1..MAX_ABANDONED {
            drop(activity.request(None));
        }
        assert!(activity.flooded().now_or_never().is_none(), "each interval counts for itself");
        drop(activity.request(None));
        assert!(activity.flooded().now_or_never().is_some());
    }

    #[tokio::test]
    async fn bytes_that_belong_to_no_request_are_a_flood() {
        let activity = Arc::new(Activity::new(Instant::now()));
        let part = 8 << 10;
        for _ in 0..10_000 {
            let _request = activity.request(None);
            assert_eq!(activity.received(part), Traffic::Normal, "headers");
        }
        for _ in 0..10_000 {
            activity.body_bytes(part);
            assert_eq!(activity.received(part), Traffic::Normal, "bodies");
        }
        for _ in 0..10_000 {
            activity.sent_bytes(1 << 20);
            assert_eq!(activity.received(part), Traffic::Normal, "acknowledgements");
        }
        let mut reads = Vec::new();
        while reads.last() != Some(&Traffic::Flood) {
            reads.push(activity.received(part));
        }
        let count = |kind| reads.iter().filter(|read| **read == kind).count();
        let counts = [Traffic::Normal, Traffic::Unclear, Traffic::Suspicious, Traffic::Flood].map(count);
        assert_eq!(counts, [6, 184, 64, 1]);
        activity.check(Instant::now());
        assert_eq!(activity.received(part), Traffic::Normal, "each interval counts for itself");
    }
}
