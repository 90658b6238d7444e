//! The election of a single process: everybody who stands is in it, so that no lease is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use crate::clock::wall_clock_ms;
use crate::{Election, Error, FencingToken, Leader, Leadership, Term};

/// The election of a single process. Candidates lead in the order in which they stood.
#[derive(Clone)]
pub struct LocalElection {
    shared: Arc<Shared>,
}

impl LocalElection {
    /// An election whose first leader, of any name, gets `first_token`. The caller sees to it that it is
    /// higher than every token given before the process started: by an epoch that is stored, and raised
    /// at each start.
    #[must_use]
    pub fn new(first_token: u64) -> Self {
        let state = State { next_token: Some(first_token), next_ticket: 0, seats: BTreeMap::new() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }

    /// How many names take up memory: those with a leader or a candidate.
    #[must_use]
    pub fn names(&self) -> usize {
        self.shared.lock().seats.len()
    }
}

impl fmt::Debug for LocalElection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalElection").field("names", &self.names()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Election for LocalElection {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        let place = Place::stand(&self.shared, name);
        loop {
            // Registered before the look at the seat: an end between the two wakes it.
            let mut woken = std::pin::pin!(place.changed.notified());
            woken.as_mut().enable();
            if let Some(leadership) = place.try_lead(candidate)? {
                return Ok(leadership);
            }
            // The one place to be cancelled at: `place` is given back when it is dropped.
            woken.await;
        }
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        Ok(self.shared.lock().seats.get(name).and_then(Seat::leader).cloned())
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        Ok(self.shared.lock().seats.values().filter_map(Seat::leader).cloned().collect())
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        let mut state = self.shared.lock();
        let ended = state.seats.get_mut(name).is_some_and(|seat| seat.vacate(None));
        state.tidy(name);
        Ok(ended)
    }
}

struct Shared {
    state: Mutex<State>,
}

impl Shared {
    /// A panic elsewhere can't leave the state half changed: no user code runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct State {
    /// One line of tokens for all names: they rise for each. None: all are used up.
    next_token: Option<u64>,
    next_ticket: u64,
    seats: BTreeMap<String, Seat>,
}

impl State {
    /// A name without leader and candidates takes no memory.
    fn tidy(&mut self, name: &str) {
        if self.seats.get(name).is_some_and(|seat| seat.held.is_none() && seat.waiting.is_empty()) {
            self.seats.remove(name);
        }
    }
}

/// What can be led under one name.
#[derive(Default)]
struct Seat {
    held: Option<(Leader, watch::Sender<bool>)>,
    /// The tickets of those who stand, in the order in which they came.
    waiting: BTreeSet<u64>,
    changed: Arc<Notify>,
}

impl Seat {
    fn leader(&self) -> Option<&Leader> {
        self.held.as_ref().map(|(leader, _)| leader)
    }

    /// Ends the term that has this token, or any.
    fn vacate(&mut self, token: Option<FencingToken>) -> bool {
        let ended = self.held.take_if(|(leader, _)| token.is_none_or(|token| leader.token == token));
        if let Some((_, lost)) = &ended {
            lost.send_replace(true);
            self.changed.notify_waiters();
        }
        ended.is_some()
    }
}

/// A candidate's place in the line of one name, until it leads or is dropped.
struct Place<'a> {
    shared: &'a Arc<Shared>,
    name: &'a str,
    ticket: u64,
    changed: Arc<Notify>,
}

impl<'a> Place<'a> {
    fn stand(shared: &'a Arc<Shared>, name: &'a str) -> Self {
        let mut state = shared.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let seat = state.seats.entry(name.to_owned()).or_default();
        seat.waiting.insert(ticket);
        Self { shared, name, ticket, changed: Arc::clone(&seat.changed) }
    }

    fn try_lead(&self, candidate: &str) -> Result<Option<Leadership>, Error> {
        let mut state = self.shared.lock();
        let next_token = state.next_token;
        let Some(seat) = state.seats.get_mut(self.name) else { return Ok(None) };
        if seat.held.is_some() || seat.waiting.first() != Some(&self.ticket) {
            return Ok(None);
        }
        let Some(token) = next_token else {
            return Err(Error::TokensExhausted { name: self.name.to_owned() });
        };
        let leader = Leader {
            name: self.name.to_owned(),
            candidate: candidate.to_owned(),
            token: FencingToken(token),
            since_ms: wall_clock_ms(),
        };
        let (sender, lost) = watch::channel(false);
        seat.held = Some((leader.clone(), sender));
        state.next_token = token.checked_add(1);
        let term =
            LocalTerm { shared: Arc::clone(self.shared), name: self.name.to_owned(), token: leader.token };
        Ok(Some(Leadership::new(leader, lost, Box::new(term))))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(seat) = state.seats.get_mut(self.name) {
            seat.waiting.remove(&self.ticket);
            // Whoever is next may have been woken for nothing while this one was first.
            seat.changed.notify_waiters();
        }
        state.tidy(self.name);
    }
}

struct LocalTerm {
    shared: Arc<Shared>,
    name: String,
    token: FencingToken,
}

#[async_trait]
impl Term for LocalTerm {
    async fn resign(self: Box<Self>) -> Result<(), Error> {
        drop(self);
        Ok(())
    }
}

impl Drop for LocalTerm {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(seat) = state.seats.get_mut(&self.name) {
            seat.vacate(Some(self.token));
        }
        state.tidy(&self.name);
    }
}

impl fmt::Debug for LocalTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTerm")
            .field("name", &self.name)
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}
