//! Which queue this process uses, and how all processes move to another one while they run.
//!
//! What is agreed on stands in the state store: which queue is used, and how far a move has come. Every process looks at
//! it, acts by it, and says in its membership up to which revision it does; whoever sees that all have applied a phase
//! puts the next one on record, by compare-and-set. So no process is needed for a move to go on, and one that starts in
//! the middle knows what to do before it publishes or takes anything.
//!
//! Until a move is on record the configuration says which queue is used; after that it is the record.

mod answer;
mod drained;
mod phases;

use crate::backends::open_queue;
use anyhow::Context;
use drained::topics;
use goconductor_queue::switching::{LOST, Named, Route, SwitchingQueue};
use goconductor_queue::{Queue, Topic};
use goconductor_saga::{Json, Timestamp};
use goconductor_service_kit::config::{self, QueueBackend};
use goconductor_store::{Agreement, Error, Member, Store};
use phases::{ABOUT, Old, Refused};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use answer::{MoveError, Status};
pub use drained::served;
pub use phases::{Move, Phase, Standing, User};

/// What is agreed on stands under this name.
const NAME: &str = "queue";
/// Between looks at what is agreed on; in a move, or before anything is known.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_CLOSELY: Duration = Duration::from_millis(200);
/// A phase takes at least so long: whoever is there, and could not say so just now, has looked in the meantime.
const PHASE: Duration = Duration::from_secs(1);
/// The old queue is empty when nothing has waited in it for so long: some brokers hear later what consumers have fetched.
const EMPTY: Duration = Duration::from_secs(2);
/// How long the queue that is to be moved to may take to answer, and to make its topics.
const ANSWER: Duration = Duration::from_secs(25);

/// The queues of this process.
#[derive(Debug)]
pub struct Queues {
    store: Arc<dyn Store>,
    config: config::Queue,
    /// Who this process is to brokers that want to know.
    identity: String,
    queue: SwitchingQueue,
    /// Those that are used just now.
    opened: Mutex<BTreeMap<String, Arc<dyn Queue>>>,
    known: Mutex<Known>,
    /// Rings when there is something new to say of this process.
    news: Arc<Notify>,
    /// Rings when what is agreed on was changed here.
    changed: Notify,
}

/// What is agreed on, as this process knows it.
#[derive(Debug, Default)]
struct Known {
    agreed: Option<Agreed>,
    /// The revision by which this process acts.
    applied: u64,
    /// The revision for which it is ready to publish to the new queue.
    prepared: u64,
    has_lost_old: bool,
    /// Since when nothing waits in the old queue.
    empty_since: Option<Instant>,
    /// Why it can't act by what is agreed on.
    trouble: Option<String>,
}

#[derive(Debug, Clone)]
struct Agreed {
    revision: u64,
    standing: Standing,
    since: Option<Timestamp>,
    /// When this process saw it first.
    seen: Instant,
}

impl Queues {
    /// The queues of these settings. Nothing is asked of any yet.
    ///
    /// # Errors
    /// When what is configured can't work.
    pub fn new(store: Arc<dyn Store>, config: config::Queue, identity: &str) -> anyhow::Result<Arc<Self>> {
        if config.backend == QueueBackend::Memory {
            anyhow::bail!(
                "queue.backend is memory, which reaches no other process: set queue.backend to kafka and \
                 queue.brokers, or to another broker; or run `goconductor dev`, which is everything in one process"
            );
        }
        // What can't work ends the process now, not in the middle of a move.
        for backend in reached(&config) {
            open_queue(&config, backend, &store, identity).context("queue")?;
        }
        Ok(Arc::new(Self {
            store,
            config,
            identity: identity.to_owned(),
            queue: SwitchingQueue::new(true),
            opened: Mutex::default(),
            known: Mutex::default(),
            news: Arc::default(),
            changed: Notify::new(),
        }))
    }

