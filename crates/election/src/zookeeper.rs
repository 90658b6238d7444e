//! Elections on ZooKeeper: a candidate is an ephemeral sequential node, and the zxid by which it was made is its
//! token. [`line`](crate::line) has the rest.
//!
//! The client library waits for ever for a server that does not answer, so every call here has a time-out.
//! Reads are of the server that this process is connected to, which may lag: they follow a `sync`.
//!
//! A node's name begins with an id that the candidate has chosen, so that one whose answer was lost is found.

mod session;

use crate::access::read;
use crate::line::{LineElection, Servers, Session};
use crate::settings::{Credentials, ElectionTls};
use crate::{Election, Error, Leader, Leadership};
use async_trait::async_trait;
use secrecy::ExposeSecret;
use session::{ZooKeeperSession, meaning};
use std::sync::Arc;
use zookeeper_client::{Client, TlsOptions};

pub use crate::settings::Settings;

/// Elections on ZooKeeper. Clones share their session, and with that are one process to the others.
#[derive(Debug, Clone)]
pub struct ZooKeeperElection {
    line: LineElection,
}

impl ZooKeeperElection {
    /// Elections on a ZooKeeper. One that can't be reached now is tried again for as long as this lives.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the settings can't work: with what is wrong and what to do.
    pub async fn connect(settings: Settings) -> Result<Self, Error> {
        let opening = settings.lease;
        let tls = settings.tls.as_ref().map(tls).transpose()?;
        Ok(Self { line: LineElection::start(Ensemble { settings, tls }, opening).await? })
    }
}

/// The servers of a ZooKeeper.
#[derive(Debug)]
struct Ensemble {
    settings: Settings,
    tls: Option<TlsOptions>,
}

#[async_trait]
impl Servers for Ensemble {
    async fn open(&self) -> Result<Arc<dyn Session>, Error> {
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
        let client = opened.map_err(|error| match meaning(&error) {
            // What broke is not told by the library.
            Error::Unavailable { .. } => Error::Unavailable { reason: self.nobody() },
            other @ (Error::Configuration { .. } | Error::TokensExhausted { .. }) => other,
        })?;
        let root = format!("/{prefix}/elections");
        let session = ZooKeeperSession::open(client, root, credentials.is_some(), *request_timeout).await?;
        Ok(Arc::new(session))
    }
}

impl Ensemble {
    fn nobody(&self) -> String {
        let servers = self.settings.endpoints.join(", ");
        let hint = if self.tls.is_some() {
            "TLS may be what it fails by: see election.tls.ca_file, whom to trust, and certificate_file and key_file, \
             what is shown"
        } else {
            "if they speak TLS, say election.security: tls"
        };
        format!("no server of {servers} lets a session begin ({hint})")
    }
}

fn tls(of: &ElectionTls) -> Result<TlsOptions, Error> {
    let wrong = |what: &str, error: &dyn std::fmt::Display| Error::Configuration {
        reason: format!("{what} can't be used: {error}"),
    };
    let Some(ca) = &of.ca_file else {
        let reason = "election.tls.ca_file is missing: ZooKeeper's TLS has to be told whom to trust";
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
        self.line.campaign(name, candidate).await
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        self.line.observe(name).await
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        self.line.list().await
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        self.line.step_down(name).await
    }
}
