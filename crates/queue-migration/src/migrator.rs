//! The part of a migration that each process does: poll the entry, apply it, and start the next phase.

use crate::client::QueueClient;
use crate::migration::{DrainState, MigrationPhase, MigrationTarget, QueueMigration};
use crate::served::{served, topics};
use crate::view::{LocalView, Versioned};
use goconductor_queue::Queue;
use goconductor_queue::switching::{NamedQueue, Route, SecondaryBacklog, SwitchingQueue};
use goconductor_store::{ClusterStore, ConfigEntry, Error, Member, QueueView};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Name of the configuration entry.
const ENTRY: &str = "queue";
/// Interval between polls of the entry.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Interval between polls during a migration, and until the entry has been read once.
const MIGRATION_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Minimum duration of a phase. A process that is running but could not renew its membership polls the entry within
/// this time.
const MIN_PHASE: Duration = Duration::from_secs(1);
/// Interval between samples of the old queue's backlog.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Period in which all samples of the old queue must be empty. Some brokers receive only every other second which messages
/// consumers have fetched.
const EMPTY_PERIOD: Duration = Duration::from_secs(5);
/// Time for which a service counts as served after the last member that served it. Its executor may be restarting.
const SERVED_PERIOD: Duration = Duration::from_secs(30);

/// Opens the queues of a process by name.
pub trait QueueFactory: fmt::Debug + Send + Sync {
    /// Returns the queue that the configuration names, which is in use until the first migration.
    fn default_queue(&self) -> &str;

    /// Returns the names of all queues that processes can migrate to.
    fn supported(&self) -> Vec<&str>;

    /// Returns the names of the queues that are configured for this process.
    fn configured(&self) -> Vec<&str>;

    /// Opens a queue, without a request to its brokers.
    ///
    /// # Errors
    /// Returns `Error::Configuration` if the queue is not configured, or if its settings cannot work.
    fn open(&self, name: &str) -> Result<Arc<dyn Queue>, goconductor_queue::Error>;
}

/// The queue of a process, which follows all migrations.
#[derive(Debug)]
pub struct QueueMigrator {
    pub(crate) store: Arc<dyn ClusterStore>,
    pub(crate) factory: Arc<dyn QueueFactory>,
    pub(crate) queue: SwitchingQueue,
    /// The queues of the current route, by name.
    open: Mutex<BTreeMap<String, Arc<dyn Queue>>>,
    view: Mutex<LocalView>,
    /// Serializes the application of revisions.
    applying: Mutex<()>,
    /// Notified when [`QueueMigrator::view`] changed.
    view_changed: Arc<Notify>,
    /// Notified when this process changed the entry.
    pub(crate) entry_changed: Notify,
}

impl QueueMigrator {
    /// Creates a migrator without a request to the store or to any queue.
    ///
    /// # Errors
    /// Returns the error of the factory for a configured queue whose settings cannot work. It is better reported at the
    /// start of the process than in the middle of a migration.
    pub fn new(
        store: Arc<dyn ClusterStore>,
        factory: Arc<dyn QueueFactory>,
    ) -> Result<Arc<Self>, goconductor_queue::Error> {
        for name in factory.configured() {
            factory.open(name)?;
        }
        Ok(Arc::new(Self {
            store,
            factory,
            queue: SwitchingQueue::new(true),
            open: Mutex::default(),
            view: Mutex::default(),
            applying: Mutex::default(),
            view_changed: Arc::default(),
            entry_changed: Notify::new(),
        }))
    }