    /// The queue that all use.
    #[must_use]
    pub fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(self.queue.clone())
    }

    /// Rings when there is something new to say of this process.
    #[must_use]
    pub fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.news)
    }

    /// What a process says of itself, with how it stands with its queues.
    #[must_use]
    pub fn about(&self, mut about: Json) -> Json {
        let backends: Vec<&str> = reached(&self.config).map(QueueBackend::name).collect();
        let known = self.known();
        let said =
            json!({"applied": known.applied, "backends": backends, "has_lost_old": known.has_lost_old});
        match &mut about {
            Json::Object(about) => {
                about.insert(ABOUT.to_owned(), said);
            }
            // Nothing else is known of it yet.
            _ => about = json!({ ABOUT: said }),
        }
        about
    }

    /// Whether the queue in use answers: for readiness.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn check(&self) -> Result<(), String> {
        let trouble = self.known().trouble.clone();
        match trouble {
            Some(trouble) => Err(trouble),
            None => self.queue.check().await.map_err(|error| error.to_string()),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> MutexGuard<'_, BTreeMap<String, Arc<dyn Queue>>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows what is agreed on, and has it go on: for as long as the process lives.
    pub async fn follow(self: Arc<Self>) {
        drop(tokio::spawn(Arc::clone(&self).settle()));
        loop {
            let wait = match self.look().await {
                Ok(Agreed { standing: Standing { moving: None, .. }, .. }) => LOOK,
                Ok(_) => LOOK_CLOSELY,
                Err(error) => {
                    tracing::debug!(%error, "what is agreed on about the queue is not known for now");
                    if self.known().agreed.is_some() { LOOK } else { LOOK_CLOSELY }
                }
            };
            // Both are safe to cancel: the next look sees whatever has changed.
            tokio::select! {
                () = self.changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Gives consumers what they lack of the route: those of queues that are not reached may keep it busy for a while.
    async fn settle(self: Arc<Self>) {
        loop {
            let (settled, prepared) = tokio::join!(self.queue.settle(), self.prepare());
            if let Err(error) = settled {
                tracing::debug!(%error, "not every consumer takes from both queues yet");
            }
            if let Err(error) = prepared {
                tracing::debug!(%error, "can't publish to the new queue yet");
            }
            self.tell();
            let wait = if self.is_moving() { LOOK_CLOSELY } else { LOOK };
            tokio::time::sleep(wait).await;
        }
    }

    /// Has the new queue ready before anybody publishes to it: orders are not to wait for connections.
    async fn prepare(&self) -> anyhow::Result<()> {
        let agreed = self.known().agreed.clone();
        let Some(Agreed { revision, standing, .. }) = agreed else { return Ok(()) };
        if !standing.begins() || self.known().prepared == revision {
            return Ok(());
        }
        let members = self.store.members().await?;
        self.queue.prepare_beside(&topics(&served(&members))).await?;
        self.known().prepared = revision;
        Ok(())
    }

    fn is_moving(&self) -> bool {
        self.known().agreed.as_ref().is_none_or(|agreed| agreed.standing.moving.is_some())
    }

    /// What is agreed on now: acts by it, and has it go on if the time has come.
    async fn look(&self) -> Result<Agreed, Error> {
        let agreed = self.agreed(self.store.agreement(NAME).await?)?;
        self.apply(&agreed);
        self.tell();
        let Some(Move { phase, .. }) = agreed.standing.moving else { return Ok(agreed) };
        let members = self.store.members().await?;
        let old = if phase == Phase::Draining { self.old(&members).await } else { Old::Unknown };
        let users: Vec<User> = members.iter().filter_map(User::of).collect();
        if agreed.seen.elapsed() < PHASE {
            return Ok(agreed);
        }
        let Some(next) = agreed.standing.next(agreed.revision, &users, old) else { return Ok(agreed) };
        // Whoever comes second finds that it was done.
        let Some(done) = self.agree(&agreed, &next).await? else { return Ok(agreed) };
        match &next.moving {
            Some(moving) => {
                tracing::info!(
                    from = next.current,
                    to = moving.to,
                    phase = moving.phase.as_str(),
                    "the queue moves"
                );
            }
            None => tracing::info!(queue = next.current, ?old, "the queue has moved"),
        }
        self.apply(&done);
        Ok(done)
    }

    /// What is agreed on, in a form that this process can use.
    fn agreed(&self, agreement: Option<Agreement>) -> Result<Agreed, Error> {
        let seen = Instant::now();
        let Some(Agreement { revision, value, since }) = agreement else {
            let standing = Standing::on(self.config.backend.name());
            return Ok(Agreed { revision: 0, standing, since: None, seen });
        };
        let standing = serde_json::from_value(value).map_err(|error| {
            let what = "what is agreed on about the queue".to_owned();
            Error::Corrupt { what, reason: error.to_string() }
        })?;
        let known =
            self.known().agreed.as_ref().filter(|known| known.revision == revision).map(|known| known.seen);
        Ok(Agreed { revision, standing, since: Some(since), seen: known.unwrap_or(seen) })
    }

    async fn agree(&self, agreed: &Agreed, next: &Standing) -> Result<Option<Agreed>, Error> {
        let done = self.store.agree(NAME, agreed.revision, &json!(next)).await?;
        done.map(|done| self.agreed(Some(done))).transpose()
    }

    /// Acts by what is agreed on, if it is not known yet.
    fn apply(&self, agreed: &Agreed) {
        if self.known().agreed.as_ref().is_some_and(|known| known.revision >= agreed.revision) {
            return;
        }
        let (to, beside) = agreed.standing.route();
        let route = self.named(to).and_then(|to| {
            let beside = beside.map(|beside| self.named(beside)).transpose()?;
            Ok(Route { to, beside })
        });
        let trouble = match route {
            Ok(route) => {
                let is_used = |name: &str| *name == *route.to.name || beside == Some(name);
                let gone: Vec<_> = self.opened().extract_if(.., |name, _| !is_used(name)).collect();
                self.queue.set(route);
                // A broker's library may take its time to say good-bye.
                drop(tokio::task::spawn_blocking(move || drop(gone)));
                None
            }
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(trouble) = &trouble {
            tracing::error!(trouble, "the queue in use can't be used by this process");
        } else {
            self.warn(agreed);
        }
        let mut known = self.known();
        (known.agreed, known.trouble) = (Some(agreed.clone()), trouble);
        (known.has_lost_old, known.empty_since) = (false, None);
        drop(known);
        self.tell();
    }

    /// Says so where the configuration is not what is in use.
    fn warn(&self, agreed: &Agreed) {
        let (configured, current) = (self.config.backend.name(), &agreed.standing.current);
        if agreed.standing.moving.is_none() && configured != current {
            tracing::warn!(
                "queue.backend is {configured}, but all have moved to {current}, which is used: set queue.backend \
                 to {current}"
            );
        }
    }

    fn named(&self, name: &str) -> anyhow::Result<Named> {
        let mut opened = self.opened();
        let queue = match opened.get(name) {
            Some(queue) => Arc::clone(queue),
            None => {
                let backend = backend(name).filter(|backend| self.config.reaches(*backend)).with_context(|| {
                    format!(
                        "the queue in use is {name}, and this process's configuration does not say how to reach it: \
                         add its section below queue"
                    )
                })?;
                let queue =
                    open_queue(&self.config, backend, &self.store, &self.identity).context("queue")?;
                opened.insert(name.to_owned(), Arc::clone(&queue));
                queue
            }
        };
        Ok(Named { name: name.into(), queue })
    }

    /// Says up to which revision this process acts, once it has something new to say.
    fn tell(&self) {
        let mut known = self.known();
        let Some(Agreed { revision, standing, .. }) = &known.agreed else { return };
        let revision = *revision;
        if standing.begins() && known.prepared != revision {
            return;
        }
        if known.trouble.is_some() || known.applied == revision || self.queue.lacking(standing.newest()) > 0 {
            return;
        }
        known.applied = revision;
        drop(known);
        tracing::debug!(revision, "acts by what is agreed on about the queue");
        self.news.notify_one();
    }

    /// What there is in the old queue, of what anybody takes from it: the rest comes back by the ledger.
    async fn old(&self, members: &[Member]) -> Old {
        let waiting = self.queue.waiting_beside(&topics(&served(members))).await;
        let has_lost_old = waiting.is_err() && self.queue.unreached_for().is_some_and(|time| time >= LOST);
        let mut known = self.known();
        known.empty_since = match waiting {
            Ok(Some(0)) => known.empty_since.or(Some(Instant::now())),
            Ok(_) | Err(_) => None,
        };
        if std::mem::replace(&mut known.has_lost_old, has_lost_old) != has_lost_old {
            self.news.notify_one();
        }
        match known.empty_since {
            Some(since) if since.elapsed() >= EMPTY => Old::Empty,
            _ if has_lost_old => Old::Lost,
            Some(_) | None => Old::Unknown,
        }
    }

    /// How all processes stand with their queue.
    ///
    /// # Errors
    /// When the state store does not answer.
    pub async fn status(&self) -> Result<Status, Error> {
        let agreed = self.agreed(self.store.agreement(NAME).await?)?;
        self.status_of(agreed).await
    }

    async fn status_of(&self, agreed: Agreed) -> Result<Status, Error> {
        let Agreed { revision, standing, since, .. } = agreed;
        let (mut behind, mut waiting) = (Vec::new(), None);
        if standing.moving.is_some() {
            let members = self.store.members().await?;
            behind = members.iter().filter_map(User::of).filter(|user| user.applied < revision).collect();
            let old = self.opened().get(&standing.current).cloned();
            if let Some(old) = old {
                waiting = drained::waiting(&*old, &topics(&served(&members))).await;
            }
        }
        Ok(Status { revision, standing, since, behind, waiting })
    }

    /// Has all processes move to another queue; to ask for the one that is being left turns a move back. It goes on by
    /// itself: [`status`](Self::status) says how far it is.
    ///
    /// # Errors
    /// When they can't, or may not now.
    pub async fn switch(&self, to: &str, actor: Option<String>) -> Result<Status, MoveError> {
        let Some(backend) = backend(to).filter(|backend| *backend != QueueBackend::Memory) else {
            let all: Vec<&str> = QueueBackend::ALL.iter().map(|(name, _)| *name).skip(1).collect();
            return Err(MoveError::Unknown(to.to_owned(), all.join(", ")));
        };
        let agreed = self.agreed(self.store.agreement(NAME).await?)?;
        let next = match agreed.standing.asked(to, actor) {
            Ok(next) => next,
            // A call that is repeated comes to the same.
            Err(Refused::AlreadyAsked) => return Ok(self.status_of(agreed).await?),
            Err(Refused::InUse) => return Err(MoveError::InUse(to.to_owned())),
            Err(Refused::Moving(moving)) => {
                return Err(MoveError::Moving { from: agreed.standing.current, to: moving.to });
            }
        };
        // Who turns back needs to know no more.
        if agreed.standing.moving.is_none() {
            self.can_move(to, backend).await?;
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
        if who.is_empty() && !self.config.reaches(backend) {
            who.push("this gateway".to_owned());
        }
        if !who.is_empty() {
            return Err(MoveError::Lacking { to: to.to_owned(), who });
        }
        let unreachable = |reason: String| MoveError::Unreachable { to: to.to_owned(), reason };
        let queue = self.named(to).map_err(|error| unreachable(format!("{error:#}")))?.queue;
        let topics: Vec<Topic> = topics(&served(&members));
        let checked = async {
            queue.check().await?;
            for found in futures::future::join_all(topics.iter().map(|topic| queue.depth(topic))).await {
                found?;
            }
            Ok::<(), goconductor_queue::Error>(())
        };
        match tokio::time::timeout(ANSWER, checked).await {
            Ok(checked) => checked.map_err(|error| unreachable(error.to_string())),
            Err(_) => Err(unreachable("it does not answer in time".to_owned())),
        }
    }
}

fn backend(name: &str) -> Option<QueueBackend> {
    QueueBackend::ALL.iter().find(|(known, _)| *known == name).map(|(_, backend)| *backend)
}

/// The queues that a configuration says how to reach.
fn reached(config: &config::Queue) -> impl Iterator<Item = QueueBackend> {
    QueueBackend::ALL.iter().map(|(_, backend)| *backend).filter(|backend| config.reaches(*backend))
}
