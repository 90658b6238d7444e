//! The election, as configured: through leader-electors, at a backend, or at the backend while no leader-elector is
//! reachable.
//!
//! Leader-electors and direct candidates compete for the same locks, keys or nodes, and take tokens from the same
//! counter, so a term is the same whichever path it was won on. A process that knows the backend is a direct candidate
//! while no leader-elector is reachable, so its duties do not depend on leader-electors.

use crate::process::Process;
use anyhow::Context;
use async_trait::async_trait;
use goconductor_election::{
    Election, EraElection, Error, EtcdElection, Leader, Leadership, PostgresElection, ZooKeeperElection,
    postgres,
};
use goconductor_remote::{Endpoints, RemoteElection};
use goconductor_service_kit::config::{Config, ElectionBackend};
use std::sync::Arc;
use tokio::sync::OnceCell;

impl Process {
    /// Returns the configured election: through the leader-electors if any are configured, or else at the backend.
    ///
    /// # Errors
    /// Returns an error if the configuration cannot work.
    pub async fn election(&self) -> anyhow::Result<Arc<dyn Election>> {
        let config = &self.config.election;
        if config.electors.is_empty() {
            return self.backend_election().await;
        }
        let endpoints = Endpoints::new(&config.electors).context("election.electors")?;
        let electors = RemoteElection::new(endpoints);
        let knows_backend = match config.backend {
            ElectionBackend::Local => false,
            ElectionBackend::Postgres => self.config.election_url().is_some(),
            ElectionBackend::Etcd | ElectionBackend::ZooKeeper => !config.settings.endpoints.is_empty(),
        };
        if knows_backend {
            Ok(Arc::new(ElectionWithFallback::new(electors, self.config.clone())))
        } else {
            Ok(Arc::new(electors))
        }
    }

    /// Returns the election at the backend, without leader-electors.
    ///
    /// # Errors
    /// Returns an error if the configuration cannot work.
    pub async fn backend_election(&self) -> anyhow::Result<Arc<dyn Election>> {
        open(&self.config).await.context("failed to open the election")
    }
}

/// Opens the election at the configured backend.
async fn open(config: &Config) -> Result<Arc<dyn Election>, Error> {
    let election: Arc<dyn Election> = match config.election.backend {
        ElectionBackend::Local => {
            let reason = "election.backend is local, which cannot connect processes: set it to postgres, etcd or \
                          zookeeper, or set election.electors to the URLs of leader-electors; or run `goconductor \
                          dev`, which runs all services in one process";
            return Err(Error::Configuration { reason: reason.to_owned() });
        }
        ElectionBackend::Postgres => {
            let missing = || Error::Configuration { reason: "election.url is missing".to_owned() };
            let url = config.election_url().ok_or_else(missing)?;
            let settings = postgres::Settings { lease: config.election.settings.lease };
            Arc::new(PostgresElection::connect(url.expose(), settings).await?)
        }
        ElectionBackend::Etcd => Arc::new(EtcdElection::connect(config.election.settings.clone()).await?),
        ElectionBackend::ZooKeeper => {
            Arc::new(ZooKeeperElection::connect(config.election.settings.clone()).await?)
        }
    };
    Ok(Arc::new(EraElection::new(election, config.election.era)?))
}

/// An election through leader-electors that falls back to their backend.
#[derive(Debug)]
struct ElectionWithFallback {
    electors: RemoteElection,
    config: Config,
    direct: OnceCell<Arc<dyn Election>>,
}

impl ElectionWithFallback {
    fn new(electors: RemoteElection, config: Config) -> Self {
        Self { electors, config, direct: OnceCell::new() }
    }

    async fn direct(&self) -> Result<&Arc<dyn Election>, Error> {
        self.direct.get_or_try_init(|| open(&self.config)).await
    }
}

#[async_trait]
impl Election for ElectionWithFallback {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        match self.electors.campaign(name, candidate).await {
            Err(error) if error.is_retryable() => {
                tracing::info!(election = name, %error, "campaign started at the backend, because no leader-elector was reachable");
                self.direct().await?.campaign(name, candidate).await
            }
            other => other,
        }
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        match self.electors.observe(name).await {
            Err(error) if error.is_retryable() => self.direct().await?.observe(name).await,
            other => other,
        }
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        match self.electors.list().await {
            Err(error) if error.is_retryable() => self.direct().await?.list().await,
            other => other,
        }
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        match self.electors.step_down(name).await {
            Err(error) if error.is_retryable() => self.direct().await?.step_down(name).await,
            other => other,
        }
    }
}
