//! Elections on etcd: a candidate is a key that hangs on the lease of its process, and the revision by which it
//! was made is its token. [`line`](crate::line) has the rest.
//!
//! What is said is a small part of etcd's API, generated here: its own client for Rust runs a `protoc` at each
//! build, which nobody should have to install.
//!
//! All members are equal. A call goes to the one that answered last and moves on to the next when that one can't
//! be reached, does not answer in time, or is cut off from the others; every call here may be sent twice, as
//! keys are chosen by the candidate.

mod client;
mod refusal;
mod session;

use crate::line::{LineElection, Servers, Session};
use crate::{Election, Error, Leader, Leadership};
use async_trait::async_trait;
use client::Client;
use session::EtcdSession;
use std::sync::Arc;

pub use crate::settings::Settings;

/// What is generated from `proto/etcd.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    clippy::missing_errors_doc,
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    clippy::str_to_string,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "generated"
)]
pub(crate) mod api {
    tonic::include_proto!("etcdserverpb");
}

/// Elections on etcd. Clones share their session, and with that are one process to the others.
#[derive(Debug, Clone)]
pub struct EtcdElection {
    line: LineElection,
}

impl EtcdElection {
    /// Elections on an etcd. One that can't be reached now is tried again for as long as this lives.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the settings can't work: with what is wrong and what to do.
    pub async fn connect(settings: Settings) -> Result<Self, Error> {
        let opening = settings.lease;
        let members = Members { client: Arc::new(Client::new(&settings)?), settings };
        Ok(Self { line: LineElection::start(members, opening).await? })
    }
}

/// The members of an etcd.
#[derive(Debug)]
struct Members {
    client: Arc<Client>,
    settings: Settings,
}

#[async_trait]
impl Servers for Members {
    async fn open(&self) -> Result<Arc<dyn Session>, Error> {
        let prefix = format!("/{}/elections", self.settings.prefix);
        Ok(Arc::new(EtcdSession::open(Arc::clone(&self.client), prefix, self.settings.lease).await?))
    }
}

#[async_trait]
impl Election for EtcdElection {
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
