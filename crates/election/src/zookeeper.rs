//! Elections on ZooKeeper. A candidate is an ephemeral sequential node, and the zxid of its creation is its token.
//! [`candidate_queue`](crate::candidate_queue) contains the common part.
//!
//! The client library waits without limit for a server that does not answer, so every call has a timeout here. The
//! connected server may lag, so reads follow a `sync`.
//!
//! The name of a node begins with an id that the candidate chose. A candidate can therefore find a node whose creation
//! had no response.

mod session;

use crate::access::read;
use crate::candidate_queue::{QueueElection, QueueServers, QueueSession};
use crate::settings::{Credentials, ElectionTls};
use crate::{Election, Error, Leader, Leadership};
use async_trait::async_trait;
use secrecy::ExposeSecret;
use session::{ZooKeeperSession, convert};
use std::sync::Arc;
use zookeeper_client::{Client, TlsOptions};

pub use crate::settings::Settings;

/// Elections on ZooKeeper. Clones share one session and therefore count as one process.
#[derive(Debug, Clone)]
pub struct ZooKeeperElection {
    queue: QueueElection,
}

impl ZooKeeperElection {
    /// Connects to ZooKeeper. The election retries while no server can be reached.
    ///
    /// # Errors
    /// Returns [`Error::Configuration`] if the settings are invalid.
    pub async fn connect(settings: Settings) -> Result<Self, Error> {
        let opening = settings.lease;
        let tls = settings.tls.as_ref().map(tls).transpose()?;
        Ok(Self { queue: QueueElection::start(Ensemble { settings, tls }, opening).await? })
    }
}

/// The servers of a ZooKeeper ensemble.
#[derive(Debug)]
struct Ensemble {
    settings: Settings,
    tls: Option<TlsOptions>,
}

#[async_trait]
impl QueueServers for Ensemble {
    async fn open(&self) -> Result<Arc<dyn QueueSession>, Error> {
        let Settings { endpoints, prefix, lease, connect_timeout, request_timeout, credentials, .. } =
            &self.settings;
        let mut connector = Client::connector()
            .with_session_timeout(*lease)
            .with_connection_timeout(*connect_timeout)
            .with_fail_eagerly();
        if let Some(Credentials { user, password }) = credentials {
            connector =
                connector.with_auth("digest", format!("{user}:{}", password.expose_secret()).as_bytes());
        }
        let servers = endpoints.join(",");
        let opened = match &self.tls {
            Some(tls) => connector.with_tls(tls.clone()).secure_connect(&servers).await,
            None => connector.connect(&servers).await,
        };
        let client = opened.map_err(|error| match convert(&error) {
            // The library does not report the cause of a broken connection.
            Error::Unavailable { .. } => Error::Unavailable { reason: self.no_session() },
            other @ (Error::Configuration { .. } | Error::TokensExhausted { .. }) => other,
        })?;
        let root = format!("/{prefix}/elections");
        let session = ZooKeeperSession::open(client, root, credentials.is_some(), *request_timeout).await?;
        Ok(Arc::new(session))
    }
}

impl Ensemble {
    fn no_session(&self) -> String {
        let servers = self.settings.endpoints.join(", ");
        let hint = if self.tls.is_some() {
            "check election.tls.ca_file (the trusted authority) and election.tls.certificate_file and key_file \
             (the client)"
        } else {
            "if the servers use TLS, set election.security: tls"
        };
        format!("no server of {servers} opened a session; {hint}")
    }
}

fn tls(of: &ElectionTls) -> Result<TlsOptions, Error> {
    let wrong = |what: &str, error: &dyn std::fmt::Display| Error::Configuration {
        reason: format!("failed to use {what}: {error}"),
    };
    let Some(ca) = &of.ca_file else {
        let reason = "election.tls.ca_file is missing; TLS with ZooKeeper requires a trusted authority";
        return Err(Error::Configuration { reason: reason.to_owned() });
    };
    let options = TlsOptions::new()
        .with_pem_ca(&read(ca)?)
        .map_err(|error| wrong(&format!("election.tls.ca_file {}", ca.display()), &error))?;
    match of.identity()? {
        Some((certificate, key)) => options
            .with_pem_identity(&certificate, &key)
            .map_err(|error| wrong("election.tls.certificate_file with key_file", &error)),
        None => Ok(options),
    }
}

#[async_trait]
impl Election for ZooKeeperElection {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        self.queue.campaign(name, candidate).await
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        self.queue.observe(name).await
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        self.queue.list().await
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        self.queue.step_down(name).await
    }
}
