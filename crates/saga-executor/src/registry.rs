//! The services that this executor serves, and how each is reached: followed while it runs.

use crate::Settings;
use crate::attempt::Runner;
use crate::http_participant::{HttpClient, HttpParticipant};
use crate::in_flight::InFlight;
use crate::lane::{Endpoint, Lane};
use crate::task::Participant;
use goconductor_saga::{Json, Side};
use goconductor_store::ServiceRecord;
use goconductor_transition::Conductor;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Changes by other processes are seen after this long at the latest.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A connection that is not there after this long is taken for refused.
const CONNECT: Duration = Duration::from_secs(5);

/// A service that is served here.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) namespace: String,
    pub(crate) service: String,
    /// Commands of one side that it can have under way.
    pub(crate) executes: usize,
    pub(crate) compensations: usize,
}

#[derive(Debug)]
struct Entry {
    served: Served,
    settings: Json,
    endpoint: Endpoint,
    /// Places for executes: as many as `served.executes`.
    places: Arc<Semaphore>,
}

impl Entry {
    /// Gives the lane as many places as it is to have. What is taken is not taken away: the next look goes
    /// on where this one had to stop.
    fn resize(&mut self, executes: usize) {
        let now = &mut self.served.executes;
        if executes > *now {
            self.places.add_permits(executes - *now);
            *now = executes;
        } else {
            *now -= self.places.forget_permits(*now - executes);
        }
    }
}

/// What is served here.
#[derive(Debug)]
pub(crate) struct Registry {
    conductor: Arc<Conductor>,
    settings: Arc<Settings>,
    runner: Arc<Runner>,
    http: HttpClient,
    entries: Mutex<BTreeMap<(String, String), Entry>>,
    lanes: TaskTracker,
    give_up: CancellationToken,
}

impl Registry {
    pub(crate) fn new(
        conductor: Arc<Conductor>,
        settings: Arc<Settings>,
        in_flight: Arc<InFlight>,
    ) -> Arc<Self> {
        let give_up = CancellationToken::new();
        let runner = Arc::new(Runner {
            conductor: Arc::clone(&conductor),
            settings: Arc::clone(&settings),
            in_flight,
            give_up: give_up.clone(),
        });
        Arc::new(Self {
            conductor,
            settings,
            runner,
            http: HttpClient::new(CONNECT),
            entries: Mutex::new(BTreeMap::new()),
            lanes: TaskTracker::new(),
            give_up,
        })
    }

    /// What is served just now.
    pub(crate) fn served(&self) -> Vec<Served> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.values().map(|entry| entry.served.clone()).collect()
    }

    /// Follows the services until `stop`, then waits for what is under way, for as long as is set.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.conductor.store().services().await {
                Ok(services) => {
                    for service in services {
                        self.serve(&service, &stop);
                    }
                }
                Err(error) => tracing::warn!(%error, "the services can't be read"),
            }
            // Safe to cancel: a notification that is missed is made good by the next look.
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.conductor.services_changed().notified() => {}
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

    fn serve(&self, service: &ServiceRecord, stop: &CancellationToken) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (service.namespace.clone(), service.name.clone());
        if let Some(entry) = entries.get_mut(&key) {
            if entry.settings != service.settings
                && let Some(participant) = self.participant(service)
            {
                tracing::info!(service = service.name, "the service is reached in another way now");
                *entry.endpoint.write().unwrap_or_else(PoisonError::into_inner) = participant;
                entry.settings = service.settings.clone();
            }
            entry.resize(self.executes(service));
            return;
        }
        let Some(participant) = self.participant(service) else { return };
        let executes = self.executes(service);
        let served = Served {
            namespace: service.namespace.clone(),
            service: service.name.clone(),
            executes,
            compensations: self.settings.compensations_in_flight,
        };
        tracing::info!(service = service.name, namespace = service.namespace, "the service is served here");
        let endpoint: Endpoint = Arc::new(RwLock::new(participant));
        let places = Arc::new(Semaphore::new(executes));
        let compensation_places = Arc::new(Semaphore::new(served.compensations));
        for (side, permits) in [(Side::Execute, &places), (Side::Compensate, &compensation_places)] {
            let lane = Lane {
                runner: Arc::clone(&self.runner),
                namespace: service.namespace.clone(),
                service: service.name.clone(),
                side,
                endpoint: Arc::clone(&endpoint),
                permits: Arc::clone(permits),
            };
            self.lanes.spawn(lane.run(stop.clone()));
        }
        entries.insert(key, Entry { served, settings: service.settings.clone(), endpoint, places });
    }

    /// How many of its executes may be under way at once.
    fn executes(&self, service: &ServiceRecord) -> usize {
        let limit = service.settings.get("max_in_flight").and_then(Json::as_u64);
        let limit = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
        limit.unwrap_or(self.settings.executes_in_flight)
    }

    fn participant(&self, service: &ServiceRecord) -> Option<Arc<dyn Participant>> {
        let url = service.settings.get("http")?.get("url")?.as_str()?;
        Some(Arc::new(HttpParticipant::new(self.http.clone(), url, self.settings.output_bytes)))
    }
}
