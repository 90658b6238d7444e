//! The leader elector: elections on the configured backend, with fencing tokens.
//!
//! [`LeaderElector`] implements [`Election`]. It forwards every call to its backend and reports leaders in logs and
//! metrics, so a candidate does not know whether an elector is in between.
//!
//! This crate knows no backend and keeps no state that a decision depends on. It does not make a leadership safer than
//! the backend does: only the fencing token, checked where a write lands, makes it safe.
//!
//! Invariant: an election counts as led by this process until the end of the newest term that the process won.

pub mod metrics;
mod run;
mod service;

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use goconductor_election::{Election, Error, FencingToken, Leader, Leadership};
use tokio::task::JoinSet;

pub use run::run;
pub use service::{ElectionServer, service};

/// Elections on one backend, with logs and metrics. It must outlive the leaderships that it reports.
pub struct LeaderElector {
    election: Arc<dyn Election>,
    led: Arc<Led>,
    /// One task for each term of this process. It ends with the term.
    watchers: Mutex<JoinSet<()>>,
}

impl LeaderElector {
    /// Creates an elector on a backend.
    #[must_use]
    pub fn new(election: Arc<dyn Election>) -> Self {
        goconductor_telemetry::describe(metrics::ALL);
        Self { election, led: Arc::default(), watchers: Mutex::default() }
    }

    fn watch(&self, leadership: &Leadership) {
        let (led, lost, leader) = (Arc::clone(&self.led), leadership.lost(), leadership.leader().clone());
        let mut watchers = self.watchers.lock();
        while watchers.try_join_next().is_some() {}
        watchers.spawn(async move {
            lost.await;
            led.end_term(&leader);
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
        // The only cancellation point: nothing waits after it.
        let leadership = self.election.campaign(name, candidate).await?;
        self.led.start_term(leadership.leader());
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
            tracing::info!(election = name, "the leader was asked to step down");
        }
        Ok(ended)
    }
}

/// The elections that this process leads, with the token of the newest term.
#[derive(Debug, Default)]
struct Led {
    newest: Mutex<BTreeMap<String, FencingToken>>,
}

impl Led {
    fn start_term(&self, leader: &Leader) {
        let Leader { name, candidate, token, .. } = leader;
        tracing::info!(election = %name, %candidate, %token, "candidate acquired leadership");
        // Update the metric under the lock, so that the end of an old term cannot follow the start of a new one.
        let mut newest = self.newest.lock();
        newest.insert(name.clone(), *token);
        metrics::WON.with([name.clone().into()]).increment(1);
        metrics::IS_LEADER.with([name.clone().into()]).set(1.0);
    }

    fn end_term(&self, leader: &Leader) {
        let Leader { name, candidate, token, .. } = leader;
        tracing::info!(election = %name, %candidate, %token, "candidate lost leadership");
        let mut newest = self.newest.lock();
        if newest.get(name) == Some(token) {
            newest.remove(name);
            metrics::IS_LEADER.with([name.clone().into()]).set(0.0);
        }
    }
}
