//! The activity of one connection: its requests in flight, and the responses that its peer has not read.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Time in which a new connection must send its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Time after which a connection without requests is closed. It is longer than clients usually keep idle connections.
const IDLE: Duration = Duration::from_secs(120);
/// Time in which a peer must read the next part of a response.
const READ: Duration = Duration::from_secs(30);

/// The activity of a connection.
#[derive(Debug)]
pub(super) struct Activity {
    state: Mutex<State>,
    /// Whether the connection closes after its next response, which says so to the client.
    closes_after_response: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// The requests whose responses are not yet complete.
    requests: usize,
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

impl Activity {
    pub(super) fn new(now: Instant) -> Self {
        let state = State {
            requests: 0,
            idle_since: now,
            idle_limit: FIRST_REQUEST,
            next_response: 0,
            unsent: BTreeMap::new(),
        };
        Self { state: Mutex::new(state), closes_after_response: AtomicBool::new(false) }
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
    pub(super) fn request(self: &Arc<Self>) -> ActiveRequest {
        let mut state = self.state.lock();
        state.requests += 1;
        state.idle_limit = IDLE;
        ActiveRequest(Arc::clone(self))
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

    pub(super) fn status(&self, now: Instant) -> ActivityStatus {
        let state = self.state.lock();
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
pub(super) struct ActiveRequest(Arc<Activity>);

impl ActiveRequest {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.0
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.requests = state.requests.saturating_sub(1);
        state.idle_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn connection_without_requests_is_idle_after_its_limit() {
        let activity = Arc::new(Activity::new(Instant::now()));
        tokio::time::advance(FIRST_REQUEST - Duration::from_secs(1)).await;
        assert_eq!(activity.status(Instant::now()), ActivityStatus::Active);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(activity.status(Instant::now()), ActivityStatus::Idle);
        let request = activity.request();
        tokio::time::advance(IDLE * 10).await;
        assert_eq!(
            activity.status(Instant::now()),
            ActivityStatus::Active,
            "a long poll is no idle connection"
        );
        drop(request);
        assert_eq!(activity.status(Instant::now()), ActivityStatus::Active);
        tokio::time::advance(IDLE).await;
        assert_eq!(activity.status(Instant::now()), ActivityStatus::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn response_without_progress_stalls_the_connection() {
        let activity = Arc::new(Activity::new(Instant::now()));
        let _request = activity.request();
        let (slow, stuck) = (activity.next_response(), activity.next_response());
        activity.progressed(slow);
        activity.progressed(stuck);
        tokio::time::advance(READ).await;
        activity.progressed(slow);
        assert_eq!(activity.status(Instant::now()), ActivityStatus::Active);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(activity.status(Instant::now()), ActivityStatus::Stalled);
        activity.sent(stuck);
        assert_eq!(activity.status(Instant::now()), ActivityStatus::Active, "a slow reader may go on");
    }
}
