//! Elections on PostgreSQL. A leader holds an advisory lock as long as its session lives. The token is an epoch that is
//! raised under that lock.
//!
//! All terms of a process depend on one session, which a separate task owns. The task sends heartbeats well within the
//! lease. The server ends a session without statements for the duration of the lease, so that a process that was paused
//! or cut off is replaced. The task ends its terms before that time.
//!
//! Advisory locks belong to a session. A pooler that runs the statements of a client in any connection loses the locks or
//! leaves them to another client. The session therefore sets a marker, and an address at which the marker cannot be read
//! back is refused.
//!
//! A lock alone does not protect a write, because a paused leader still assumes that it holds the lock. The epoch does
//! protect it, where it is checked.

mod session;

use crate::{Election, Error, Leader, Leadership, Term};
use async_trait::async_trait;
use session::{Session, SessionRequest};
use sqlx::postgres::PgConnectOptions;
use std::str::FromStr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The interval between attempts to win. A handover takes half of it on average.
const CAMPAIGN_INTERVAL: Duration = Duration::from_millis(250);

/// Settings of an election on PostgreSQL.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The time after which a leader without a heartbeat is replaced.
    pub lease: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lease: Duration::from_secs(5) }
    }
}

/// Elections on PostgreSQL. Clones share one session and therefore count as one process.
#[derive(Debug, Clone)]
pub struct PostgresElection {
    requests: mpsc::UnboundedSender<SessionRequest>,
}

impl PostgresElection {
    /// Connects to the direct address of a database. The election retries while the server cannot be reached.
    ///
    /// # Errors
    /// Returns [`Error::Configuration`] if the address is invalid or leads to a pooler.
    pub async fn connect(url: &str, settings: Settings) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|error| Error::Configuration { reason: error.to_string() })?;
        let mut session = Session::new(options, settings.lease);
        match session.connect().await {
            Ok(()) => {}
            Err(Error::Unavailable { reason }) => {
                tracing::warn!(reason, "the election database is unavailable; retrying");
            }
            Err(error) => return Err(error),
        }
        let (requests, received) = mpsc::unbounded_channel();
        drop(goconductor_supervisor::spawn("election-session", session.run(received)));
        Ok(Self { requests })
    }

    async fn request<T>(
        &self,
        build: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> SessionRequest,
    ) -> Result<T, Error> {
        let closed = || Error::Unavailable { reason: "the task of the session has ended".to_owned() };
        let (answer, answered) = oneshot::channel();
        self.requests.send(build(answer)).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

#[async_trait]
impl Election for PostgresElection {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        loop {
            let (name, candidate) = (name.to_owned(), candidate.to_owned());
            // Safe to cancel: a term whose response was dropped is ended.
            let won = self.request(|answer| SessionRequest::Campaign { name, candidate, answer }).await?;
            if let Some((leader, lost)) = won.map(|won| won.take()) {
                let term = PostgresTerm { leader: leader.clone(), election: self.clone(), is_over: false };
                return Ok(Leadership::new(leader, lost, Box::new(term)));
            }
            tokio::time::sleep(CAMPAIGN_INTERVAL).await;
        }
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        let name = Some(name.to_owned());
        Ok(self.request(|answer| SessionRequest::Leaders { name, answer }).await?.pop())
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        self.request(|answer| SessionRequest::Leaders { name: None, answer }).await
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        let name = name.to_owned();
        self.request(|answer| SessionRequest::StepDown { name, answer }).await
    }
}

/// A won term. Dropping it ends the term without waiting.
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
        self.election.request(|answer| SessionRequest::Resign { name, token, answer: Some(answer) }).await
    }
}

impl Drop for PostgresTerm {
    fn drop(&mut self) {
        if !self.is_over {
            let Leader { name, token, .. } = self.leader.clone();
            // Without the task there is no session, and without a session no term.
            drop(self.election.requests.send(SessionRequest::Resign { name, token, answer: None }));
        }
    }
}
