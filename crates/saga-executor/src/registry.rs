//! The services that this executor serves, and the transport to each. They can change at runtime.
//!
//! The calls that definitions spell out are served like a service of their namespace, by executors that serve all services.
//!
//! A service is served while a transport to it exists. In order of preference: a participant in this process, its
//! connected workers, its HTTP endpoint.

mod entry;

use crate::attempt::Runner;
use crate::calls::Calls;
use crate::concurrency::{ConcurrencyLimits, action_limits};
use crate::endpoint::{EndpointResolver, ServiceEndpoint};
use crate::http_client::HttpClient;
use crate::http_participant::HttpParticipant;
use crate::in_flight::InFlight;
use crate::lane_consumer::LaneConsumer;
use crate::limits::InFlightLimits;
use crate::settings::Settings;
use crate::task::Participant;
use crate::workers::{ServiceKey, Workers};
use entry::{Entry, Transport};
use goconductor_process::Vault;
use goconductor_queue::Topic;
use goconductor_saga::{CALLS_SERVICE, Side};
use goconductor_service_kit::fair::{FairSemaphore, Limits};
use goconductor_store::ServiceRecord;
use goconductor_transition::{Command, Engine, LocalDispatch, topic_of};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use entry::ServedLanes;

/// The interval at which the registered services are read, to see changes by other processes.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The timeout for the resolution of the name of an HTTP participant, for the connect and for the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How a service should be served.
struct DesiredService {
    transport: Transport,
    executes: usize,
    compensations: usize,
    /// The limits of single actions, by name.
    actions: BTreeMap<String, usize>,
}

/// The status of a service, as published to the cluster.
pub(crate) struct ServiceStatus {
    pub(crate) lanes: ServedLanes,
    /// The name of the transport.
    pub(crate) transport: &'static str,
    /// The number of waiting executes of each limited action.
    pub(crate) waiting: Vec<(String, usize)>,
}

/// The services that this executor serves.
#[derive(Debug)]
pub(crate) struct Registry {
    engine: Arc<Engine>,
    settings: Arc<Settings>,
    limits: InFlightLimits,
    runner: Arc<Runner>,
    workers: Arc<Workers>,
    in_process: BTreeMap<ServiceKey, (Arc<dyn Participant>, usize)>,
    http: HttpClient,
    /// The participant of the calls that definitions spell out.
    calls: Arc<dyn Participant>,
    vault: Option<Arc<Vault>>,
    entries: Mutex<BTreeMap<ServiceKey, Entry>>,
    consumers: RwLock<HashMap<Topic, Arc<LaneConsumer>>>,
    /// The permits that all services share: one semaphore for executes, one for compensations.
    shared_permits: [FairSemaphore; 2],
    tasks: TaskTracker,
    give_up: CancellationToken,
}

impl Registry {
    pub(crate) fn new(
        engine: Arc<Engine>,
        settings: Arc<Settings>,
        limits: InFlightLimits,
        in_flight: Arc<InFlight>,
        workers: Arc<Workers>,
        in_process: BTreeMap<ServiceKey, (Arc<dyn Participant>, usize)>,
        vault: Option<Arc<Vault>>,
    ) -> Arc<Self> {
        let give_up = CancellationToken::new();
        let shared_permits = [(); 2].map(|()| FairSemaphore::new(shared_limits(limits.get().all)));
        let runner = Arc::new(Runner {
            engine: Arc::clone(&engine),
            settings: Arc::clone(&settings),
            in_flight,
            give_up: give_up.clone(),
            shortage_logged: Mutex::default(),
        });
        let http = HttpClient::new(CONNECT_TIMEOUT, Arc::new(settings.outbound.clone()));
        let calls = Calls::new(http.clone(), vault.clone(), settings.output_bytes);
        let this = Arc::new(Self {
            engine,
            settings,
            limits,
            runner,
            workers,
            in_process,
            http,
            calls: Arc::new(calls),
            vault,
            entries: Mutex::default(),
            consumers: RwLock::default(),
            shared_permits,
            tasks: TaskTracker::new(),
            give_up,
        });
        let local: Weak<dyn LocalDispatch> = Arc::downgrade(&this) as Weak<dyn LocalDispatch>;
        this.engine.set_local_dispatch(local);
        this
    }

