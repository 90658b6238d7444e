//! The services that this executor serves, and how each is reached: followed while it runs.
//!
//! A service is served for as long as there is a way to reach it: in this process, by workers that are
//! connected, or by its address, in this order.

mod entry;

use crate::Settings;
use crate::attempt::Runner;
use crate::http_participant::{HttpClient, HttpParticipant};
use crate::in_flight::InFlight;
use crate::lane::Lane;
use crate::room::{Rooms, limits};
use crate::task::Participant;
use crate::workers::{ServiceKey, Workers};
use entry::{Entry, Way};
use goconductor_queue::Topic;
use goconductor_saga::Side;
use goconductor_service_kit::fair::{FairSemaphore, Limits};
use goconductor_store::ServiceRecord;
use goconductor_transition::{Command, Engine, LocalDispatch, topic_of};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Changes by other processes are seen after this long at the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A connection that is not there after this long is taken for refused.
const CONNECT: Duration = Duration::from_secs(5);

/// A service that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) namespace: String,
    pub(crate) service: String,
    /// Commands of one side that it can have under way.
    pub(crate) executes: usize,
    pub(crate) compensations: usize,
}

/// How a service is to be served.
struct Wanted {
    way: Way,
    executes: usize,
    compensations: usize,
    /// What its settings say of its actions.
    actions: BTreeMap<String, usize>,
}

/// A service that is served, as it is told to others.
pub(crate) struct About {
    pub(crate) served: Served,
    /// How it is reached, in a word.
    pub(crate) way: &'static str,
    /// How many executes of each limited action wait.
    pub(crate) actions: Vec<(String, usize)>,
}

/// What is served here.
#[derive(Debug)]
pub(crate) struct Registry {
    engine: Arc<Engine>,
    settings: Arc<Settings>,
    runner: Arc<Runner>,
    workers: Arc<Workers>,
    in_process: BTreeMap<ServiceKey, (Arc<dyn Participant>, usize)>,
    http: HttpClient,
    entries: Mutex<BTreeMap<ServiceKey, Entry>>,
    by_topic: RwLock<HashMap<Topic, Arc<Lane>>>,
    /// The places of all services, for executes and for compensations.
    places: [FairSemaphore; 2],
    lanes: TaskTracker,
    give_up: CancellationToken,
}

impl Registry {
    pub(crate) fn new(
        engine: Arc<Engine>,
        settings: Arc<Settings>,
        in_flight: Arc<InFlight>,
        workers: Arc<Workers>,
        in_process: BTreeMap<ServiceKey, (Arc<dyn Participant>, usize)>,
    ) -> Arc<Self> {
        let give_up = CancellationToken::new();
        let places = settings.all_in_flight;
        let places = [(); 2].map(|()| {
            FairSemaphore::new(Limits {
                permits: places,
                permits_per_key: places,
                waiting_per_key: usize::MAX,
            })
        });
        let runner = Arc::new(Runner {
            engine: Arc::clone(&engine),
            settings: Arc::clone(&settings),
            in_flight,
            give_up: give_up.clone(),
        });
        let this = Arc::new(Self {
            engine,
            settings,
            runner,
            workers,
            in_process,
            http: HttpClient::new(CONNECT),
            entries: Mutex::default(),
            by_topic: RwLock::default(),
            places,
            lanes: TaskTracker::new(),
            give_up,
        });
        let local: Weak<dyn LocalDispatch> = Arc::downgrade(&this) as Weak<dyn LocalDispatch>;
        this.engine.set_local_dispatch(local);
        this
    }

