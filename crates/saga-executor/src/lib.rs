//! Runs beside microservices: takes their commands, has them executed or compensated, reports how each
//! attempt ended; and hosts the duties (redelivery, timers) while it is elected.
//!
//! Any number run side by side and none is special: what an executor knows it has from the queue and
//! the store, and what it loses the ledger brings back.
//!
//! It deliberately decides nothing: every outcome goes through the engine, which asks `saga`.
//!
//! Invariants: a command is acknowledged once it is taken, never once it is done; an execute is not sent
//! after its attempt's deadline; a command that was delivered before counts as an attempt that may have
//! happened; no compensation waits behind an execute.

mod attempt;
mod crew;
mod duties;
mod http_participant;
mod in_flight;
mod lane;
mod registry;
mod room;
mod run;
mod task;
mod vigil;
mod worker_service;
mod workers;

use crew::Crew;
use duties::Duties;
use goconductor_election::Election;
use goconductor_store::{ProcessInfo, Shard};
use goconductor_transition::Engine;
use goconductor_wire::v1::worker_service_server::WorkerServiceServer;
use in_flight::InFlight;
use registry::Registry;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use workers::ServiceKey;

pub use goconductor_transition::clock::now;
pub use http_participant::HttpParticipant;
pub use run::{InProcess, run, run_with, settings};
pub use task::{Participant, Pulse, Task};
pub use worker_service::Service as WorkerService;
pub use workers::Workers;

/// What an executor is set to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name in histories; a random one at each boot, so that no two are ever the same.
    pub identity: String,
    /// Executes of all services under way at once, and as many compensations: namespaces share them fairly.
    pub all_in_flight: usize,
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
    /// The services that it is there for; none: all.
    pub services: Vec<String>,
    /// In how many shares the duties are led; 0: it does not stand for them.
    pub duty_shards: u8,
    /// A worker on whose stream nothing is heard for this long is lost.
    pub worker_lease: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            identity: "executor".to_owned(),
            all_in_flight: 1024,
            executes_in_flight: 64,
            compensations_in_flight: 32,
            start_grace: Duration::from_millis(200),
            redelivery: Duration::from_secs(5),
            drain: Duration::from_secs(10),
            output_bytes: 512 << 10,
            services: Vec::new(),
            duty_shards: 1,
            worker_lease: Duration::from_secs(5),
        }
    }
}

/// An executor, and the duties.
#[derive(Debug)]
pub struct Executor {
    engine: Arc<Engine>,
    election: Arc<dyn Election>,
    settings: Arc<Settings>,
    in_flight: Arc<InFlight>,
    workers: Arc<Workers>,
    in_process: BTreeMap<ServiceKey, (Arc<dyn Participant>, usize)>,
    registry: Arc<OnceLock<Arc<Registry>>>,
}

impl Executor {
    /// An executor that is not running yet.
    #[must_use]
    pub fn new(engine: Arc<Engine>, election: Arc<dyn Election>, settings: Settings) -> Self {
        let in_flight = InFlight::new(engine.store().clone(), settings.redelivery);
        Self {
            engine,
            election,
            settings: Arc::new(settings),
            in_flight,
            workers: Arc::default(),
            in_process: BTreeMap::new(),
            registry: Arc::default(),
        }
    }

    /// Has a service carried out in this process, `capacity` attempts of each side at once.
    #[must_use]
    pub fn with_participant(
        mut self,
        namespace: &str,
        service: &str,
        participant: Arc<dyn Participant>,
        capacity: usize,
    ) -> Self {
        let key = (namespace.to_owned(), service.to_owned());
        self.in_process.insert(key, (participant, capacity));
        self
    }

    /// What seats workers that connect; at `stop` they are told to go elsewhere.
    #[must_use]
    pub fn worker_service(&self, stop: CancellationToken) -> WorkerServiceServer<WorkerService> {
        worker_service::service(Arc::clone(&self.workers), Arc::clone(&self.settings), stop)
    }

    /// Returns a function that describes what this executor serves.
    pub fn process_info(&self) -> impl Fn() -> ProcessInfo + Send + 'static {
        let (registry, workers) = (Arc::clone(&self.registry), Arc::clone(&self.workers));
        let only = self.settings.services.clone();
        move || match registry.get() {
            Some(registry) => crew::process_info(registry, &only, |namespace, service| {
                workers.count(&(namespace.to_owned(), service.to_owned()))
            }),
            None => ProcessInfo::default(),
        }
    }

    /// Runs until `stop`, then ends what is under way.
    pub async fn run(self, stop: CancellationToken) {
        let registry = Registry::new(
            Arc::clone(&self.engine),
            Arc::clone(&self.settings),
            Arc::clone(&self.in_flight),
            Arc::clone(&self.workers),
            self.in_process,
        );
        // Run once: it is taken by value.
        drop(self.registry.set(Arc::clone(&registry)));
        let identity = self.settings.identity.clone();
        let crew =
            Crew::new(Arc::clone(&self.engine), Arc::clone(&registry), identity, self.settings.redelivery);
        let of = self.settings.duty_shards;
        let duties = (0..of).map(|index| {
            let duties = Duties {
                shard: Shard { index, of },
                engine: Arc::clone(&self.engine),
                election: Arc::clone(&self.election),
                crew: Arc::clone(&crew),
                settings: Arc::clone(&self.settings),
                fed: Mutex::default(),
            };
            duties.run(stop.clone())
        });
        // Heartbeats go on until the last attempt has ended, so they have a stop of their own.
        let last = CancellationToken::new();
        let heartbeats = tokio::spawn(Arc::clone(&self.in_flight).heartbeat(last.clone()));
        let duties = futures::future::join_all(duties);
        tokio::join!(duties, Arc::clone(&crew).follow(stop.clone()), registry.run(stop));
        last.cancel();
        drop(heartbeats.await);
    }
}