    /// Returns the queue in use. It stays valid across migrations.
    #[must_use]
    pub fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(self.queue.clone())
    }

    /// Returns the names of the queues in use: one, and during a migration two.
    #[must_use]
    pub fn in_use(&self) -> Vec<String> {
        let view = self.view.lock();
        let Some(newest) = &view.newest else { return vec![self.factory.default_queue().to_owned()] };
        let (primary, secondary) = newest.value.route();
        std::iter::once(primary).chain(secondary).map(str::to_owned).collect()
    }

    /// Closes the queues that were opened only to check them, so that they are opened with new settings.
    pub fn close_unused(&self) {
        let in_use = self.in_use();
        self.open.lock().retain(|name, _| in_use.contains(name));
    }

    /// Returns the queues of this process, to be published with its membership.
    #[must_use]
    pub fn view(&self) -> QueueView {
        let backends = self.factory.configured().into_iter().map(str::to_owned).collect();
        let view = self.view.lock();
        let (applied, has_lost_old) = (view.applied, view.has_lost_old);
        QueueView { applied, backends, has_lost_old, ..QueueView::default() }
    }

    /// Returns a notification of changes of [`view`](Self::view).
    #[must_use]
    pub fn view_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.view_changed)
    }

    /// Checks that the queue in use responds, for readiness.
    ///
    /// # Errors
    /// Returns a description of the failure.
    pub async fn check(&self) -> Result<(), String> {
        let failure = self.view.lock().failure.clone();
        match failure {
            Some(failure) => Err(failure),
            None => self.queue.check().await.map_err(|error| error.report()),
        }
    }

    /// Follows the entry and drives migrations. It runs until the process ends.
    pub async fn run(self: Arc<Self>) {
        drop(goconductor_supervisor::spawn("queue-attach", Arc::clone(&self).attach_loop()));
        drop(goconductor_supervisor::spawn("queue-prepare", Arc::clone(&self).prepare_loop()));
        loop {
            let wait = match self.poll().await {
                Ok(newest) if newest.value.target.is_none() => POLL_INTERVAL,
                Ok(_) => MIGRATION_POLL_INTERVAL,
                Err(error) => {
                    tracing::debug!(%error, "poll of the queue migration failed");
                    if self.view.lock().newest.is_some() { POLL_INTERVAL } else { MIGRATION_POLL_INTERVAL }
                }
            };
            // Both arms are cancel-safe: the next poll reads every change.
            tokio::select! {
                () = self.entry_changed.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Returns the queue with this name, and opens it if it is not open.
    pub(crate) fn open(&self, name: &str) -> Result<NamedQueue, goconductor_queue::Error> {
        let mut open = self.open.lock();
        let queue = match open.get(name) {
            Some(queue) => Arc::clone(queue),
            None => {
                let queue = self.factory.open(name)?;
                open.insert(name.to_owned(), Arc::clone(&queue));
                queue
            }
        };
        Ok(NamedQueue { name: name.into(), queue })
    }

    /// Reads the entry.
    pub(crate) async fn read(&self) -> Result<Versioned<QueueMigration>, Error> {
        self.versioned(self.store.config_entry(ENTRY).await?)
    }

    /// Replaces `current` with `next`. Returns `None` if the entry has another revision.
    pub(crate) async fn compare_and_set(
        &self,
        current: &Versioned<QueueMigration>,
        next: &QueueMigration,
    ) -> Result<Option<Versioned<QueueMigration>>, Error> {
        let entry = self.store.compare_and_set(ENTRY, current.revision, &json!(next)).await?;
        entry.map(|entry| self.versioned(Some(entry))).transpose()
    }

    /// Applies a revision, unless it is applied already or a newer one is known. A failed application is repeated.
    pub(crate) fn apply(&self, newest: &Versioned<QueueMigration>) {
        let _applying = self.applying.lock();
        let (known, is_applied) = {
            let view = self.view.lock();
            let known = view.newest.as_ref().map(|newest| newest.revision);
            (known, view.failure.is_none() && !view.lacks_old)
        };
        if known.is_some_and(|known| known > newest.revision || (known == newest.revision && is_applied)) {
            return;
        }
        let (failure, lacks_old) = match self.set_route(newest) {
            // Nothing is published to the new queue yet, but this process will have to.
            Ok(missing) if newest.value.is_starting() => (missing, None),
            Ok(missing) => (None, missing),
            Err(error) => (Some(error.report()), None),
        };
        if known != Some(newest.revision) {
            self.log(newest, failure.as_deref(), lacks_old.as_deref());
        }
        let mut view = self.view.lock();
        (view.newest, view.failure) = (Some(newest.clone()), failure);
        view.lacks_old = lacks_old.is_some();
        view.has_lost_old = view.lacks_old;
        (view.sampled_at, view.empty_since) = (None, None);
        drop(view);
        self.report_applied();
    }

    /// Attaches the consumers of this process to all queues of the route.
    async fn attach_loop(self: Arc<Self>) {
        loop {
            // After the timeout, attaching continues in the background.
            let attached = tokio::time::timeout(POLL_INTERVAL, self.queue.attach_consumers()).await;
            if let Ok(Err(error)) = attached {
                tracing::debug!(
                    error = error.report(),
                    "consumer was not attached to all queues of the route"
                );
            }
            self.report_applied();
            tokio::time::sleep(self.interval()).await;
        }
    }

    async fn prepare_loop(self: Arc<Self>) {
        loop {
            match self.prepare().await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::debug!(error = error.report(), "preparation of the new queue failed")
                }
                Err(error) => tracing::debug!(%error, "members could not be read"),
            }
            self.report_applied();
            tokio::time::sleep(self.interval()).await;
        }
    }

    fn interval(&self) -> Duration {
        let view = self.view.lock();
        let is_settled = view.newest.as_ref().is_some_and(|newest| newest.value.target.is_none());
        if is_settled { POLL_INTERVAL } else { MIGRATION_POLL_INTERVAL }
    }

    /// Prepares the new queue before any process publishes to it, so that publishers do not wait for connections.
    async fn prepare(&self) -> Result<Result<(), goconductor_queue::Error>, Error> {
        let newest = self.view.lock().newest.clone();
        let Some(Versioned { revision, value, .. }) = newest else { return Ok(Ok(())) };
        if !value.is_starting() || self.view.lock().prepared == revision {
            return Ok(Ok(()));
        }
        let members = self.store.members().await?;
        let prepared = self.queue.prepare_secondary(&topics(&served(&members))).await;
        if prepared.is_ok() {
            self.view.lock().prepared = revision;
        }
        Ok(prepared)
    }

    /// Reads the entry, applies it, and starts the next phase if its condition is met.
    async fn poll(&self) -> Result<Versioned<QueueMigration>, Error> {
        let newest = self.read().await?;
        self.apply(&newest);
        self.report_applied();
        let Some(MigrationTarget { phase, .. }) = newest.value.target else { return Ok(newest) };
        let members = self.store.members().await?;
        let old = if phase == MigrationPhase::Draining {
            self.drain_state(&members).await
        } else {
            DrainState::Unknown
        };
        let clients: Vec<QueueClient> = members.iter().filter_map(QueueClient::from_member).collect();
        if newest.first_seen.elapsed() < MIN_PHASE {
            return Ok(newest);
        }
        let Some(next) = newest.value.next(newest.revision, &clients, old) else { return Ok(newest) };
        // On a conflict, another process has started the phase.
        let Some(changed) = self.compare_and_set(&newest, &next).await? else { return Ok(newest) };
        match &next.target {
            Some(MigrationTarget { queue, phase, .. }) => {
                tracing::info!(
                    from = next.current,
                    to = queue,
                    phase = phase.as_str(),
                    "migration phase started"
                );
            }
            None => tracing::info!(queue = next.current, ?old, "queue migration completed"),
        }
        self.apply(&changed);
        Ok(changed)
    }

    fn versioned(&self, entry: Option<ConfigEntry>) -> Result<Versioned<QueueMigration>, Error> {
        let now = Instant::now();
        let Some(ConfigEntry { revision, value, since }) = entry else {
            let value = QueueMigration::settled(self.factory.default_queue());
            return Ok(Versioned { revision: 0, value, since: None, first_seen: now });
        };
        let value = serde_json::from_value(value).map_err(|error| {
            Error::corrupt("the configuration entry of the queue", error.to_string()).caused_by(error)
        })?;
        let view = self.view.lock();
        let known = view.newest.as_ref().filter(|known| known.revision == revision);
        let first_seen = known.map_or(now, |known| known.first_seen);
        Ok(Versioned { revision, value, since: Some(since), first_seen })
    }

    /// Sets the route of a revision. Returns the reason if the secondary queue cannot be opened, in which case the
    /// primary queue is used alone.
    fn set_route(
        &self,
        newest: &Versioned<QueueMigration>,
    ) -> Result<Option<String>, goconductor_queue::Error> {
        let (primary, secondary) = newest.value.route();
        let primary = self.open(primary)?;
        let (secondary, missing) = match secondary.map(|secondary| self.open(secondary)).transpose() {
            Ok(secondary) => (secondary, None),
            Err(error) => (None, Some(error.report())),
        };
        let is_used = |name: &str| {
            *name == *primary.name || secondary.as_ref().is_some_and(|secondary| *name == *secondary.name)
        };
        self.open.lock().retain(|name, _| is_used(name));
        let secondary_is_empty = newest.value.is_starting();
        self.queue.set_route(Route { primary, secondary, secondary_is_empty });
        Ok(missing)
    }

    fn log(&self, newest: &Versioned<QueueMigration>, failure: Option<&str>, lacks_old: Option<&str>) {
        let (configured, current) = (self.factory.default_queue(), &newest.value.current);
        match (failure, lacks_old) {
            (Some(error), _) => tracing::error!(error, "queue in use could not be opened"),
            (None, Some(error)) => {
                tracing::warn!(error, "old queue could not be opened, so only other processes drain it");
            }
            (None, None) if newest.value.target.is_none() && configured != current => tracing::warn!(
                configured,
                current,
                "configured queue was not used, because all processes migrated to another one; set queue.backend to it"
            ),
            (None, None) => {}
        }
    }

    /// Reports the newest revision as applied once all its conditions are met: the route is set, all consumers are
    /// attached to the newest queue, and that queue is prepared.
    fn report_applied(&self) {
        let mut view = self.view.lock();
        let Some(Versioned { revision, value, .. }) = &view.newest else { return };
        let revision = *revision;
        let is_prepared = !value.is_starting() || view.prepared == revision;
        let is_reported = view.applied == revision;
        if !is_prepared || is_reported || view.failure.is_some() {
            return;
        }
        if self.queue.consumers_without(value.newest()) > 0 {
            return;
        }
        view.applied = revision;
        drop(view);
        tracing::debug!(revision, "queue migration applied");
        self.view_changed.notify_one();
    }

    /// Returns the state of the old queue. Only topics that a member serves count: the dispatch ledger publishes the
    /// messages of the others again.
    async fn drain_state(&self, members: &[Member]) -> DrainState {
        let now = Instant::now();
        let services = {
            let mut view = self.view.lock();
            if view.sampled_at.is_some_and(|sampled_at| now.duration_since(sampled_at) < SAMPLE_INTERVAL) {
                return DrainState::Unknown;
            }
            view.sampled_at = Some(now);
            view.served.extend(served(members).into_iter().map(|service| (service, now)));
            view.served.retain(|_, served_at| now.duration_since(*served_at) < SERVED_PERIOD);
            view.served.keys().cloned().collect()
        };
        let backlog = self.queue.secondary_backlog(&topics(&services)).await;
        let mut view = self.view.lock();
        let (is_empty, has_lost_old) = match backlog {
            Some(SecondaryBacklog { waiting: 0, unknown: 0, lost }) => (lost == 0, lost > 0),
            Some(_) => (false, false),
            None => (false, view.lacks_old),
        };
        view.empty_since = if is_empty { view.empty_since.or(Some(now)) } else { None };
        if std::mem::replace(&mut view.has_lost_old, has_lost_old) != has_lost_old {
            self.view_changed.notify_one();
        }
        match view.empty_since {
            Some(since) if since.elapsed() >= EMPTY_PERIOD => DrainState::Empty,
            _ if has_lost_old => DrainState::Lost,
            Some(_) | None => DrainState::Unknown,
        }
    }
}
