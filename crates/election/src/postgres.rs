//! Elections on PostgreSQL: a leader holds an advisory lock, for as long as its session lives, and the token
//! is an epoch that is raised under that lock.
//!
//! All terms of a process hang on one session, which a task of its own holds. It says so to the server well
//! within the lease; and the server is told to end a session that it has not heard of for a lease, so that
//! one who was paused or cut off is replaced. Who holds the session gives its terms up sooner than that.
//!
//! Session locks know only sessions: behind a pooler that hands a session's statements to any connection they
//! vanish, or stay with a stranger. So the session carries a mark of its own, and where the mark is not found
//! again the address is refused.
//!
//! A lock by itself protects nothing: a paused leader believes in it still. The epoch does, checked where a
//! write lands.

mod session;

use crate::{Election, Error, Leader, Leadership, Term};
use async_trait::async_trait;
use session::{Ask, Session};
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Between tries to be elected: a hand-over takes half of it, mostly.
const PAUSE: Duration = Duration::from_millis(250);

/// What an election on PostgreSQL is set to.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// One who leads and is not heard of for this long is replaced.
    pub lease: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lease: Duration::from_secs(5) }
    }
}

/// Elections on PostgreSQL. Clones share their session, and with that are one process to the others.
#[derive(Debug, Clone)]
pub struct PostgresElection {
    asks: mpsc::UnboundedSender<Ask>,
}

impl PostgresElection {
    /// Elections at a database's direct address. A server that can't be reached now is tried again for as
    /// long as this lives.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the address can't work: with what is wrong and what to do.
    pub async fn connect(url: &str, settings: Settings) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| Error::Configuration { reason: error.to_string() })?;
        let mut session = Session::new(options, settings.lease);
        match session.connect().await {
            Ok(()) => {}
            Err(Error::Unavailable { reason }) => {
                tracing::warn!(reason, "the election can't be reached, and is tried again");
            }
            Err(error) => return Err(error),
        }
        let (asks, asked) = mpsc::unbounded_channel();
        drop(tokio::spawn(session.run(asked)));
        Ok(Self { asks })
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Ask) -> Result<T, Error> {
        let gone = || Error::Unavailable { reason: "the session's task has ended".to_owned() };
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

#[async_trait]
impl Election for PostgresElection {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        loop {
            let (name, candidate) = (name.to_owned(), candidate.to_owned());
            // Safe to cancel: what is won for one who has gone is given up with the answer.
            let won = self.ask(|answer| Ask::Stand { name, candidate, answer }).await?;
            if let Some((leader, lost)) = won.map(|won| won.take()) {
                let term = PostgresTerm { leader: leader.clone(), election: self.clone(), is_over: false };
                return Ok(Leadership::new(leader, lost, Box::new(term)));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        let name = Some(name.to_owned());
        Ok(self.ask(|answer| Ask::Leaders { name, answer }).await?.pop())
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        self.ask(|answer| Ask::Leaders { name: None, answer }).await
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        let name = name.to_owned();
        self.ask(|answer| Ask::StepDown { name, answer }).await
    }
}

/// A term; dropping it gives it up without waiting.
#[derive(Debug)]
struct PostgresTerm {
    leader: Leader,
    election: PostgresElection,
    is_over: bool,
}

#[async_trait]
impl Term for PostgresTerm {
    async fn resign(mut self: Box<Self>) -> Result<(), Error> {
        self.is_over = true;
        let Leader { name, token, .. } = self.leader.clone();
        self.election.ask(|answer| Ask::Resign { name, token, answer: Some(answer) }).await
    }
}

impl Drop for PostgresTerm {
    fn drop(&mut self) {
        if !self.is_over {
            let Leader { name, token, .. } = self.leader.clone();
            // Without a task there is no session, and without a session no term.
            drop(self.election.asks.send(Ask::Resign { name, token, answer: None }));
        }
    }
}