    /// Returns the services that are served now, with the capacities of their lanes.
    pub(crate) fn served_services(&self) -> Vec<ServedLanes> {
        self.entries.lock().iter().map(|(key, entry)| entry.lanes(key)).collect()
    }

    /// Returns the status of each service.
    pub(crate) fn statuses(&self) -> Vec<ServiceStatus> {
        let status = |(key, entry): (&ServiceKey, &Entry)| ServiceStatus {
            lanes: entry.lanes(key),
            transport: entry.transport.name(),
            waiting: entry.actions.waiting(),
        };
        self.entries.lock().iter().map(status).collect()
    }

    /// Follows the registered services until `stop` is cancelled, then drains the attempts in flight.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut services = Vec::new();
        let mut resolver = EndpointResolver::new(self.vault.clone());
        let mut endpoints = BTreeMap::new();
        let mut limits = self.limits.subscribe();
        while !stop.is_cancelled() {
            let all = limits.borrow_and_update().all;
            self.shared_permits.iter().for_each(|permits| permits.set_limits(shared_limits(all)));
            match self.engine.store().services().await {
                Ok(read) => {
                    endpoints = resolver.resolve(&read).await;
                    services = read;
                }
                Err(error) => tracing::warn!(%error, "executor failed to read the services"),
            }
            self.reconcile(self.desired(&services, &endpoints), &stop);
            // Cancel-safe: the next poll makes up for a missed notification.
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.engine.services_changed().notified() => {}
                // The sender lives as long as `self`, so the channel is open.
                _ = limits.changed() => {}
                () = self.workers.changed().notified() => {
                    self.reconcile(self.desired(&services, &endpoints), &stop);
                }
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
        self.tasks.close();
        if tokio::time::timeout(self.settings.drain, self.tasks.wait()).await.is_err() {
            tracing::warn!("executor gave up attempts at the drain timeout; the ledger will redeliver them");
            self.give_up.cancel();
            self.tasks.wait().await;
        }
    }

    fn desired(
        &self,
        services: &[ServiceRecord],
        endpoints: &BTreeMap<ServiceKey, Arc<ServiceEndpoint>>,
    ) -> BTreeMap<ServiceKey, DesiredService> {
        let mut desired = BTreeMap::new();
        let compensations = self.limits.get().compensations;
        for service in services.iter().filter(|service| self.is_configured(&service.name)) {
            let key = (service.namespace.clone(), service.name.clone());
            if service.name == CALLS_SERVICE {
                desired.insert(key, self.desired_calls());
                continue;
            }
            if let Some(endpoint) = endpoints.get(&key) {
                let http = DesiredService {
                    transport: Transport::Http(Arc::clone(endpoint)),
                    executes: self.executes(service),
                    compensations,
                    actions: action_limits(&service.settings),
                };
                desired.insert(key, http);
            }
        }
        let of = |key: &ServiceKey, participant: Arc<dyn Participant>, capacity: usize| {
            let record = services.iter().find(|service| service.namespace == key.0 && service.name == key.1);
            let executes = record.map_or(self.limits.get().executes, |record| self.executes(record));
            DesiredService {
                transport: Transport::Participant(participant),
                executes: capacity.min(executes),
                compensations: capacity.min(compensations),
                actions: record.map(|record| action_limits(&record.settings)).unwrap_or_default(),
            }
        };
        for (key, pool, capacity) in self.workers.serving() {
            let of = of(&key, pool, capacity);
            desired.insert(key, of);
        }
        for (key, (participant, capacity)) in &self.in_process {
            desired.insert(key.clone(), of(key, Arc::clone(participant), *capacity));
        }
        desired
    }

    /// Returns how the calls of a namespace are served. Its record exists since a definition with a call was applied.
    fn desired_calls(&self) -> DesiredService {
        DesiredService {
            transport: Transport::Participant(Arc::clone(&self.calls)),
            executes: self.limits.get().executes,
            compensations: self.limits.get().compensations,
            actions: BTreeMap::new(),
        }
    }

