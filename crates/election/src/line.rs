//! Elections by a line of candidates, as etcd and ZooKeeper are used for it.
//!
//! Each candidate has an entry in the line of its name. Entries have numbers that rise for ever, and live as
//! long as the session of the process that made them. Whoever has the lowest number leads, and that number is
//! its token: who comes later has a higher one, so tokens rise with every change of leader.
//!
//! A session ends a lease after the servers last heard of it. [`keeper`] says to them well within the lease
//! that this process lives, and gives every term up as soon as it can't know any more that they heard it: by
//! this process's own monotonic clock, from before it spoke. One who was paused meanwhile believes in its
//! terms until it looks; the token is what tells.
//!
//! What was asked and not answered may still happen. So a candidate chooses the name of its entry itself, and
//! one that nobody wants any more is taken back, and looked for again.

mod keeper;
mod name;
mod terms;

use crate::{Election, Error, FencingToken, Leader, Leadership, Term};
use async_trait::async_trait;
use keeper::{Keeper, State};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use terms::Terms;
use tokio::sync::{mpsc, watch};

pub(crate) use name::{decoded, encoded};

/// Between tries of what the servers did not answer, as long as the session lives.
const AGAIN: Duration = Duration::from_millis(200);

/// A candidate's entry at the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What is to be led.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) key: String,
    /// Its place in the line: the token of its term.
    pub(crate) number: u64,
}

/// What an entry says for others.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Record {
    /// Who stands, as it calls itself.
    pub(crate) candidate: String,
    /// When its term began, where the servers don't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since_ms: Option<i64>,
}

impl Record {
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
pub(crate) trait Servers: fmt::Debug + Send + Sync + 'static {
    /// Opens a session.
    async fn open(&self) -> Result<Arc<dyn Session>, Error>;
}

/// One session of this process with the servers. Every call has a time-out of its own, but for those that
/// wait.
#[async_trait]
pub(crate) trait Session: fmt::Debug + Send + Sync + 'static {
    /// How long it lives without being heard of, as the servers have it.
    fn lease(&self) -> Duration;

    /// Has the servers hear of it; false: it has ended.
    async fn beat(&self) -> Result<bool, Error>;

    /// Ends when the servers have said that the session has. Safe to cancel.
    async fn ended(&self);

    /// Makes an entry at the end of a line. `id` is nobody else's; `again`: this was asked for before, and was
    /// perhaps done.
    async fn stand(&self, name: &str, id: &str, candidate: &str, again: bool) -> Result<Entry, Error>;

    /// Waits until an entry is the first of its line; false: it is there no more. Safe to cancel.
    async fn until_first(&self, entry: &Entry) -> Result<bool, Error>;

    /// Begins the term of the first: from now on others see it lead. Since when; none: it is there no more.
    async fn begin(&self, entry: &Entry, candidate: &str) -> Result<Option<i64>, Error>;

    /// Waits until an entry is there no more. Safe to cancel.
    async fn until_gone(&self, entry: &Entry) -> Result<(), Error>;

    /// Removes an entry; whether it was there.
    async fn leave(&self, entry: &Entry) -> Result<bool, Error>;

    /// Removes an entry of which is known only that it was asked for.
    async fn forget(&self, name: &str, id: &str) -> Result<(), Error>;

    /// Who leads: one name, or all. As of now: no answer of an earlier moment.
    async fn leaders(&self, name: Option<&str>) -> Result<Vec<(Leader, Entry)>, Error>;

    /// Ends it at once, and its entries with it.
    async fn close(&self);
}

/// An election over servers. Clones share their session, and with that are one process to the others.
#[derive(Debug, Clone)]
pub(crate) struct LineElection {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: watch::Receiver<State>,
    terms: Arc<Terms>,
    abandoned: mpsc::UnboundedSender<Abandoned>,
}

/// An entry that nobody wants any more.
#[derive(Debug)]
struct Abandoned {
    name: String,
    id: String,
    /// None: whether there is one was never heard.
    entry: Option<Entry>,
}

impl LineElection {
    /// An election over servers; a session takes up to `opening` to open. Servers that can't be reached now
    /// are tried again for as long as this lives.
    ///
    /// # Errors
    /// [`Error::Configuration`] when it can't work: with what is wrong and what to do.
    pub(crate) async fn start(servers: impl Servers, opening: Duration) -> Result<Self, Error> {
        let terms: Arc<Terms> = Arc::default();
        let (tell, state) = watch::channel(State::Opening);
        let (abandoned, received) = mpsc::unbounded_channel();
        let mut keeper = Keeper::new(Box::new(servers), opening, tell, Arc::clone(&terms), received);
        let first = keeper.open().await;
        match &first {
            Err(error) if !error.retryable() => return Err(error.clone()),
            Err(error) => tracing::warn!(%error, "the election is tried again"),
            Ok(_) => {}
        }
        drop(tokio::spawn(keeper.run(first)));
        Ok(Self { shared: Arc::new(Shared { state, terms, abandoned }) })
    }

