//! The election, as configured: through leader-electors, at a backend, or at the backend while no leader-elector is
//! reachable.
//!
//! Leader-electors and direct candidates compete for the same locks, keys or nodes, and take tokens from the same
//! counter, so a term is the same whichever path it was won on. A process that knows the backend is a direct candidate
//! while no leader-elector is reachable, so its duties do not depend on leader-electors.

mod backend;
mod moves;

use crate::live_config::LiveConfig;
use crate::process::Process;
use anyhow::Context;
use async_trait::async_trait;
use backend::BackendElection;
use goconductor_election::{Election, EraElection, Error, Leader, Leadership};
use goconductor_remote::RemoteElection;
use goconductor_service_kit::config::{Config, ElectionBackend};
use goconductor_store::Store;
use goconductor_tls::PeerRole;
use std::sync::Arc;

impl Process {
    /// Returns the configured election: through the leader-electors if any are configured, or else at the backend. It
    /// moves with the settings of the API.
    ///
    /// # Errors
    /// Returns an error if the configuration cannot work.
    pub async fn election(
        &self,
        live: &Arc<LiveConfig>,
        store: &Arc<dyn Store>,
    ) -> anyhow::Result<Arc<dyn Election>> {
        let config = &self.config.election;
        if config.electors.is_empty() {
            return self.backend_election(Some((live, store))).await;
        }
        let endpoints =
            self.endpoints(&config.electors, PeerRole::LeaderElector).context("election.electors")?;
        let electors = RemoteElection::new(endpoints);
        if knows_backend(&self.config) {
            check_driver(config.backend).context("failed to open the election")?;
        }
        let direct = moves::follow(live, self.unopened(Some(store)));
        Ok(Arc::new(ElectionWithFallback { electors, live: Arc::clone(live), direct }))
    }

    /// Returns the election at the backend, without leader-electors. It moves with the settings of the API, if the process
    /// has a store to read them from.
    ///
    /// # Errors
    /// Returns an error if the configuration cannot work.
    pub async fn backend_election(
        &self,
        follows: Option<(&Arc<LiveConfig>, &Arc<dyn Store>)>,
    ) -> anyhow::Result<Arc<dyn Election>> {
        let first = self.unopened(follows.map(|(_, store)| store));
        first.open().await.context("failed to open the election")?;
        Ok(match follows {
            Some((live, _)) => moves::follow(live, first),
            None => Arc::new(first),
        })
    }

    /// Returns the election of a process that works without one. It is opened when it is needed.
    #[must_use]
    pub fn optional_election(&self, live: &Arc<LiveConfig>, store: &Arc<dyn Store>) -> Arc<dyn Election> {
        moves::follow(live, self.unopened(Some(store)))
    }

    fn unopened(&self, store: Option<&Arc<dyn Store>>) -> BackendElection {
        BackendElection::new(self.config.clone(), store.cloned())
    }
}

/// Returns whether the configuration names a backend, besides leader-electors.
fn knows_backend(config: &Config) -> bool {
    match config.election.backend {
        ElectionBackend::Local => false,
        ElectionBackend::Postgres => config.election_url().is_some(),
        ElectionBackend::Etcd | ElectionBackend::ZooKeeper => !config.election.settings.endpoints.is_empty(),
    }
}

/// Opens the election at the configured backend.
pub(crate) async fn open(config: &Config) -> Result<Arc<dyn Election>, Error> {
    let election = connect(config).await?;
    Ok(Arc::new(EraElection::new(election, config.election.era)?))
}