    /// Returns whether the settings allow this executor to serve a service.
    fn is_configured(&self, service: &str) -> bool {
        self.settings.services.is_empty() || self.settings.services.iter().any(|each| each == service)
    }

    /// Returns how many executes of a service may be in flight.
    fn executes(&self, service: &ServiceRecord) -> usize {
        let limit = service.settings.max_in_flight.and_then(|limit| usize::try_from(limit).ok());
        limit.filter(|limit| *limit > 0).unwrap_or(self.limits.get().executes)
    }

    fn reconcile(&self, desired: BTreeMap<ServiceKey, DesiredService>, stop: &CancellationToken) {
        let mut entries = self.entries.lock();
        entries.retain(|key, entry| {
            let stays = desired.contains_key(key);
            if !stays {
                tracing::info!(service = key.1, namespace = key.0, "executor stopped serving a service");
                entry.stop.cancel();
            }
            stays
        });
        self.consumers.write().retain(|_, consumer| !consumer.stop.is_cancelled());
        for (key, desired) in desired {
            if let Some(entry) = entries.get_mut(&key) {
                self.update(&key, entry, desired);
                continue;
            }
            let participant = self.participant(&desired.transport);
            let DesiredService { transport, executes, compensations, actions } = desired;
            let entry = Entry::new(transport, participant, executes, compensations, stop.child_token());
            entry.actions.set(&actions);
            tracing::info!(service = key.1, namespace = key.0, "executor started serving a service");
            self.start_consumers(&key, &entry);
            entries.insert(key, entry);
        }
    }

    fn update(&self, (namespace, service): &ServiceKey, entry: &mut Entry, desired: DesiredService) {
        if !entry.transport.is_same(&desired.transport) {
            let transport = desired.transport.name();
            tracing::info!(service, namespace, transport, "transport of a service changed");
            *entry.endpoint.write() = self.participant(&desired.transport);
            entry.transport = desired.transport;
        }
        entry.executes.resize(desired.executes);
        entry.compensations.resize(desired.compensations);
        entry.actions.set(&desired.actions);
    }

    fn start_consumers(&self, (namespace, service): &ServiceKey, entry: &Entry) {
        let [executes, compensations] = &self.shared_permits;
        let sides = [
            (Side::Execute, &entry.executes, executes),
            (Side::Compensate, &entry.compensations, compensations),
        ];
        for (side, lane, executor) in sides {
            let consumer = Arc::new(LaneConsumer {
                runner: Arc::clone(&self.runner),
                topic: topic_of(namespace, service, side),
                endpoint: Arc::clone(&entry.endpoint),
                limits: ConcurrencyLimits {
                    side,
                    namespace: namespace.clone(),
                    lane: lane.semaphore(),
                    executor: executor.clone(),
                    actions: Arc::clone(&entry.actions),
                },
                tasks: TaskTracker::new(),
                stop: entry.stop.clone(),
            });
            self.tasks.spawn(goconductor_supervisor::supervise("lane-consumer", Arc::clone(&consumer).run()));
            self.consumers.write().insert(consumer.topic.clone(), consumer);
        }
    }

    fn participant(&self, transport: &Transport) -> Arc<dyn Participant> {
        match transport {
            Transport::Http(endpoint) => {
                Arc::new(HttpParticipant::new(self.http.clone(), endpoint, self.settings.output_bytes))
            }
            Transport::Participant(participant) => Arc::clone(participant),
        }
    }
}

/// Returns the limits of the permits that all services share.
fn shared_limits(permits: usize) -> Limits {
    Limits { permits, permits_per_key: permits, waiting_per_key: usize::MAX }
}

impl LocalDispatch for Registry {
    fn try_accept(&self, topic: &Topic, command: Command) -> Option<Command> {
        let consumer = self.consumers.read().get(topic).cloned();
        match consumer {
            Some(consumer) => consumer.try_accept(command),
            None => Some(command),
        }
    }
}
