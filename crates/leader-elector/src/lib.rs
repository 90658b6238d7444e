//! The leader elector: elections over the configured backend, with fencing tokens.
//!
//! [`LeaderElector`] is an [`Election`] itself: it hands every call on, and says in logs and metrics who
//! leads. Whoever stands for a duty need not know whether there is an elector in between.
//!
//! It deliberately knows no backend, keeps no state that anything is decided by, and does not make a
//! leadership safer than its election does: the token does, checked where a write lands.
//!
//! Invariant: a name that a term of this process leads is counted as led until the end of its newest term.

pub mod metrics;
mod run;
mod service;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use goconductor_election::{Election, Error, FencingToken, Leader, Leadership};
use tokio::task::JoinSet;

pub use run::run;
pub use service::{Service, service};

/// Elections over one backend, with logs and metrics. It has to live as long as the leaderships that are
/// won through it are to be watched.
pub struct LeaderElector {
    election: Arc<dyn Election>,
    led: Arc<Led>,
    /// One task for each term of this process; it ends with the term.
    watchers: Mutex<JoinSet<()>>,
}

impl LeaderElector {
    /// An elector over a backend.
    #[must_use]
    pub fn new(election: Arc<dyn Election>) -> Self {
        goconductor_telemetry::describe(metrics::ALL);
        Self { election, led: Arc::default(), watchers: Mutex::default() }
    }

    fn watch(&self, leadership: &Leadership) {
        let (led, lost, leader) = (Arc::clone(&self.led), leadership.lost(), leadership.leader().clone());
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        while watchers.try_join_next().is_some() {}
        watchers.spawn(async move {
            lost.await;
            led.ended(&leader);
        });
    }
}

impl fmt::Debug for LeaderElector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaderElector").field("election", &self.election).finish_non_exhaustive()
    }
}

#[async_trait]
impl Election for LeaderElector {
    async fn campaign(&self, name: &str, candidate: &str) -> Result<Leadership, Error> {
        // The only place to be cancelled at: after it nothing waits.
        let leadership = self.election.campaign(name, candidate).await?;
        self.led.began(leadership.leader());
        self.watch(&leadership);
        Ok(leadership)
    }

    async fn observe(&self, name: &str) -> Result<Option<Leader>, Error> {
        self.election.observe(name).await
    }

    async fn list(&self) -> Result<Vec<Leader>, Error> {
        self.election.list().await
    }

    async fn step_down(&self, name: &str) -> Result<bool, Error> {
        let ended = self.election.step_down(name).await?;
        if ended {
            tracing::info!(election = name, "the leader was told to step down");
        }
        Ok(ended)
    }
}

/// What this process leads, by name: the token of the newest term.
#[derive(Debug, Default)]
struct Led {
    newest: Mutex<BTreeMap<String, FencingToken>>,
}

impl Led {
    fn began(&self, leader: &Leader) {
        let Leader { name, candidate, token, .. } = leader;
        tracing::info!(election = %name, %candidate, %token, "leads");
        // Under the lock, so that the end of an old term can't come after the beginning of a new one.
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(name.clone(), *token);
        metrics::WON.with([name.clone().into()]).increment(1);
        metrics::IS_LEADER.with([name.clone().into()]).set(1.0);
    }

    fn ended(&self, leader: &Leader) {
        let Leader { name, candidate, token, .. } = leader;
        tracing::info!(election = %name, %candidate, %token, "leads no more");
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.get(name) == Some(token) {
            newest.remove(name);
            metrics::IS_LEADER.with([name.clone().into()]).set(0.0);
        }
    }
}
