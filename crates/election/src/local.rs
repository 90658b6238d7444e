//! The election of a single process. All candidates are in the process, so no lease is needed.

use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use crate::clock::wall_clock_ms;
use crate::{Election, Error, FencingToken, Leader, Leadership, Term};

/// The election of a single process. Candidates lead in the order of their campaigns.
#[derive(Clone)]
pub struct LocalElection {
    shared: Arc<Shared>,
}

impl LocalElection {
    /// Creates an election whose first leader gets `first_token`. The caller must choose it higher than every token of
    /// earlier processes, for example from a stored epoch that is raised at each start.
    #[must_use]
    pub fn new(first_token: u64) -> Self {
        let state = State { next_token: Some(first_token), next_ticket: 0, elections: BTreeMap::new() };
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }

    /// The number of names with a leader or a candidate. Only these use memory.
    #[must_use]
    pub fn names(&self) -> usize {
        self.shared.lock().elections.len()
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
        let candidacy = TestElection::enqueue(&self.shared, name);
        loop {
            // Register for the notification before the check, so that no change in between is missed.
            let mut notified = std::pin::pin!(candidacy.changed.notified());
            notified.as_mut().enable();
            if let Some(leadership) = candidacy.try_lead(candidate)? {
                return Ok(leadership);
            }
            // The only cancellation point. Dropping `candidacy` removes it from the queue.
            notified.await;
        }
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        Ok(self.shared.lock().elections.get(name).and_then(ElectionState::leader).cloned())
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        Ok(self.shared.lock().elections.values().filter_map(ElectionState::leader).cloned().collect())
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        let mut state = self.shared.lock();
        let ended = state.elections.get_mut(name).is_some_and(|election| election.end_term(None));
        state.remove_unused(name);
        Ok(ended)
    }
}

struct Shared {
    state: Mutex<State>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

struct State {
    /// The next token. All names share one counter. `None` if no token is left.
    next_token: Option<u64>,
    next_ticket: u64,
    elections: BTreeMap<String, ElectionState>,
}

impl State {
    /// Removes a name without leader and candidates.
    fn remove_unused(&mut self, name: &str) {
        if self
            .elections
            .get(name)
            .is_some_and(|election| election.held.is_none() && election.waiting.is_empty())
        {
            self.elections.remove(name);
        }
    }
}

/// The state of one election.
#[derive(Default)]
struct ElectionState {
    held: Option<(Leader, watch::Sender<bool>)>,
    /// The tickets of the candidates, in order of arrival.
    waiting: BTreeSet<u64>,
    changed: Arc<Notify>,
}

impl ElectionState {
    fn leader(&self) -> Option<&Leader> {
        self.held.as_ref().map(|(leader, _)| leader)
    }

    /// Ends the term with this token, or any term.
    fn end_term(&mut self, token: Option<FencingToken>) -> bool {
        let ended = self.held.take_if(|(leader, _)| token.is_none_or(|token| leader.token == token));
        if let Some((_, lost)) = &ended {
            lost.send_replace(true);
            self.changed.notify_waiters();
        }
        ended.is_some()
    }
}

/// A candidate's position in the queue of one name, until it leads or is dropped.
struct TestElection<'a> {
    shared: &'a Arc<Shared>,
    name: &'a str,
    ticket: u64,
    changed: Arc<Notify>,
}

impl<'a> TestElection<'a> {
    fn enqueue(shared: &'a Arc<Shared>, name: &'a str) -> Self {
        let mut state = shared.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let election = state.elections.entry(name.to_owned()).or_default();
        election.waiting.insert(ticket);
        Self { shared, name, ticket, changed: Arc::clone(&election.changed) }
    }

    fn try_lead(&self, candidate: &str) -> Result<Option<Leadership>, Error> {
        let mut state = self.shared.lock();
        let next_token = state.next_token;
        let Some(election) = state.elections.get_mut(self.name) else { return Ok(None) };
        if election.held.is_some() || election.waiting.first() != Some(&self.ticket) {
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
        election.held = Some((leader.clone(), sender));
        state.next_token = token.checked_add(1);
        let term =
            LocalTerm { shared: Arc::clone(self.shared), name: self.name.to_owned(), token: leader.token };
        Ok(Some(Leadership::new(leader, lost, Box::new(term))))
    }
}

impl Drop for TestElection<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(election) = state.elections.get_mut(self.name) {
            election.waiting.remove(&self.ticket);
            // The next candidate may have been notified while this candidacy was still the first.
            election.changed.notify_waiters();
        }
        state.remove_unused(self.name);
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
        if let Some(election) = state.elections.get_mut(&self.name) {
            election.end_term(Some(self.token));
        }
        state.remove_unused(&self.name);
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
