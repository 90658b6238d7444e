//! Elections by a queue of candidates, on etcd and ZooKeeper.
//!
//! Each candidate has an entry in the queue of its election. Entries have increasing sequence numbers and live as long as
//! the session of the process that created them. The entry with the lowest number leads, and its number is the fencing
//! token. Later entries have higher numbers, so the token increases with every change of leader.
//!
//! The servers end a session when they have not received a heartbeat for the duration of its lease. [`session_keeper`] sends
//! heartbeats well within the lease. It ends every term as soon as the lease may have expired, measured by this process's
//! monotonic clock from before the last acknowledged heartbeat was sent. A process that was paused assumes that it leads
//! until it checks; only the token is reliable.
//!
//! A request without a response may still take effect. A candidate therefore chooses the name of its entry, and an entry
//! that is no longer needed is removed, with repeated attempts.

mod name;
mod session_keeper;
mod terms;

use crate::{Election, Error, FencingToken, Leader, Leadership, Term};
use async_trait::async_trait;
use session_keeper::{SessionKeeper, State};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use terms::OwnTerms;
use tokio::sync::{mpsc, watch};

pub(crate) use name::{decoded, encoded};

/// The delay between attempts while the servers do not answer.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The entry of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The name of the election.
    pub(crate) name: String,
    /// The key or path of the entry.
    pub(crate) key: String,
    /// The position in the queue, which is the token of the term.
    pub(crate) sequence: u64,
}

/// The value of an entry.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct CandidateRecord {
    /// The name of the candidate.
    pub(crate) candidate: String,
    /// The start of the term, unless the servers record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since_ms: Option<i64>,
}

impl CandidateRecord {
    pub(crate) fn of(candidate: &str) -> Self {
        Self { candidate: candidate.to_owned(), since_ms: None }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn of_json(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }
}

/// The servers of an election.
#[async_trait]
pub(crate) trait QueueServers: fmt::Debug + Send + Sync + 'static {
    /// Opens a session.
    async fn open(&self) -> Result<Arc<dyn QueueSession>, Error>;
}

/// A session of this process with the servers. Every call has a timeout, except the calls that wait for an event.
#[async_trait]
pub(crate) trait QueueSession: fmt::Debug + Send + Sync + 'static {
    /// The time after which the servers end the session without a heartbeat.
    fn lease(&self) -> Duration;

    /// Sends a heartbeat. Returns `false` if the session has ended.
    async fn keep_alive(&self) -> Result<bool, Error>;

    /// Waits until the servers report the end of the session. Safe to cancel.
    async fn await_end(&self);

    /// Creates an entry at the end of the queue. `id` is unique. `is_retry` states that an earlier request may have created
    /// it.
    async fn enqueue(&self, name: &str, id: &str, candidate: &str, is_retry: bool) -> Result<Entry, Error>;

    /// Waits until the entry is at the head of the queue. Returns `false` if it was removed. Safe to cancel.
    async fn await_head(&self, entry: &Entry) -> Result<bool, Error>;

    /// Publishes the start of the term and returns its time, or `None` if the entry was removed.
    async fn begin_term(&self, entry: &Entry, candidate: &str) -> Result<Option<i64>, Error>;

    /// Waits until the entry was removed. Safe to cancel.
    async fn await_removal(&self, entry: &Entry) -> Result<(), Error>;

    /// Removes an entry. Returns whether it existed.
    async fn remove(&self, entry: &Entry) -> Result<bool, Error>;

    /// Removes an entry that a request without a response may have created.
    async fn remove_by_id(&self, name: &str, id: &str) -> Result<(), Error>;

    /// Returns the leader of one election or of all, with a consistent read.
    async fn leaders(&self, name: Option<&str>) -> Result<Vec<(Leader, Entry)>, Error>;

    /// Ends the session and removes its entries.
    async fn close(&self);
}

/// An election on servers. Clones share one session and therefore count as one process.
#[derive(Debug, Clone)]
pub(crate) struct QueueElection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: watch::Receiver<State>,
    terms: Arc<OwnTerms>,
    abandoned: mpsc::UnboundedSender<Abandoned>,
}

/// An entry that is no longer needed.
#[derive(Debug)]
struct Abandoned {
    name: String,
    id: String,
    /// `None` if it is unknown whether the entry exists.
    entry: Option<Entry>,
}

impl QueueElection {
    /// Starts an election. Opening a session may take up to `opening`. The election retries while the servers cannot be
    /// reached.
    ///
    /// # Errors
    /// Returns [`Error::Configuration`] if the settings are invalid.
    pub(crate) async fn start(servers: impl QueueServers, opening: Duration) -> Result<Self, Error> {
        let terms: Arc<OwnTerms> = Arc::default();
        let (notify, state) = watch::channel(State::Opening);
        let (abandoned, received) = mpsc::unbounded_channel();
        let mut keeper = SessionKeeper::new(Box::new(servers), opening, notify, Arc::clone(&terms), received);
        let first = keeper.open().await;
        match &first {
            Err(error) if !error.is_retryable() => return Err(error.clone()),
            Err(error) => tracing::warn!(%error, "the election failed to open a session and retries"),
            Ok(_) => {}
        }
        drop(goconductor_supervisor::spawn("election-session", keeper.run(first)));
        Ok(Self { shared: Arc::new(Shared { state, terms, abandoned }) })
    }