    /// What is served just now.
    pub(crate) fn served(&self) -> Vec<Served> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().map(|(key, entry)| entry.served(key)).collect()
    }

    /// How each service fares just now.
    pub(crate) fn about(&self) -> Vec<About> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let about = |(key, entry): (&ServiceKey, &Entry)| About {
            served: entry.served(key),
            way: entry.way.name(),
            actions: entry.actions.waiting(),
        };
        entries.iter().map(about).collect()
    }

    /// Follows the services until `stop`, then waits for what is under way, for as long as is set.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut services = Vec::new();
        while !stop.is_cancelled() {
            match self.engine.store().services().await {
                Ok(read) => services = read,
                Err(error) => tracing::warn!(%error, "the services can't be read"),
            }
            self.serve(self.wanted(&services), &stop);
            // Safe to cancel: a notification that is missed is made good by the next look.
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.engine.services_changed().notified() => {}
                () = self.workers.changed().notified() => self.serve(self.wanted(&services), &stop),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
        self.lanes.close();
        if tokio::time::timeout(self.settings.drain, self.lanes.wait()).await.is_err() {
            tracing::warn!("attempts under way are given up: the ledger brings them back");
            self.give_up.cancel();
            self.lanes.wait().await;
        }
    }

    /// Whether this executor is there for the service.
    fn is_ours(&self, service: &str) -> bool {
        self.settings.services.is_empty() || self.settings.services.iter().any(|each| each == service)
    }

    fn wanted(&self, services: &[ServiceRecord]) -> BTreeMap<ServiceKey, Wanted> {
        let mut wanted = BTreeMap::new();
        for service in services.iter().filter(|service| self.is_ours(&service.name)) {
            if service.settings.http.is_some() {
                let key = (service.namespace.clone(), service.name.clone());
                let executes = self.executes(service);
                let compensations = self.settings.compensations_in_flight;
                let way = Way::Http(service.settings.clone());
                wanted
                    .insert(key, Wanted { way, executes, compensations, actions: limits(&service.settings) });
            }
        }
        let of = |key: &ServiceKey, participant: Arc<dyn Participant>, capacity: usize| {
            let known = services.iter().find(|service| service.namespace == key.0 && service.name == key.1);
            Wanted {
                way: Way::Participant(participant),
                executes: capacity
                    .min(known.map_or(self.settings.executes_in_flight, |known| self.executes(known))),
                compensations: capacity.min(self.settings.compensations_in_flight),
                actions: known.map(|known| limits(&known.settings)).unwrap_or_default(),
            }
        };
        for (key, pool, capacity) in self.workers.serving() {
            let of = of(&key, pool, capacity);
            wanted.insert(key, of);
        }
        for (key, (participant, capacity)) in &self.in_process {
            wanted.insert(key.clone(), of(key, Arc::clone(participant), *capacity));
        }
        wanted
    }

    fn serve(&self, wanted: BTreeMap<ServiceKey, Wanted>, stop: &CancellationToken) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|key, entry| {
            let stays = wanted.contains_key(key);
            if !stays {
                tracing::info!(service = key.1, namespace = key.0, "the service is served here no more");
                entry.stop.cancel();
            }
            stays
        });
        let mut by_topic = self.by_topic.write().unwrap_or_else(PoisonError::into_inner);
        by_topic.retain(|_, lane| !lane.stop.is_cancelled());
        drop(by_topic);
        for (key, wanted) in wanted {
            if let Some(entry) = entries.get_mut(&key) {
                if !entry.way.is(&wanted.way) {
                    let participant = self.participant(&wanted.way);
                    tracing::info!(service = key.1, "the service is reached in another way now");
                    *entry.endpoint.write().unwrap_or_else(PoisonError::into_inner) = participant;
                    entry.way = wanted.way;
                }
                entry.executes.resize(wanted.executes);
                entry.compensations.resize(wanted.compensations);
                entry.actions.set(&wanted.actions);
                continue;
            }
            let participant = self.participant(&wanted.way);
            let entry = Entry::new(
                wanted.way,
                participant,
                wanted.executes,
                wanted.compensations,
                stop.child_token(),
            );
            entry.actions.set(&wanted.actions);
            tracing::info!(service = key.1, namespace = key.0, "the service is served here");
            self.begin(&key, &entry);
            entries.insert(key, entry);
        }
    }

    fn begin(&self, (namespace, service): &ServiceKey, entry: &Entry) {
        let [executes, compensations] = &self.places;
        let sides = [
            (Side::Execute, &entry.executes, executes),
            (Side::Compensate, &entry.compensations, compensations),
        ];
        for (side, places, executor) in sides {
            let lane = Arc::new(Lane {
                runner: Arc::clone(&self.runner),
                topic: topic_of(namespace, service, side),
                endpoint: Arc::clone(&entry.endpoint),
                rooms: Rooms {
                    side,
                    namespace: namespace.clone(),
                    lane: places.permits(),
                    executor: executor.clone(),
                    actions: Arc::clone(&entry.actions),
                },
                tasks: TaskTracker::new(),
                stop: entry.stop.clone(),
            });
            self.lanes.spawn(Arc::clone(&lane).run());
            let mut by_topic = self.by_topic.write().unwrap_or_else(PoisonError::into_inner);
            by_topic.insert(lane.topic.clone(), lane);
        }
    }

    /// How many of its executes may be under way at once.
    fn executes(&self, service: &ServiceRecord) -> usize {
        let limit = service.settings.max_in_flight;
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
        limit.unwrap_or(self.settings.executes_in_flight)
    }

    fn participant(&self, way: &Way) -> Arc<dyn Participant> {
        match way {
            Way::Http(settings) => {
                let url = settings.url().unwrap_or_default();
                Arc::new(HttpParticipant::new(self.http.clone(), url, self.settings.output_bytes))
            }
            Way::Participant(participant) => Arc::clone(participant),
        }
    }
}

impl LocalDispatch for Registry {
    fn try_accept(&self, topic: &Topic, command: Command) -> Option<Command> {
        let lane = {
            let lanes = self.by_topic.read().unwrap_or_else(PoisonError::into_inner);
            lanes.get(topic).cloned()
        };
        match lane {
            Some(lane) => lane.try_accept(command),
            None => Some(command),
        }
    }
}
