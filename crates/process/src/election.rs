//! The election of a process that asks leader-electors, and can do without them.
//!
//! Electors and whoever stands in the election directly hold the same locks and draw their tokens from the
//! same epochs, so it does not matter through which a term was won. A process that knows where the database
//! is stands for itself while no elector can be reached: its duties do not depend on electors being alive.

use async_trait::async_trait;
use goconductor_election::postgres::Settings;
use goconductor_election::{Election, Error, Leader, Leadership, PostgresElection};
use goconductor_remote::RemoteElection;
use goconductor_service_kit::config::SecretUrl;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The electors, and the database behind them.
#[derive(Debug)]
pub(crate) struct ElectorsOrNot {
    electors: RemoteElection,
    url: SecretUrl,
    lease: Duration,
    direct: OnceCell<PostgresElection>,
}

impl ElectorsOrNot {
    pub(crate) fn new(electors: RemoteElection, url: SecretUrl, lease: Duration) -> Self {
        Self { electors, url, lease, direct: OnceCell::new() }
    }

    async fn direct(&self) -> Result<&PostgresElection, Error> {
        let connect = || PostgresElection::connect(self.url.expose(), Settings { lease: self.lease });
        self.direct.get_or_try_init(connect).await
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
        self.electors.observe(name).await
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        self.electors.list().await
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        self.electors.step_down(name).await
    }
}
