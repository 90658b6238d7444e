//! Samples the backlogs of the services that starts need. One task does so, and it is idle while nothing is started.

use super::backlog::Sample;
use crate::api::Api;
use goconductor_queue::Backlog;
use goconductor_saga::Side;
use goconductor_store::Member;
use goconductor_transition::{clock, topic_of};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The interval between samples of an in-process queue.
const LOCAL_INTERVAL: Duration = Duration::from_millis(100);
/// The interval between samples of a broker, for which a sample is a round trip. A low credit shortens it.
const BROKER_INTERVAL: Duration = Duration::from_millis(500);
/// The interval between reads of the cluster's members.
const MEMBERS_INTERVAL: Duration = Duration::from_secs(1);
/// The most backlogs that a broker is asked for concurrently.
const MAX_CONCURRENT_SAMPLES: usize = 4;

/// The services that the executors serve, as the executors announce them.
#[derive(Debug, Default)]
struct ServedServices {
    read_at: Option<Instant>,
    services: BTreeSet<(String, String)>,
    /// The commands that wait for a permit of an action with a limit of its own.
    actions: BTreeMap<(String, String, String), u64>,
}

/// Samples the backlogs until the gateway shuts down.
pub(crate) async fn monitor(api: Api) {
    let interval = if api.engine.queue().is_durable() { BROKER_INTERVAL } else { LOCAL_INTERVAL };
    let limits = &api.admission.backlog;
    let mut served = ServedServices::default();
    loop {
        // All branches are safe to cancel: a backlog stays due until it is sampled.
        tokio::select! {
            () = api.stop.cancelled() => return,
            () = limits.sample_due() => {}
            () = tokio::time::sleep(MEMBERS_INTERVAL) => {
                api.admission.record_gauges();
                continue;
            }
        }
        api.admission.record_gauges();
        let samples = limits.due_samples(clock::monotonic());
        if !samples.is_empty() {
            let is_refreshed = served.refresh(&api).await;
            let (actions, services): (Vec<_>, Vec<_>) =
                samples.iter().partition(|sample| sample.key.action.is_some());
            // The backlog of an action is known from the executors' announcements only.
            for sample in actions {
                if is_refreshed {
                    sample_action(&api, &served, sample);
                } else {
                    limits.postpone(sample);
                }
            }
            for chunk in services.chunks(MAX_CONCURRENT_SAMPLES) {
                let sampling = chunk.iter().map(|sample| sample_service(&api, &served, sample));
                futures::future::join_all(sampling).await;
            }
        }
        tokio::time::sleep(LOCAL_INTERVAL).await;
        // Both branches are safe to cancel: a low credit leads to a sample at once.
        tokio::select! {
            () = tokio::time::sleep(interval - LOCAL_INTERVAL) => {}
            () = limits.credit_low() => {}
        }
    }
}

fn sample_action(api: &Api, served: &ServedServices, sample: &Sample) {
    let limits = &api.admission.backlog;
    let key = &sample.key;
    let action = key.action.clone().unwrap_or_default();
    match served.actions.get(&(key.namespace.clone(), key.service.clone(), action)) {
        Some(waiting) => limits.record(sample, Backlog { waiting: *waiting, ..Backlog::default() }),
        None => limits.lift(sample),
    }
}

async fn sample_service(api: &Api, served: &ServedServices, sample: &Sample) {
    let limits = &api.admission.backlog;
    let key = &sample.key;
    let queue = api.engine.queue();
    let topic = topic_of(&key.namespace, &key.service, Side::Execute);
    let is_served = if queue.is_durable() {
        served.services.contains(&(key.namespace.clone(), key.service.clone()))
    } else {
        queue.has_consumer(&topic).await.unwrap_or(false)
    };
    if !is_served {
        limits.lift(sample);
        return;
    }
    match queue.depth(&topic).await {
        Ok(backlog) => limits.record(sample, backlog),
        Err(error) => {
            tracing::debug!(%topic, error = error.report(), "backlog sample failed");
            limits.lift(sample);
        }
    }
}

impl ServedServices {
    /// Reads the members of the cluster again if the interval has passed. Returns whether it read them.
    async fn refresh(&mut self, api: &Api) -> bool {
        let now = clock::monotonic();
        if self.read_at.is_some_and(|read_at| now.saturating_duration_since(read_at) < MEMBERS_INTERVAL) {
            return false;
        }
        self.read_at = Some(now);
        let members = match api.store().members().await {
            Ok(members) => members,
            Err(error) => {
                tracing::debug!(%error, "read of the cluster's members failed");
                return false;
            }
        };
        let gateways = members.iter().filter(|member| member.announcement.kind == "api-gateway").count();
        api.admission.backlog.set_gateways(u64::try_from(gateways).unwrap_or(1));
        self.services.clear();
        self.actions.clear();
        for member in &members {
            self.add(member);
        }
        true
    }

    fn add(&mut self, member: &Member) {
        for served in member.announcement.info.served() {
            let (namespace, name) = (served.namespace.clone(), served.service.clone());
            for limited in &served.actions {
                let key = (namespace.clone(), name.clone(), limited.action.clone());
                *self.actions.entry(key).or_default() += limited.waiting;
            }
            self.services.insert((namespace, name));
        }
    }
}
