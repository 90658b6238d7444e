//! What can be asked of the queues: how they stand, and to move.

use super::answer::{MoveError, Status};
use super::drained::{served, topics, waiting};
use super::phases::{Refused, User};
use super::{Agreed, Queues, Standing, backend};
use goconductor_queue::Topic;
use goconductor_service_kit::config::QueueBackend;
use goconductor_store::Error;
use std::time::Duration;

/// How long the queue that is to be moved to may take to answer, and to make its topics.
const ANSWER: Duration = Duration::from_secs(25);
/// How long a queue that is in use, or was until just now, may take to answer.
const THERE: Duration = Duration::from_secs(5);

impl Queues {
    /// Which queue all processes use, and which they move to.
    ///
    /// # Errors
    /// When the state store does not answer.
    pub async fn standing(&self) -> Result<Standing, Error> {
        Ok(self.on_record().await?.standing)
    }

    /// How all processes stand with their queue.
    ///
    /// # Errors
    /// When the state store does not answer.
    pub async fn status(&self) -> Result<Status, Error> {
        self.status_of(self.on_record().await?).await
    }

    async fn status_of(&self, agreed: Agreed) -> Result<Status, Error> {
        let Agreed { revision, standing, since, .. } = agreed;
        let (mut behind, mut there) = (Vec::new(), None);
        if standing.moving.is_some() {
            let members = self.store.members().await?;
            behind = members.iter().filter_map(User::of).filter(|user| user.applied < revision).collect();
            let topics = topics(&served(&members));
            there = if standing.begins() {
                let asked = tokio::time::timeout(THERE, waiting(&self.queue, &topics)).await;
                asked.unwrap_or_default()
            } else {
                let found = self.queue.waiting_beside(&topics).await;
                found.filter(|found| found.lost == 0 && found.unknown == 0).map(|found| found.waiting)
            };
        }
        Ok(Status { revision, standing, since, behind, waiting: there })
    }

    /// Has all processes move to another queue; to ask for the one that is being left turns a move back. It goes on by
    /// itself: [`status`](Self::status) says how far it is.
    ///
    /// # Errors
    /// When they can't, or may not now.
    pub async fn switch(&self, to: &str, actor: Option<String>) -> Result<Status, MoveError> {
        let Some(backend) = backend(to).filter(|backend| *backend != QueueBackend::Memory) else {
            let others = QueueBackend::ALL.iter().filter(|(_, backend)| *backend != QueueBackend::Memory);
            let all: Vec<&str> = others.map(|(name, _)| *name).collect();
            return Err(MoveError::Unknown(to.to_owned(), all.join(", ")));
        };
        let agreed = self.on_record().await?;
        let next = match agreed.standing.asked(to, actor) {
            Ok(next) => next,
            // A call that is repeated comes to the same.
            Err(Refused::AlreadyAsked) => return Ok(self.status_of(agreed).await?),
            Err(Refused::InUse) => return Err(MoveError::InUse(to.to_owned())),
            Err(Refused::Moving(moving)) => {
                return Err(MoveError::Moving { from: agreed.standing.current, to: moving.to });
            }
        };
        match &agreed.standing.moving {
            None => self.can_move(to, backend).await?,
            // Nobody has left it yet.
            Some(_) if agreed.standing.begins() => {}
            // All have used it until just now.
            Some(_) => self.answers(to, &[], THERE).await?,
        }
        let done = self.agree(&agreed, &next).await?.ok_or(MoveError::Raced)?;
        tracing::info!(from = next.current, to, "the queue is asked to move");
        self.apply(&done);
        self.changed.notify_one();
        Ok(self.status_of(done).await?)
    }

    /// Whether all can reach a queue, and it can be used: its topics are made.
    async fn can_move(&self, to: &str, backend: QueueBackend) -> Result<(), MoveError> {
        let members = self.store.members().await?;
        let mut who: Vec<String> = members
            .iter()
            .filter_map(User::of)
            .filter(|user| !user.backends.iter().any(|each| each == to))
            .map(|user| user.instance)
            .collect();
        if who.is_empty() && !self.config.is_configured(backend) {
            who.push("this gateway".to_owned());
        }
        if !who.is_empty() {
            return Err(MoveError::Lacking { to: to.to_owned(), who });
        }
        self.answers(to, &topics(&served(&members)), ANSWER).await
    }

    /// Whether a queue answers in time, also for these topics, which are made if they are missing.
    async fn answers(&self, to: &str, topics: &[Topic], within: Duration) -> Result<(), MoveError> {
        let unreachable = |reason: String| MoveError::Unreachable { to: to.to_owned(), reason };
        let queue = self.named(to).map_err(|error| unreachable(format!("{error:#}")))?.queue;
        let checked = async {
            queue.check().await?;
            for found in futures::future::join_all(topics.iter().map(|topic| queue.depth(topic))).await {
                found?;
            }
            Ok::<(), goconductor_queue::Error>(())
        };
        match tokio::time::timeout(within, checked).await {
            Ok(checked) => checked.map_err(|error| unreachable(error.to_string())),
            Err(_) => Err(unreachable("it does not answer in time".to_owned())),
        }
    }
}