    /// The session, and which it is. Waits for one that is being opened.
    async fn session(&self) -> Result<(Arc<dyn Session>, u64), Error> {
        let mut state = self.shared.state.clone();
        let known = state.wait_for(|state| !matches!(state, State::Opening)).await;
        match known.as_deref() {
            Ok(State::Open(session, number)) => Ok((Arc::clone(session), *number)),
            Ok(State::Closed(error)) => Err(error.clone()),
            Ok(State::Opening) | Err(_) => {
                Err(Error::Unavailable { reason: "the session's task has ended".to_owned() })
            }
        }
    }

    /// Waits until a session is not the present one any more.
    async fn is_over(&self, number: u64) {
        let mut state = self.shared.state.clone();
        let other = |state: &State| !matches!(state, State::Open(_, present) if *present == number);
        // A closed channel is an end as well.
        drop(state.wait_for(other).await);
    }
}

/// Does something until the servers answer: who waits in a line loses its place only with its session.
async fn patiently<T, F>(ask: impl Fn() -> F + Send) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>> + Send,
{
    loop {
        match ask().await {
            Err(error) if error.retryable() => {
                tracing::debug!(%error, "the election's servers are asked again");
                tokio::time::sleep(AGAIN).await;
            }
            other => return other,
        }
    }
}

#[async_trait]
impl Election for LineElection {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        loop {
            let (session, number) = self.session().await?;
            let candidacy = Candidacy::new(self.clone(), name);
            // Safe to cancel: a candidacy that is dropped is taken back.
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
        let ended = session.leave(&entry).await?;
        // One's own term needs no servers to hear of it.
        self.shared.terms.end(&entry.key);
        Ok(ended)
    }
}

/// A candidacy, until it is won or dropped.
#[derive(Debug)]
struct Candidacy {
    election: LineElection,
    name: String,
    id: String,
    entry: Option<Entry>,
    is_won: bool,
}

impl Candidacy {
    fn new(election: LineElection, name: &str) -> Self {
        let id = uuid::Uuid::now_v7().simple().to_string();
        Self { election, name: name.to_owned(), id, entry: None, is_won: false }
    }

    /// Stands, waits for its turn, and leads; none: the entry was removed meanwhile.
    async fn lead(
        mut self,
        session: &Arc<dyn Session>,
        number: u64,
        candidate: &str,
    ) -> Result<Option<Leadership>, Error> {
        let asked = AtomicBool::new(false);
        let stand = || session.stand(&self.name, &self.id, candidate, asked.swap(true, Ordering::Relaxed));
        let entry = patiently(stand).await?;
        self.entry = Some(entry.clone());
        if !patiently(|| session.until_first(&entry)).await? {
            return Ok(None);
        }
        let Some(since_ms) = patiently(|| session.begin(&entry, candidate)).await? else { return Ok(None) };
        let Some(lost) = self.election.shared.terms.begin(number, session, &entry) else { return Ok(None) };
        self.is_won = true;
        let leader = Leader {
            name: self.name.clone(),
            candidate: candidate.to_owned(),
            token: FencingToken(entry.number),
            since_ms,
        };
        let (election, id) = (self.election.clone(), self.id.clone());
        let term = LineTerm { election, id, entry, is_over: false };
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

impl LineElection {
    fn abandon(&self, abandoned: Abandoned) {
        // Without a task there is no session, and without a session no entry.
        drop(self.shared.abandoned.send(abandoned));
    }
}

/// A term; dropping it gives it up without waiting.
#[derive(Debug)]
struct LineTerm {
    election: LineElection,
    id: String,
    entry: Entry,
    is_over: bool,
}

#[async_trait]
impl Term for LineTerm {
    async fn resign(mut self: Box<Self>) -> Result<(), Error> {
        self.election.shared.terms.end(&self.entry.key);
        let (session, _) = self.election.session().await?;
        // As long as it is not known to be removed, `drop` sees to it.
        session.leave(&self.entry).await?;
        self.is_over = true;
        Ok(())
    }
}

impl Drop for LineTerm {
    fn drop(&mut self) {
        self.election.shared.terms.end(&self.entry.key);
        if !self.is_over {
            let (name, id) = (self.entry.name.clone(), self.id.clone());
            self.election.abandon(Abandoned { name, id, entry: Some(self.entry.clone()) });
        }
    }
}
