//! An executor: its registry of services, its dispatchers and its heartbeats.

use crate::cluster_view::{self, ClusterView};
use crate::connection_log::ConnectionLog;
use crate::dispatcher::Dispatcher;
use crate::in_flight::InFlight;
use crate::limits::InFlightLimits;
use crate::metrics;
use crate::registry::Registry;
use crate::scheduler::Scheduler;
use crate::settings::Settings;
use crate::task::{OutputLimit, Participant};
use crate::worker_service::{self, WorkerAcceptor};
use crate::workers::{ServiceKey, Workers};
use goconductor_access::AccessControl;
use goconductor_election::Election;
use goconductor_process::Vault;
use goconductor_store::{ProcessInfo, WorkflowShard};
use goconductor_transition::Engine;
use goconductor_wire::v1::worker_service_server::WorkerServiceServer;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// The heartbeats of a running command within its redelivery time.
const HEARTBEATS_PER_REDELIVERY: u32 = 3;

/// An executor of commands, with the dispatchers that it runs while it is elected.
#[derive(Debug)]
pub struct Executor {
    engine: Arc<Engine>,
    election: Arc<dyn Election>,
    settings: Arc<Settings>,
    limits: InFlightLimits,
    in_flight: Arc<InFlight>,
    workers: Arc<Workers>,
    access: Option<AccessControl>,
    in_process: BTreeMap<ServiceKey, (Arc<dyn Participant>, usize)>,
    vault: Option<Arc<Vault>>,
    registry: Arc<OnceLock<Arc<Registry>>>,
}

impl Executor {
    /// Creates an executor. It receives no command before [`run`](Self::run).
    #[must_use]
    pub fn new(engine: Arc<Engine>, election: Arc<dyn Election>, settings: Settings) -> Self {
        let in_flight = InFlight::new(
            engine.store().clone(),
            settings.claim_delay(),
            settings.redelivery / HEARTBEATS_PER_REDELIVERY,
        );
        Self {
            engine,
            election,
            limits: InFlightLimits::of(&settings),
            settings: Arc::new(settings),
            in_flight,
            workers: Arc::default(),
            access: None,
            in_process: BTreeMap::new(),
            vault: None,
            registry: Arc::default(),
        }
    }

    /// Checks which services a worker may serve. Without `access`, all workers may serve everything.
    #[must_use]
    pub fn with_access_control(mut self, access: Option<AccessControl>) -> Self {
        self.access = access;
        self
    }

    /// Adds a service that runs in this process, with up to `capacity` attempts of each side in flight.
    #[must_use]
    pub fn with_participant(
        mut self,
        namespace: &str,
        service: &str,
        participant: Arc<dyn Participant>,
        capacity: usize,
    ) -> Self {
        let key = (namespace.to_owned(), service.to_owned());
        let participant: Arc<dyn Participant> =
            Arc::new(OutputLimit { participant, bytes: self.settings.output_bytes });
        self.in_process.insert(key, (participant, capacity));
        self
    }

    /// Sets the secrets that the endpoints of services may refer to.
    #[must_use]
    pub fn with_vault(mut self, vault: Option<Arc<Vault>>) -> Self {
        self.vault = vault;
        self
    }

    /// Returns the gRPC service that workers connect to. After `stop`, it drains the connected workers and refuses
    /// new ones. Must be called within a Tokio runtime.
    #[must_use]
    pub fn worker_service(&self, stop: CancellationToken) -> WorkerServiceServer<WorkerAcceptor> {
        let (workers, settings) = (Arc::clone(&self.workers), Arc::clone(&self.settings));
        let log = ConnectionLog::start(self.engine.store().clone(), stop.clone());
        worker_service::service(workers, settings, self.access.clone(), log, stop)
    }

    /// Returns the limits of attempts in flight. They can be changed while the executor runs.
    #[must_use]
    pub fn in_flight_limits(&self) -> InFlightLimits {
        self.limits.clone()
    }

    /// Returns a function that describes the services that this executor serves at the time of the call.
    pub fn process_info(&self) -> impl Fn() -> ProcessInfo + Send + 'static {
        let (registry, workers) = (Arc::clone(&self.registry), Arc::clone(&self.workers));
        let only = self.settings.services.clone();
        move || match registry.get() {
            Some(registry) => cluster_view::process_info(registry, &only, |namespace, service| {
                workers.count(&(namespace.to_owned(), service.to_owned()))
            }),
            None => ProcessInfo::default(),
        }
    }

    /// Runs until `stop` is cancelled, then drains the attempts in flight.
    pub async fn run(self, stop: CancellationToken) {
        goconductor_telemetry::describe(metrics::ALL);
        let registry = Registry::new(
            Arc::clone(&self.engine),
            Arc::clone(&self.settings),
            self.limits,
            Arc::clone(&self.in_flight),
            Arc::clone(&self.workers),
            self.in_process,
            self.vault,
        );
        // Invariant: `run` consumes the executor, so the cell is set once.
        drop(self.registry.set(Arc::clone(&registry)));
        let identity = self.settings.identity.clone();
        let redelivery = self.settings.redelivery;
        let cluster = ClusterView::new(Arc::clone(&self.engine), Arc::clone(&registry), identity, redelivery);
        let of = self.settings.duty_shards;
        let dispatchers = (0..of).map(|index| {
            let dispatcher = Dispatcher::new(
                WorkflowShard { index, of },
                Arc::clone(&self.engine),
                Arc::clone(&self.election),
                Arc::clone(&cluster),
                Arc::clone(&self.settings),
            );
            dispatcher.run(stop.clone())
        });
        // The heartbeats must outlive the last attempt, so they have a token of their own.
        let drained = CancellationToken::new();
        let heartbeats = Arc::clone(&self.in_flight).send_heartbeats(drained.clone());
        let heartbeats = goconductor_supervisor::spawn("heartbeats", heartbeats);
        let dispatchers = futures::future::join_all(dispatchers);
        let scheduler =
            Scheduler::new(Arc::clone(&self.engine), Arc::clone(&self.election), Arc::clone(&self.settings));
        let until = stop.clone();
        let scheduler = async move {
            if of > 0 {
                scheduler.run(until).await;
            }
        };
        tokio::join!(dispatchers, scheduler, Arc::clone(&cluster).follow(stop.clone()), registry.run(stop));
        drained.cancel();
        drop(heartbeats.await);
    }
}
