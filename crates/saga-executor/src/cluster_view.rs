//! The services that all executors of the cluster serve. The elected dispatcher publishes commands for all of them.

mod backlog_cache;

use crate::registry::{Registry, ServedLanes, ServiceStatus};
use backlog_cache::BacklogCache;
use goconductor_queue::{Backlog, Error, Topic};
use goconductor_store::{ActionBacklog, Member, ProcessInfo, ServedService};
use goconductor_transition::Engine;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The interval at which the members of the cluster are read.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The services that the executors of the cluster serve, and the backlogs of their topics.
#[derive(Debug)]
pub(crate) struct ClusterView {
    engine: Arc<Engine>,
    registry: Arc<Registry>,
    identity: String,
    /// The lanes that other executors serve.
    peers: Mutex<Vec<ServedLanes>>,
    /// A cached backlog is used for up to this age.
    max_backlog_age: Duration,
    backlogs: Mutex<HashMap<Topic, Arc<BacklogCache>>>,
}

impl ClusterView {
    pub(crate) fn new(
        engine: Arc<Engine>,
        registry: Arc<Registry>,
        identity: String,
        redelivery: Duration,
    ) -> Arc<Self> {
        // A command is published again after `redelivery` at the earliest; see `BacklogCache`.
        let max_backlog_age = redelivery / 2;
        let (peers, backlogs) = (Mutex::default(), Mutex::default());
        Arc::new(Self { engine, registry, identity, peers, max_backlog_age, backlogs })
    }

    /// Follows the members of the cluster until `stop` is cancelled.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.engine.store().members().await {
                Ok(members) => {
                    let peers = members.iter().filter(|member| member.announcement.instance != self.identity);
                    *self.peers.lock() = peers.flat_map(lanes).collect();
                }
                Err(error) => tracing::debug!(%error, "executor failed to read the cluster members"),
            }
            // Cancel-safe: both arms only wait.
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Returns the services that any executor serves, with the sum of the executors' capacities.
    pub(crate) fn served_services(&self) -> Vec<ServedLanes> {
        let mut all: BTreeMap<(String, String), ServedLanes> = BTreeMap::new();
        let peers = self.peers.lock().clone();
        for served in self.registry.served_services().into_iter().chain(peers) {
            let key = (served.namespace.clone(), served.service.clone());
            all.entry(key)
                .and_modify(|total| {
                    total.executes = total.executes.saturating_add(served.executes);
                    total.compensations = total.compensations.saturating_add(served.compensations);
                })
                .or_insert(served);
        }
        all.into_values().collect()
    }

    /// Returns the backlog of a topic. The backlog of a broker's topic may be as old as half of the redelivery time.
    ///
    /// # Errors
    /// Returns the queue's error if no cached backlog is recent enough and the queue cannot be read.
    pub(crate) async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        let queue = self.engine.queue();
        if !queue.is_durable() {
            return queue.backlog(topic).await;
        }
        self.backlog_cache(topic).read(queue, topic, self.max_backlog_age).await
    }

    /// Records that this process published `count` messages to a topic.
    pub(crate) fn published(&self, topic: &Topic, count: u64) {
        self.backlog_cache(topic).add_published(count);
    }

    fn backlog_cache(&self, topic: &Topic) -> Arc<BacklogCache> {
        Arc::clone(self.backlogs.lock().entry(topic.clone()).or_default())
    }
}

/// Describes the services of an executor, for its membership.
pub(crate) fn process_info(
    registry: &Registry,
    only: &[String],
    workers: impl Fn(&str, &str) -> usize,
) -> ProcessInfo {
    let services = registry.statuses().into_iter().map(|ServiceStatus { lanes, transport, waiting }| {
        let actions = waiting.into_iter().map(|(action, waiting)| ActionBacklog {
            action,
            waiting: u64::try_from(waiting).unwrap_or(u64::MAX),
        });
        ServedService {
            workers: workers(&lanes.namespace, &lanes.service),
            namespace: lanes.namespace,
            service: lanes.service,
            executes: lanes.executes,
            compensations: lanes.compensations,
            by: transport.to_owned(),
            actions: actions.collect(),
            ..ServedService::default()
        }
    });
    let services = Some(services.collect());
    ProcessInfo { services, only: Some(only.to_vec()), ..ProcessInfo::default() }
}

fn lanes(member: &Member) -> impl Iterator<Item = ServedLanes> {
    member.announcement.info.served().map(|served| ServedLanes {
        namespace: served.namespace.clone(),
        service: served.service.clone(),
        executes: served.executes,
        compensations: served.compensations,
    })
}
