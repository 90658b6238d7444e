//! The session that all terms of a process depend on.

use super::terms::OwnTerms;
use super::{Abandoned, QueueServers, QueueSession, RETRY_DELAY};
use crate::Error;
use crate::backoff::ConnectBackoff;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at};

/// Heartbeats per lease.
const HEARTBEATS_PER_LEASE: u32 = 4;
/// Attempts to remove an entry that a request without a response may have created, one per half lease.
const REMOVAL_ATTEMPTS: u32 = 3;

/// The state of the session.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// A session is being opened.
    Opening,
    /// The open session with its number.
    Open(Arc<dyn QueueSession>, u64),
    /// No session is open because of this error. Another attempt follows.
    Closed(Error),
}

/// A session, and a time from which on the servers count its lease at the latest.
pub(super) type Opened = (Arc<dyn QueueSession>, Instant);

#[derive(Debug)]
pub(super) struct SessionKeeper {
    servers: Box<dyn QueueServers>,
    opening: Duration,
    state: watch::Sender<State>,
    terms: Arc<OwnTerms>,
    abandoned: mpsc::UnboundedReceiver<Abandoned>,
    backoff: ConnectBackoff,
    /// The number of sessions so far.
    sessions: u64,
}

/// The reason for the end of a session.
enum SessionEnd {
    /// The session was lost.
    Lost(&'static str),
    /// The election was dropped.
    Dropped,
}

impl SessionKeeper {
    pub(super) fn new(
        servers: Box<dyn QueueServers>,
        opening: Duration,
        state: watch::Sender<State>,
        terms: Arc<OwnTerms>,
        abandoned: mpsc::UnboundedReceiver<Abandoned>,
    ) -> Self {
        let backoff = ConnectBackoff::new();
        Self { servers, opening, state, terms, abandoned, backoff, sessions: 0 }
    }

    pub(super) async fn open(&mut self) -> Result<Opened, Error> {
        let requested = Instant::now();
        match timeout(self.opening, self.servers.open()).await {
            Ok(opened) => opened.map(|session| (session, requested)),
            Err(_) => {
                let reason = format!("no response within {} ms", self.opening.as_millis());
                Err(Error::Unavailable { reason })
            }
        }
    }

    /// Runs one session after another until the election is dropped.
    pub(super) async fn run(mut self, first: Result<Opened, Error>) {
        let mut opened = first;
        loop {
            let is_needed = match opened {
                Ok((session, acknowledged)) => self.run_session(session, acknowledged).await,
                Err(error) => self.back_off(error).await,
            };
            if !is_needed {
                return;
            }
            opened = self.open().await;
        }
    }

    /// Runs a session until it ends. Returns whether another one is needed.
    async fn run_session(&mut self, session: Arc<dyn QueueSession>, acknowledged: Instant) -> bool {
        self.backoff = ConnectBackoff::new();
        self.sessions += 1;
        self.terms.open(self.sessions);
        self.state.send_replace(State::Open(Arc::clone(&session), self.sessions));
        let end = self.keep(&session, acknowledged).await;
        self.state.send_replace(State::Opening);
        let terms = self.terms.end_all();
        match end {
            SessionEnd::Lost(why) => {
                if terms > 0 {
                    tracing::warn!(terms, why, "the session with the election servers was lost");
                }
                true
            }
            SessionEnd::Dropped => {
                session.close().await;
                false
            }
        }
    }

    /// Waits before the next attempt. Returns whether one is needed.
    async fn back_off(&mut self, error: Error) -> bool {
        // Log the problem once, not for each attempt.
        if self.backoff.is_first() && self.sessions > 0 {
            tracing::warn!(%error, "the election servers are unavailable; retrying");
        }
        self.state.send_replace(State::Closed(error));
        let over = sleep(self.backoff.next_delay());
        tokio::pin!(over);
        loop {
            // Safe to cancel: without a session, an abandoned entry does not exist.
            tokio::select! {
                () = &mut over => return true,
                abandoned = self.abandoned.recv() => if abandoned.is_none() { return false },
            }
        }
    }

    async fn keep(&mut self, session: &Arc<dyn QueueSession>, mut acknowledged: Instant) -> SessionEnd {
        let lease = session.lease();
        let mut heartbeats = interval(lease / HEARTBEATS_PER_LEASE);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The removals are aborted with the session, because its entries disappear with it.
        let mut removals = JoinSet::new();
        loop {
            let expiry = acknowledged + lease;
            // Safe to cancel: the heartbeat is awaited in the handler, and unreceived entries stay in the channel.
            tokio::select! {
                biased;
                () = sleep_until(expiry) => return SessionEnd::Lost("no heartbeat was acknowledged within the lease"),
                () = session.await_end() => return SessionEnd::Lost("the servers ended the session"),
                _ = heartbeats.tick() => {
                    let requested = Instant::now();
                    match timeout_at(expiry, session.keep_alive()).await {
                        Ok(Ok(true)) => acknowledged = requested,
                        Ok(Ok(false)) => return SessionEnd::Lost("the servers do not know the session"),
                        Ok(Err(error)) => {
                            tracing::debug!(%error, "a heartbeat to the election servers failed");
                            heartbeats.reset_after(RETRY_DELAY.min(lease / HEARTBEATS_PER_LEASE));
                        }
                        Err(_) => return SessionEnd::Lost("no heartbeat was acknowledged within the lease"),
                    }
                }
                abandoned = self.abandoned.recv() => match abandoned {
                    Some(abandoned) => drop(removals.spawn(remove_abandoned(Arc::clone(session), abandoned))),
                    None => return SessionEnd::Dropped,
                },
                Some(_) = removals.join_next() => {}
            }
        }
    }
}

/// Removes an abandoned entry. If the entry may be created later, the removal is repeated.
async fn remove_abandoned(session: Arc<dyn QueueSession>, abandoned: Abandoned) {
    let Abandoned { name, id, entry } = abandoned;
    let attempts = if entry.is_some() { 1 } else { REMOVAL_ATTEMPTS };
    for attempt in 0..attempts {
        if attempt > 0 {
            sleep(session.lease() / 2).await;
        }
        let removed = super::retry_until_answered(|| async {
            match &entry {
                Some(entry) => session.remove(entry).await.map(drop),
                None => session.remove_by_id(&name, &id).await,
            }
        });
        if let Err(error) = removed.await {
            tracing::warn!(election = name, %error, "an abandoned entry was left to expire with its session");
            return;
        }
    }
}
