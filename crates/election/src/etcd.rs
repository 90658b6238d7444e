//! Elections on etcd. A candidate is a key with the lease of its process, and the create revision of the key is its
//! token. [`candidate_queue`](crate::candidate_queue) contains the common part.
//!
//! Each member has its own `etcd_client::Client`, because the client's own balancing neither limits the time of a call
//! nor repeats it on another member.
//!
//! All members are equal. A call goes to the member that answered last. It moves on to the next member if that one cannot
//! be reached, does not answer in time, or is cut off from the others. Every call can be repeated safely, because
//! candidates choose their keys.

mod client;
mod refusal;
mod session;

use crate::candidate_queue::{QueueElection, QueueServers, QueueSession};
use crate::{Election, Error, Leader, Leadership};
use async_trait::async_trait;
use client::Client;
use session::EtcdSession;
use std::sync::Arc;

pub use crate::settings::Settings;

/// Elections on etcd. Clones share one session and therefore count as one process.
#[derive(Debug, Clone)]
pub struct EtcdElection {
    queue: QueueElection,
}

impl EtcdElection {
    /// Connects to etcd. The election retries while no member can be reached.
    ///
    /// # Errors
    /// Returns [`Error::Configuration`] if the settings are invalid.
    pub async fn connect(settings: Settings) -> Result<Self, Error> {
        let opening = settings.lease;
        let members = Members { client: Arc::new(Client::new(&settings)?), settings };
        Ok(Self { queue: QueueElection::start(members, opening).await? })
    }
}

/// The members of an etcd cluster.
#[derive(Debug)]
struct Members {
    client: Arc<Client>,
    settings: Settings,
}

#[async_trait]
impl QueueServers for Members {
    async fn open(&self) -> Result<Arc<dyn QueueSession>, Error> {
        let prefix = format!("/{}/elections", self.settings.prefix);
        Ok(Arc::new(EtcdSession::open(Arc::clone(&self.client), prefix, self.settings.lease).await?))
    }
}

#[async_trait]
impl Election for EtcdElection {
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
