//! The election, as it is configured: of electors, of a backend, or of a backend while no elector can be reached.
//!
//! Electors and whoever stands in the election directly hold the same locks, keys or nodes and draw their tokens
//! from the same counter, so it does not matter through which a term was won. A process that knows where the
//! backend is stands for itself while no elector can be reached: its duties do not depend on electors being alive.

use crate::Process;
use anyhow::Context;
use async_trait::async_trait;
use goconductor_election::{
    Election, Error, EtcdElection, InEra, Leader, Leadership, PostgresElection, ZooKeeperElection, postgres,
};
use goconductor_remote::{Endpoints, RemoteElection};
use goconductor_service_kit::config::{Config, ElectionBackend};
use std::sync::Arc;
use tokio::sync::OnceCell;

impl Process {
    /// The election, as it is configured: that of the leader electors if some are named, else its own.
    ///
    /// # Errors
    /// When it can't work.
    pub async fn election(&self) -> anyhow::Result<Arc<dyn Election>> {
        let config = &self.config.election;
        if config.electors.is_empty() {
            return self.own_election().await;
        }
        let endpoints = Endpoints::new(&config.electors).context("election.electors")?;
        let electors = RemoteElection::new(endpoints);
        let knows_backend = match config.backend {
            ElectionBackend::Local => false,
            ElectionBackend::Postgres => self.config.election_url().is_some(),
            ElectionBackend::Etcd | ElectionBackend::ZooKeeper => !config.settings.endpoints.is_empty(),
        };
        if knows_backend {
            Ok(Arc::new(ElectorsOrNot::new(electors, self.config.clone())))
        } else {
            Ok(Arc::new(electors))
        }
    }

    /// The election of this process's own backend.
    ///
    /// # Errors
    /// When it can't work.
    pub async fn own_election(&self) -> anyhow::Result<Arc<dyn Election>> {
        open(&self.config).await.context("the election can't be opened")
    }
}

/// The election of the configured backend.
async fn open(config: &Config) -> Result<Arc<dyn Election>, Error> {
    let election: Arc<dyn Election> = match config.election.backend {
        ElectionBackend::Local => {
            let reason = "election.backend is local, which reaches no other process: set it to postgres, etcd or \
                          zookeeper, or name leader-electors by election.electors; or run `goconductor dev`, which \
                          is everything in one process";
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
    Ok(Arc::new(InEra::new(election, config.election.era)?))
}

/// The electors, and the backend behind them.
#[derive(Debug)]
struct ElectorsOrNot {
    electors: RemoteElection,
    config: Config,
    direct: OnceCell<Arc<dyn Election>>,
}

impl ElectorsOrNot {
    fn new(electors: RemoteElection, config: Config) -> Self {
        Self { electors, config, direct: OnceCell::new() }
    }

    async fn direct(&self) -> Result<&Arc<dyn Election>, Error> {
        self.direct.get_or_try_init(|| open(&self.config)).await
    }
}

#[async_trait]
impl Election for ElectorsOrNot {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        match self.electors.campaign(name, candidate).await {
            Err(error) if error.retryable() => {
                tracing::info!(election = name, %error, "stands in the election without an elector");
                self.direct().await?.campaign(name, candidate).await
            }
            other => other,
        }
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        match self.electors.observe(name).await {
            Err(error) if error.retryable() => self.direct().await?.observe(name).await,
            other => other,
        }
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        match self.electors.list().await {
            Err(error) if error.retryable() => self.direct().await?.list().await,
            other => other,
        }
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        match self.electors.step_down(name).await {
            Err(error) if error.retryable() => self.direct().await?.step_down(name).await,
            other => other,
        }
    }
}