    /// Returns the session and its number. Waits while a session is being opened.
    async fn session(&self) -> Result<(Arc<dyn QueueSession>, u64), Error> {
        let mut state = self.shared.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Opening)).await;
        match known.as_deref() {
            Ok(State::Open(session, number)) => Ok((Arc::clone(session), *number)),
            Ok(State::Closed(error)) => Err(error.clone()),
            Ok(State::Opening) | Err(_) => {
                Err(Error::Unavailable { reason: "the task of the session has ended".to_owned() })
            }
        }
    }

    /// Waits until the session with this number is replaced or closed.
    async fn is_over(&self, number: u64) {
        let mut state = self.shared.state.clone();
        let other = |state: &State| !matches!(state, State::Open(_, present) if *present == number);
        // A closed channel also means the end.
        drop(state.wait_for(other).await);
    }
}

/// Retries until the servers answer. A candidate keeps its position in the queue as long as its session ttl.
async fn retry_until_answered<T, F>(ask: impl Fn() -> F + Send) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>> + Send,
{
    loop {
        match ask().await {
            Err(error) if error.is_retryable() => {
                tracing::debug!(%error, "the election servers did not answer; retrying");
                tokio::time::sleep(RETRY_DELAY).await;
            }
            other => return other,
        }
    }
}

#[async_trait]
impl Election for QueueElection {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        loop {
            let (session, number) = self.session().await?;
            let candidacy = Candidacy::new(self.clone(), name);
            // Safe to cancel: dropping the candidacy removes its entry.
            let won = tokio::select! {
                won = candidacy.lead(&session, number, candidate) => won?,
                () = self.is_over(number) => None,
            };
            if let Some(leadership) = won {
                return Ok(leadership);
            }
        }
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        let (session, _) = self.session().await?;
        Ok(session.leaders(Some(name)).await?.pop().map(|(leader, _)| leader))
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        let (session, _) = self.session().await?;
        let mut leaders: Vec<Leader> =
            session.leaders(None).await?.into_iter().map(|(leader, _)| leader).collect();
        leaders.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(leaders)
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        let (session, _) = self.session().await?;
        let Some((_, entry)) = session.leaders(Some(name)).await?.pop() else { return Ok(false) };
        let ended = session.remove(&entry).await?;
        // End a term of this process at once.
        self.shared.terms.end(&entry.key);
        Ok(ended)
    }
}

/// A candidacy, until it wins or is dropped.
#[derive(Debug)]
struct Candidacy {
    election: QueueElection,
    name: String,
    id: String,
    entry: Option<Entry>,
    is_won: bool,
}

impl Candidacy {
    fn new(election: QueueElection, name: &str) -> Self {
        let id = uuid::Uuid::now_v7().simple().to_string();
        Self { election, name: name.to_owned(), id, entry: None, is_won: false }
    }

    /// Enqueues an entry, waits for its turn, and leads. Returns `None` if the entry was removed.
    async fn lead(
        mut self,
        session: &Arc<dyn QueueSession>,
        number: u64,
        candidate: &str,
    ) -> Result<Option<Leadership>, Error> {
        let requested = AtomicBool::new(false);
        let enqueue =
            || session.enqueue(&self.name, &self.id, candidate, requested.swap(true, Ordering::Relaxed));
        let entry = retry_until_answered(enqueue).await?;
        self.entry = Some(entry.clone());
        if !retry_until_answered(|| session.await_head(&entry)).await? {
            return Ok(None);
        }
        let Some(since_ms) = retry_until_answered(|| session.begin_term(&entry, candidate)).await? else {
            return Ok(None);
        };
        let Some(lost) = self.election.shared.terms.begin(number, session, &entry) else { return Ok(None) };
        self.is_won = true;
        let leader = Leader {
            name: self.name.clone(),
            candidate: candidate.to_owned(),
            token: FencingToken(entry.sequence),
            since_ms,
        };
        let (election, id) = (self.election.clone(), self.id.clone());
        let term = QueueTerm { election, id, entry, is_over: false };
        Ok(Some(Leadership::new(leader, lost, Box::new(term))))
    }
}

impl Drop for Candidacy {
    fn drop(&mut self) {
        if !self.is_won {
            let (name, id) = (std::mem::take(&mut self.name), std::mem::take(&mut self.id));
            self.election.abandon(Abandoned { name, id, entry: self.entry.take() });
        }
    }
}

impl QueueElection {
    fn abandon(&self, abandoned: Abandoned) {
        // Without the task there is no session, and without a session the entry is gone.
        drop(self.shared.abandoned.send(abandoned));
    }
}

/// A won term. Dropping it ends the term without waiting.
#[derive(Debug)]
struct QueueTerm {
    election: QueueElection,
    id: String,
    entry: Entry,
    is_over: bool,
}

#[async_trait]
impl Term for QueueTerm {
    async fn resign(mut self: Box<Self>) -> Result<(), Error> {
        self.election.shared.terms.end(&self.entry.key);
        let (session, _) = self.election.session().await?;
        // Until the removal is acknowledged, `drop` retries it.
        session.remove(&self.entry).await?;
        self.is_over = true;
        Ok(())
    }
}

impl Drop for QueueTerm {
    fn drop(&mut self) {
        self.election.shared.terms.end(&self.entry.key);
        if !self.is_over {
            let (name, id) = (self.entry.name.clone(), self.id.clone());
            self.election.abandon(Abandoned { name, id, entry: Some(self.entry.clone()) });
        }
    }
}
