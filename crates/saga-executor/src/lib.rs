//! Runs beside microservices: takes their commands, has them executed or compensated, reports how each
//! attempt ended; and hosts the duties (redelivery, timers) while it is elected.
//!
//! Any number run side by side and none is special: what an executor knows it has from the queue and
//! the store, and what it loses the ledger brings back.
//!
//! It deliberately decides nothing: every outcome goes through the conductor, which asks `saga`.
//!
//! Invariants: a command is acknowledged once it is taken, never once it is done; an execute is not sent
//! after its attempt's deadline; a command that was delivered before counts as an attempt that may have
//! happened; no compensation waits behind an execute.

mod attempt;
mod duties;
mod http_participant;
mod in_flight;
mod lane;
mod registry;
mod task;

use goconductor_election::Election;
use goconductor_transition::Conductor;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub use http_participant::HttpParticipant;
pub use task::{Participant, Task};

/// What an executor is set to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name in histories; a random one at each boot, so that no two are ever the same.
    pub identity: String,
    /// Executes of one service under way at once, unless the service says otherwise.
    pub executes_in_flight: usize,
    /// Compensations of one service under way at once.
    pub compensations_in_flight: usize,
    /// An attempt that takes longer is written as started.
    pub start_grace: Duration,
    /// A command that was delivered is due again after this.
    pub redelivery: Duration,
    /// How long attempts under way are awaited at the end.
    pub drain: Duration,
    /// The most that a participant may answer, in bytes.
    pub output_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            identity: "executor".to_owned(),
            executes_in_flight: 64,
            compensations_in_flight: 32,
            start_grace: Duration::from_millis(200),
            redelivery: Duration::from_secs(5),
            drain: Duration::from_secs(10),
            output_bytes: 512 << 10,
        }
    }
}

/// An executor, and the duties.
#[derive(Debug)]
pub struct Executor {
    conductor: Arc<Conductor>,
    election: Arc<dyn Election>,
    settings: Arc<Settings>,
}

impl Executor {
    /// An executor that is not running yet.
    #[must_use]
    pub fn new(conductor: Arc<Conductor>, election: Arc<dyn Election>, settings: Settings) -> Self {
        Self { conductor, election, settings: Arc::new(settings) }
    }

    /// Runs until `stop`, then ends what is under way.
    pub async fn run(self, stop: CancellationToken) {
        let in_flight =
            in_flight::InFlight::new(Arc::clone(self.conductor.store()), self.settings.redelivery);
        let registry = registry::Registry::new(
            Arc::clone(&self.conductor),
            Arc::clone(&self.settings),
            Arc::clone(&in_flight),
        );
        let duties = duties::Duties {
            conductor: Arc::clone(&self.conductor),
            election: self.election,
            registry: Arc::clone(&registry),
            settings: Arc::clone(&self.settings),
        };
        // Heartbeats go on until the last attempt has ended, so they have a stop of their own.
        let last = CancellationToken::new();
        let heartbeats = tokio::spawn(Arc::clone(&in_flight).heartbeat(last.clone()));
        tokio::join!(duties.run(stop.clone()), registry.run(stop));
        last.cancel();
        drop(heartbeats.await);
    }
}
