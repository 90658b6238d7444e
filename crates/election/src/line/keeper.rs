//! Holds the one session that all terms of a process hang on.

use super::terms::Terms;
use super::{AGAIN, Abandoned, Servers, Session};
use crate::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at};

/// Between tries to open a session: doubled from the first to the last.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// How often within a lease the servers hear of the session.
const BEATS: u32 = 4;
/// How often an entry is looked for of which was never heard whether it was made. Once in half a lease.
const LOOKS: u32 = 3;

/// How it is with the session.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// One is being opened.
    Opening,
    /// This one, with its number.
    Open(Arc<dyn Session>, u64),
    /// There is none, because of this; it is tried again.
    Closed(Error),
}

/// A session, and from when on the servers count its lease at the latest.
pub(super) type Opened = (Arc<dyn Session>, Instant);

#[derive(Debug)]
pub(super) struct Keeper {
    servers: Box<dyn Servers>,
    opening: Duration,
    state: watch::Sender<State>,
    terms: Arc<Terms>,
    abandoned: mpsc::UnboundedReceiver<Abandoned>,
    pause: Duration,
    /// Sessions so far.
    sessions: u64,
}

/// Why a session is held no longer.
enum End {
    /// It is lost.
    Lost(&'static str),
    /// Nobody is there any more who could use it.
    Unwanted,
}

impl Keeper {
    pub(super) fn new(
        servers: Box<dyn Servers>,
        opening: Duration,
        state: watch::Sender<State>,
        terms: Arc<Terms>,
        abandoned: mpsc::UnboundedReceiver<Abandoned>,
    ) -> Self {
        let [pause, _] = PAUSES;
        Self { servers, opening, state, terms, abandoned, pause, sessions: 0 }
    }

    pub(super) async fn open(&mut self) -> Result<Opened, Error> {
        let asked = Instant::now();
        match timeout(self.opening, self.servers.open()).await {
            Ok(opened) => opened.map(|session| (session, asked)),
            Err(_) => {
                let reason = format!("no answer within {} ms", self.opening.as_millis());
                Err(Error::Unavailable { reason })
            }
        }
    }

    /// Holds one session after the other, until nobody wants any more.
    pub(super) async fn run(mut self, first: Result<Opened, Error>) {
        let mut opened = first;
        loop {
            let is_wanted = match opened {
                Ok((session, heard)) => self.hold(session, heard).await,
                Err(error) => self.rest(error).await,
            };
            if !is_wanted {
                return;
            }
            opened = self.open().await;
        }
    }

    /// Holds a session until it is lost; whether another is wanted.
    async fn hold(&mut self, session: Arc<dyn Session>, heard: Instant) -> bool {
        [self.pause, _] = PAUSES;
        self.sessions += 1;
        self.terms.open(self.sessions);
        self.state.send_replace(State::Open(Arc::clone(&session), self.sessions));
        let end = self.keep(&session, heard).await;
        self.state.send_replace(State::Opening);
        let terms = self.terms.end_all();
        match end {
            End::Lost(why) => {
                if terms > 0 {
                    tracing::warn!(terms, why, "the session with the election's servers is lost");
                }
                true
            }
            End::Unwanted => {
                session.close().await;
                false
            }
        }
    }

    /// Waits before the next try; whether one is wanted.
    async fn rest(&mut self, error: Error) -> bool {
        let [first, longest] = PAUSES;
        // Said once, not each time.
        if self.pause == first && self.sessions > 0 {
            tracing::warn!(%error, "the election's servers can't be reached, and are tried again");
        }
        self.state.send_replace(State::Closed(error));
        let over = sleep(self.pause);
        self.pause = (self.pause * 2).min(longest);
        tokio::pin!(over);
        loop {
            // Safe to cancel: what is abandoned without a session is gone.
            tokio::select! {
                () = &mut over => return true,
                abandoned = self.abandoned.recv() => if abandoned.is_none() { return false },
            }
        }
    }

    async fn keep(&mut self, session: &Arc<dyn Session>, mut heard: Instant) -> End {
        let lease = session.lease();
        let mut beats = interval(lease / BEATS);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Aborted with the session: its entries go with it.
        let mut errands = JoinSet::new();
        loop {
            let expiry = heard + lease;
            // Safe to cancel: a beat is awaited outside, and what was not received stays in the channel.
            tokio::select! {
                biased;
                () = sleep_until(expiry) => return End::Lost("the servers were not heard for its lease"),
                () = session.ended() => return End::Lost("the servers have ended it"),
                _ = beats.tick() => {
                    let asked = Instant::now();
                    match timeout_at(expiry, session.beat()).await {
                        Ok(Ok(true)) => heard = asked,
                        Ok(Ok(false)) => return End::Lost("the servers know it no more"),
                        Ok(Err(error)) => {
                            tracing::debug!(%error, "the election's servers were not heard");
                            beats.reset_after(AGAIN.min(lease / BEATS));
                        }
                        Err(_) => return End::Lost("the servers were not heard for its lease"),
                    }
                }
                abandoned = self.abandoned.recv() => match abandoned {
                    Some(abandoned) => drop(errands.spawn(take_back(Arc::clone(session), abandoned))),
                    None => return End::Unwanted,
                },
                Some(_) = errands.join_next() => {}
            }
        }
    }
}

/// Removes an entry that nobody wants; one that may come into being only now is looked for again.
async fn take_back(session: Arc<dyn Session>, abandoned: Abandoned) {
    let Abandoned { name, id, entry } = abandoned;
    let looks = if entry.is_some() { 1 } else { LOOKS };
    for look in 0..looks {
        if look > 0 {
            sleep(session.lease() / 2).await;
        }
        let removed = super::patiently(|| async {
            match &entry {
                Some(entry) => session.leave(entry).await.map(drop),
                None => session.forget(&name, &id).await,
            }
        });
        if let Err(error) = removed.await {
            tracing::warn!(election = name, %error, "an entry that nobody wants is left to its session");
            return;
        }
    }
}
