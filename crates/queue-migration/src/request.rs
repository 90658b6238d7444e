//! Requests of operators: the status of the queue, and a migration to another one.

use crate::client::QueueClient;
use crate::migration::{QueueMigration, RequestRefusal};
use crate::migrator::QueueMigrator;
use crate::served::{served, topics, waiting};
use crate::status::{MigrationError, MigrationStatus};
use crate::view::Versioned;
use goconductor_queue::Topic;
use goconductor_store::Error;
use std::time::Duration;

/// Timeout for the target of a migration to respond and to create its topics.
const TARGET_TIMEOUT: Duration = Duration::from_secs(25);
/// Timeout for a queue to respond that is in use, or was in use until recently.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

impl QueueMigrator {
    /// Returns the queue in use and its migration.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the state store does not respond.
    pub async fn migration(&self) -> Result<QueueMigration, Error> {
        Ok(self.read().await?.value)
    }

    /// Returns the status of the queue.
    ///
    /// # Errors
    /// Returns `Error::Unavailable` if the state store does not respond.
    pub async fn status(&self) -> Result<MigrationStatus, Error> {
        self.status_of(self.read().await?).await
    }

    /// Starts a migration of all processes to the queue `to`, or reverts the running migration if `to` is the old queue.
    /// The processes complete the migration on their own; [`status`](Self::status) returns its progress.
    ///
    /// # Errors
    /// Returns the [`MigrationError`] that names the failed precondition.
    pub async fn request(&self, to: &str, actor: Option<String>) -> Result<MigrationStatus, MigrationError> {
        let supported = self.factory.supported();
        if !supported.contains(&to) {
            return Err(MigrationError::Unknown(to.to_owned(), supported.join(", ")));
        }
        let current = self.read().await?;
        let next = match current.value.request(to, actor) {
            Ok(next) => next,
            // A repeated request has the same result.
            Err(RequestRefusal::AlreadyRequested) => return Ok(self.status_of(current).await?),
            Err(RequestRefusal::InUse) => return Err(MigrationError::InUse(to.to_owned())),
            Err(RequestRefusal::InProgress(target)) => {
                return Err(MigrationError::InProgress { from: current.value.current, to: target.queue });
            }
        };
        match &current.value.target {
            None => self.check_target(to).await?,
            // All processes still publish to `to`.
            Some(_) if current.value.is_starting() => {}
            // All processes published to `to` until recently.
            Some(_) => self.probe(to, &[], PROBE_TIMEOUT).await?,
        }
        let changed = self.compare_and_set(&current, &next).await?.ok_or(MigrationError::Conflict)?;
        tracing::info!(from = next.current, to, "queue migration requested");
        self.apply(&changed);
        self.entry_changed.notify_one();
        Ok(self.status_of(changed).await?)
    }

    async fn status_of(&self, current: Versioned<QueueMigration>) -> Result<MigrationStatus, Error> {
        let Versioned { revision, value: migration, since, .. } = current;
        let (mut behind, mut old_backlog) = (Vec::new(), None);
        if migration.target.is_some() {
            let members = self.store.members().await?;
            let clients = members.iter().filter_map(QueueClient::from_member);
            behind = clients.filter(|client| client.applied < revision).collect();
            let topics = topics(&served(&members));
            old_backlog = if migration.is_starting() {
                let waiting = tokio::time::timeout(PROBE_TIMEOUT, waiting(&self.queue, &topics)).await;
                waiting.unwrap_or_default()
            } else {
                let backlog = self.queue.secondary_backlog(&topics).await;
                backlog
                    .filter(|backlog| backlog.lost == 0 && backlog.unknown == 0)
                    .map(|backlog| backlog.waiting)
            };
        }
        Ok(MigrationStatus { revision, migration, since, behind, waiting: old_backlog })
    }

    /// Checks that the queue `to` is configured for all processes and responds, and creates its topics.
    async fn check_target(&self, to: &str) -> Result<(), MigrationError> {
        let members = self.store.members().await?;
        let mut instances: Vec<String> = members
            .iter()
            .filter_map(QueueClient::from_member)
            .filter(|client| !client.backends.iter().any(|each| each == to))
            .map(|client| client.instance)
            .collect();
        if instances.is_empty() && !self.factory.configured().contains(&to) {
            instances.push("this gateway".to_owned());
        }
        if !instances.is_empty() {
            return Err(MigrationError::NotConfigured { to: to.to_owned(), instances });
        }
        self.probe(to, &topics(&served(&members)), TARGET_TIMEOUT).await
    }

    /// Checks that a queue responds before the timeout. Topics that do not exist are created.
    async fn probe(&self, name: &str, topics: &[Topic], timeout: Duration) -> Result<(), MigrationError> {
        let unavailable = |reason: String| MigrationError::Unavailable { to: name.to_owned(), reason };
        let queue = self.open(name).map_err(|error| unavailable(error.report()))?.queue;
        let probe = async {
            queue.check().await?;
            for depth in futures::future::join_all(topics.iter().map(|topic| queue.depth(topic))).await {
                depth?;
            }
            Ok::<(), goconductor_queue::Error>(())
        };
        match tokio::time::timeout(timeout, probe).await {
            Ok(probed) => probed.map_err(|error| unavailable(error.report())),
            Err(_) => Err(unavailable(format!("it did not respond within {} s", timeout.as_secs()))),
        }
    }
}
