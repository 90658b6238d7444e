//! The election at one backend, which is opened when it is first needed.

use super::open;
use async_trait::async_trait;
use goconductor_election::{Election, Error, Leader, Leadership};
use goconductor_service_kit::config::Config;
use goconductor_store::{Member, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OnceCell;

/// Interval between two reads of the eras of the processes.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Longest time for which a new leader waits until all processes have left earlier eras. It is longer than the
/// membership of a process that was killed or paused. A process that stays, because its configuration is invalid, must not
/// keep the cluster without leaders: its fencing tokens are lower.
const LIMIT: Duration = Duration::from_secs(15);
/// Failed reads of the members in a row after which a leader does not wait. Elections work without a state store.
const MAX_FAILURES: u32 = 5;

/// The election at one backend.
#[derive(Debug)]
pub(super) struct BackendElection {
    pub(super) config: Config,
    opened: OnceCell<Arc<dyn Election>>,
    /// The store with the members of the cluster. `None` if the process has none.
    store: Option<Arc<dyn Store>>,
}

impl BackendElection {
    pub(super) fn new(config: Config, store: Option<Arc<dyn Store>>) -> Self {
        Self { config, opened: OnceCell::new(), store }
    }

    /// Returns an election whose backend is open.
    #[cfg(test)]
    pub(super) fn opened(config: Config, election: Arc<dyn Election>, store: Option<Arc<dyn Store>>) -> Self {
        let opened = OnceCell::new_with(Some(election));
        Self { config, opened, store }
    }

    /// Returns an election at the backend of another configuration.
    pub(super) fn at(&self, config: Config) -> Self {
        Self::new(config, self.store.clone())
    }

    /// Opens the backend, unless it is open.
    pub(super) async fn open(&self) -> Result<&Arc<dyn Election>, Error> {
        self.opened.get_or_try_init(|| open(&self.config)).await
    }

    /// Waits until no process can hold a term of an earlier era, as far as the members of the cluster are known. This
    /// process is included: it may hold terms for several candidates.
    async fn all_have_left(&self, election: &str) {
        let Some(store) = &self.store else { return };
        let waiting = async {
            let mut failures = 0;
            while failures < MAX_FAILURES {
                match store.members().await {
                    Ok(members) if members.iter().all(|member| self.has_left(member)) => return,
                    Ok(_) => failures = 0,
                    Err(error) => {
                        tracing::debug!(%error, "eras of the processes were not read");
                        failures += 1;
                    }
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        if tokio::time::timeout(LIMIT, waiting).await.is_err() {
            tracing::warn!(
                election,
                era = self.config.election.era,
                "term began although a process has not left an earlier era; its fencing tokens are lower"
            );
        }
    }

    fn has_left(&self, member: &Member) -> bool {
        // A release without moves names no era. Fencing tokens alone protect against it.
        let view = member.announcement.info.election.as_ref();
        view.is_none_or(|view| view.era >= self.config.election.era)
    }
}

#[async_trait]
impl Election for BackendElection {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        let leadership = self.open().await?.campaign(name, candidate).await?;
        // Each term waits, not only those of a move: the process may have been started during one. Safe to cancel: the
        // term ends when it is dropped.
        self.all_have_left(name).await;
        Ok(leadership)
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        self.open().await?.observe(name).await
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        self.open().await?.list().await
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        self.open().await?.step_down(name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_election::LocalElection;
    use goconductor_service_kit::config::Sources;
    use goconductor_store::sqlite::SqliteStore;
    use goconductor_store::{Announcement, ElectionView, ProcessInfo};

    async fn announce(store: &Arc<dyn Store>, instance: &str, era: Option<u8>) {
        let election = era.map(|era| ElectionView { era, ..ElectionView::default() });
        let announcement = Announcement {
            instance: instance.to_owned(),
            kind: "saga-executor".to_owned(),
            address: String::new(),
            info: ProcessInfo { election, ..ProcessInfo::default() },
            ttl: Duration::from_secs(60),
        };
        store.announce(&announcement).await.expect("the store can be written");
    }

    fn election(store: &Arc<dyn Store>, era: u8) -> BackendElection {
        let mut config = Config::load(&Sources::default()).expect("the defaults are valid");
        config.election.era = era;
        BackendElection::opened(config, Arc::new(LocalElection::new(1)), Some(Arc::clone(store)))
    }

    #[tokio::test]
    async fn term_begins_when_every_process_has_left_earlier_eras() {
        let store: Arc<dyn Store> =
            Arc::new(SqliteStore::ephemeral().expect("a temporary directory can be created"));
        announce(&store, "self", Some(0)).await;
        announce(&store, "of-an-earlier-release", None).await;
        announce(&store, "other", Some(0)).await;
        let first = election(&store, 0);
        drop(first.campaign("relay", "a").await.expect("nothing is to be left"));
        let second = election(&store, 1);
        let campaign = second.campaign("relay", "a");
        tokio::pin!(campaign);
        let waited = tokio::time::timeout(Duration::from_millis(500), &mut campaign).await;
        assert!(waited.is_err(), "the other process can still lead");
        announce(&store, "other", Some(1)).await;
        let waited = tokio::time::timeout(Duration::from_millis(500), &mut campaign).await;
        assert!(waited.is_err(), "this process can still hold a term for another candidate");
        announce(&store, "self", Some(1)).await;
        let leadership = tokio::time::timeout(Duration::from_secs(5), campaign).await;
        assert!(leadership.expect("the term begins").expect("the election works").is_valid());
    }
}
