//! Which queue this process uses, and how all processes move to another one while they run.
//!
//! What is agreed on stands in the state store: which queue is used, and how far a move has come. Every process looks at
//! it, acts by it, and says in its membership up to which revision it does; whoever sees that all have applied a phase
//! puts the next one on record, by compare-and-set. So no process is needed for a move to go on, and one that starts in
//! the middle knows what to do before it publishes or takes anything.
//!
//! Until a move is on record the configuration says which queue is used; after that it is the record.

mod answer;
mod asked;
mod drained;
mod phases;

use crate::backends::open_queue;
use anyhow::Context;
use drained::topics;
use goconductor_queue::Queue;
use goconductor_queue::switching::{Beside, Named, Route, SwitchingQueue};
use goconductor_saga::Timestamp;
use goconductor_service_kit::config::{self, QueueBackend};
use goconductor_store::{ConfigEntry, Error, Member, QueueView, Store};
use phases::Old;
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
/// Between looks at what waits in the old queue, to see whether it is empty.
const LOOK_AT_OLD: Duration = Duration::from_secs(1);
/// The old queue is empty when nothing has waited in it for so long: some brokers hear only every other second what
/// consumers have fetched.
const EMPTY: Duration = Duration::from_secs(5);
/// A service counts as served for so long after it was: whoever serves it may just be starting again.
const SERVED: Duration = Duration::from_secs(30);

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
    /// One at a time acts by what is agreed on.
    applying: Mutex<()>,
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
    /// When it was last looked what waits in the old queue, and since when nothing does.
    old_seen: Option<Instant>,
    empty_since: Option<Instant>,
    /// Services, and when each was last seen to be served.
    served: BTreeMap<(String, String), Instant>,
    /// Why it can't act by what is agreed on.
    trouble: Option<String>,
    /// Whether it can't use the old queue.
    lacks_old: bool,
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
        for backend in config.configured() {
            open_queue(&config, backend, &store, identity).context("queue")?;
        }
        Ok(Arc::new(Self {
            store,
            config,
            identity: identity.to_owned(),
            queue: SwitchingQueue::new(true),
            opened: Mutex::default(),
            known: Mutex::default(),
            applying: Mutex::default(),
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

    /// The queues of this process, as it publishes them with its membership.
    #[must_use]
    pub fn view(&self) -> QueueView {
        let backends = self.config.configured().map(|backend| backend.name().to_owned()).collect();
        let known = self.known();
        let (applied, has_lost_old) = (known.applied, known.has_lost_old);
        QueueView { applied, backends, has_lost_old, ..QueueView::default() }
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
        drop(tokio::spawn(Arc::clone(&self).make_ready()));
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

    /// Gives consumers what they lack of the route.
    async fn settle(self: Arc<Self>) {
        loop {
            // What takes longer goes on by itself.
            if let Ok(Err(error)) = tokio::time::timeout(LOOK, self.queue.settle()).await {
                tracing::debug!(%error, "not every consumer takes from both queues yet");
            }
            self.tell();
            tokio::time::sleep(self.pause()).await;
        }
    }

    async fn make_ready(self: Arc<Self>) {
        loop {
            if let Err(error) = self.prepare().await {
                tracing::debug!(%error, "can't publish to the new queue yet");
            }
            self.tell();
            tokio::time::sleep(self.pause()).await;
        }
    }

    fn pause(&self) -> Duration {
        let is_quiet = self.known().agreed.as_ref().is_some_and(|agreed| agreed.standing.moving.is_none());
        if is_quiet { LOOK } else { LOOK_CLOSELY }
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

    /// What is agreed on now: acts by it, and has it go on if the time has come.
    async fn look(&self) -> Result<Agreed, Error> {
        let agreed = self.on_record().await?;
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

    /// What is agreed on now.
    async fn on_record(&self) -> Result<Agreed, Error> {
        self.agreed(self.store.config_entry(NAME).await?)
    }

    /// What is agreed on, in a form that this process can use.
    fn agreed(&self, entry: Option<ConfigEntry>) -> Result<Agreed, Error> {
        let seen = Instant::now();
        let Some(ConfigEntry { revision, value, since }) = entry else {
            let standing = Standing::on(self.config.backend.name());
            return Ok(Agreed { revision: 0, standing, since: None, seen });
        };
        let standing = serde_json::from_value(value).map_err(|error| {
            Error::corrupt("the queue's configuration entry", error.to_string()).caused_by(error)
        })?;
        let known =
            self.known().agreed.as_ref().filter(|known| known.revision == revision).map(|known| known.seen);
        Ok(Agreed { revision, standing, since: Some(since), seen: known.unwrap_or(seen) })
    }

    async fn agree(&self, agreed: &Agreed, next: &Standing) -> Result<Option<Agreed>, Error> {
        let done = self.store.compare_and_set(NAME, agreed.revision, &json!(next)).await?;
        done.map(|done| self.agreed(Some(done))).transpose()
    }

    /// Acts by what is agreed on, if it does not yet.
    fn apply(&self, agreed: &Agreed) {
        let _one = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let known = {
            let known = self.known();
            let revision = known.agreed.as_ref().map(|known| known.revision);
            (revision, known.trouble.is_none() && !known.lacks_old)
        };
        match known {
            (Some(known), _) if known > agreed.revision => return,
            (Some(known), true) if known == agreed.revision => return,
            // It may have passed.
            (Some(_) | None, _) => {}
        }
        let is_news = known.0 != Some(agreed.revision);
        let (trouble, lacks_old) = match self.act(agreed) {
            Ok(lacks) if agreed.standing.begins() => (lacks, None),
            Ok(lacks) => (None, lacks),
            Err(error) => (Some(format!("{error:#}")), None),
        };
        match (&trouble, &lacks_old) {
            (Some(trouble), _) if is_news => tracing::error!(trouble, "this process can't use the queue"),
            (_, Some(trouble)) if is_news => {
                tracing::warn!(trouble, "this process can't take from the queue that is left: others do");
            }
            (Some(_), _) | (_, Some(_)) => {}
            (None, None) => self.warn(agreed),
        }
        let mut known = self.known();
        (known.agreed, known.trouble) = (Some(agreed.clone()), trouble);
        known.lacks_old = lacks_old.is_some();
        known.has_lost_old = known.lacks_old;
        (known.old_seen, known.empty_since) = (None, None);
        drop(known);
        self.tell();
    }

    /// Has the queues used that are to be; why the one that is consumed beside the other can't be, if so.
    fn act(&self, agreed: &Agreed) -> anyhow::Result<Option<String>> {
        let (to, beside) = agreed.standing.route();
        let to = self.named(to)?;
        let (beside, lacks) = match beside.map(|beside| self.named(beside)).transpose() {
            Ok(beside) => (beside, None),
            // It is no reason to do without the other.
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let is_used =
            |name: &str| *name == *to.name || beside.as_ref().is_some_and(|beside| *name == *beside.name);
        self.opened().retain(|name, _| is_used(name));
        self.queue.set(Route { to, beside, beside_is_new: agreed.standing.begins() });
        Ok(lacks)
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
                let backend = backend(name).filter(|backend| self.config.is_configured(*backend)).with_context(|| {
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
        let now = Instant::now();
        let services = {
            let mut known = self.known();
            if known.old_seen.is_some_and(|seen| now.duration_since(seen) < LOOK_AT_OLD) {
                return Old::Unknown;
            }
            known.old_seen = Some(now);
            known.served.extend(served(members).into_iter().map(|service| (service, now)));
            known.served.retain(|_, seen| now.duration_since(*seen) < SERVED);
            known.served.keys().cloned().collect()
        };
        let found = self.queue.waiting_beside(&topics(&services)).await;
        let mut known = self.known();
        let (is_empty, has_lost_old) = match found {
            Some(Beside { waiting: 0, unknown: 0, lost }) => (lost == 0, lost > 0),
            Some(_) => (false, false),
            None => (false, known.lacks_old),
        };
        known.empty_since = if is_empty { known.empty_since.or(Some(now)) } else { None };
        if std::mem::replace(&mut known.has_lost_old, has_lost_old) != has_lost_old {
            self.news.notify_one();
        }
        match known.empty_since {
            Some(since) if since.elapsed() >= EMPTY => Old::Empty,
            _ if has_lost_old => Old::Lost,
            Some(_) | None => Old::Unknown,
        }
    }
}

fn backend(name: &str) -> Option<QueueBackend> {
    QueueBackend::ALL.iter().find(|(known, _)| *known == name).map(|(_, backend)| *backend)
}