/// Connects to the configured backend.
#[cfg_attr(
    not(any(feature = "etcd", feature = "postgres", feature = "zookeeper")),
    allow(clippy::unused_async, reason = "the signature does not depend on the drivers")
)]
async fn connect(config: &Config) -> Result<Arc<dyn Election>, Error> {
    match config.election.backend {
        ElectionBackend::Local => {
            let reason = "election.backend is local, which cannot connect processes: set it to postgres, etcd or \
                          zookeeper, or set election.electors to the URLs of leader-electors; or run `goconductor \
                          dev`, which runs all services in one process";
            Err(Error::Configuration { reason: reason.to_owned() })
        }
        #[cfg(feature = "postgres")]
        ElectionBackend::Postgres => {
            use goconductor_election::postgres::{PostgresElection, Settings};
            let missing = || Error::Configuration { reason: "election.url is missing".to_owned() };
            let url = config.election_url().ok_or_else(missing)?;
            let settings = Settings { lease: config.election.settings.lease };
            Ok(Arc::new(PostgresElection::connect(url.expose(), settings).await?))
        }
        #[cfg(feature = "etcd")]
        ElectionBackend::Etcd => {
            let settings = config.election.settings.clone();
            Ok(Arc::new(goconductor_election::EtcdElection::connect(settings).await?))
        }
        #[cfg(feature = "zookeeper")]
        ElectionBackend::ZooKeeper => {
            let settings = config.election.settings.clone();
            Ok(Arc::new(goconductor_election::ZooKeeperElection::connect(settings).await?))
        }
        #[cfg(not(feature = "postgres"))]
        ElectionBackend::Postgres => Err(missing_driver("postgres")),
        #[cfg(not(feature = "etcd"))]
        ElectionBackend::Etcd => Err(missing_driver("etcd")),
        #[cfg(not(feature = "zookeeper"))]
        ElectionBackend::ZooKeeper => Err(missing_driver("zookeeper")),
    }
}

/// Checks that this build contains the driver of a backend, which may be needed only later.
fn check_driver(backend: ElectionBackend) -> Result<(), Error> {
    let (feature, is_built) = match backend {
        ElectionBackend::Local => return Ok(()),
        ElectionBackend::Postgres => ("postgres", cfg!(feature = "postgres")),
        ElectionBackend::Etcd => ("etcd", cfg!(feature = "etcd")),
        ElectionBackend::ZooKeeper => ("zookeeper", cfg!(feature = "zookeeper")),
    };
    if is_built { Ok(()) } else { Err(missing_driver(feature)) }
}

fn missing_driver(feature: &str) -> Error {
    Error::Configuration { reason: crate::missing_driver("election.backend", feature) }
}

/// An election through leader-electors that falls back to their backend, if the process knows it.
#[derive(Debug)]
struct ElectionWithFallback {
    electors: RemoteElection,
    live: Arc<LiveConfig>,
    direct: Arc<dyn Election>,
}

impl ElectionWithFallback {
    /// Returns the election at the backend after the leader-electors failed with `error`.
    fn direct(&self, error: Error) -> Result<&Arc<dyn Election>, Error> {
        let is_possible = error.is_retryable() && knows_backend(&self.live.current());
        if is_possible { Ok(&self.direct) } else { Err(error) }
    }
}

#[async_trait]
impl Election for ElectionWithFallback {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        match self.electors.campaign(name, candidate).await {
            Ok(leadership) => Ok(leadership),
            Err(error) => {
                let reason = error.to_string();
                let direct = self.direct(error)?;
                tracing::info!(
                    election = name,
                    reason,
                    "campaign started at the backend, because no leader-elector was reachable"
                );
                direct.campaign(name, candidate).await
            }
        }
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        match self.electors.observe(name).await {
            Ok(answer) => Ok(answer),
            Err(error) => self.direct(error)?.observe(name).await,
        }
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        match self.electors.list().await {
            Ok(answer) => Ok(answer),
            Err(error) => self.direct(error)?.list().await,
        }
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        match self.electors.step_down(name).await {
            Ok(answer) => Ok(answer),
            Err(error) => self.direct(error)?.step_down(name).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a build with all drivers, no backend is refused. Other builds are tested with `--no-default-features`.
    #[test]
    fn backend_without_driver_is_refused_with_the_feature_to_build() {
        let cases = [
            (ElectionBackend::Local, "", true),
            (ElectionBackend::Postgres, "postgres", cfg!(feature = "postgres")),
            (ElectionBackend::Etcd, "etcd", cfg!(feature = "etcd")),
            (ElectionBackend::ZooKeeper, "zookeeper", cfg!(feature = "zookeeper")),
        ];
        for (backend, feature, is_built) in cases {
            let refused = check_driver(backend).err().map(|error| error.to_string());
            let expected = format!("no driver for {feature}: build with `--features {feature}`");
            assert_eq!(refused.is_none(), is_built, "{refused:?}");
            assert!(refused.is_none_or(|reason| reason.contains(&expected)), "{expected}");
        }
    }
}
