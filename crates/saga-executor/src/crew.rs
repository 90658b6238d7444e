//! What the executors together serve: the duties are led by one of them on behalf of all.

use crate::registry::{Registry, Served};
use goconductor_queue::{Backlog, Error, Topic};
use goconductor_saga::Json;
use goconductor_store::Member;
use goconductor_transition::{Conductor, clock};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Who came or went is known after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How far a broker's topic has been taken is asked again after this long: it costs the broker something.
const BACKLOG_AGE: Duration = Duration::from_millis(150);

/// What the executors together serve.
#[derive(Debug)]
pub(crate) struct Crew {
    conductor: Arc<Conductor>,
    registry: Arc<Registry>,
    identity: String,
    others: Mutex<Vec<Served>>,
    backlogs: tokio::sync::Mutex<HashMap<Topic, (Instant, Backlog)>>,
}

impl Crew {
    pub(crate) fn new(conductor: Arc<Conductor>, registry: Arc<Registry>, identity: String) -> Arc<Self> {
        let (others, backlogs) = (Mutex::default(), tokio::sync::Mutex::default());
        Arc::new(Self { conductor, registry, identity, others, backlogs })
    }

    /// Follows who else is there, until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.conductor.store().members().await {
                Ok(members) => {
                    let others =
                        members.iter().filter(|member| member.announcement.instance != self.identity);
                    let served = others.flat_map(lanes).collect();
                    *self.others.lock().unwrap_or_else(PoisonError::into_inner) = served;
                }
                Err(error) => tracing::debug!(%error, "who else is there is not known for now"),
            }
            // Safe to cancel: a sleep holds nothing.
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// The services that anybody serves, with what all that serve one can have under way together.
    pub(crate) fn served(&self) -> Vec<Served> {
        let mut all: BTreeMap<(String, String), Served> = BTreeMap::new();
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for served in self.registry.served().into_iter().chain(others) {
            let key = (served.namespace.clone(), served.service.clone());
            all.entry(key)
                .and_modify(|known| {
                    known.executes = known.executes.saturating_add(served.executes);
                    known.compensations = known.compensations.saturating_add(served.compensations);
                })
                .or_insert(served);
        }
        all.into_values().collect()
    }

    /// How far a topic has been taken.
    pub(crate) async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        let queue = self.conductor.queue();
        if !queue.outlives_processes() {
            return queue.backlog(topic).await;
        }
        // Held while it is asked: the duties of this process ask once together.
        let mut backlogs = self.backlogs.lock().await;
        let now = clock::monotonic();
        if let Some((asked, backlog)) = backlogs.get(topic)
            && now.duration_since(*asked) < BACKLOG_AGE
        {
            return Ok(*backlog);
        }
        let backlog = queue.backlog(topic).await?;
        backlogs.insert(topic.clone(), (clock::monotonic(), backlog));
        Ok(backlog)
    }
}

/// What an executor says of itself.
pub(crate) fn about(registry: &Registry, only: &[String], workers: impl Fn(&str, &str) -> usize) -> Json {
    let lanes: Vec<Json> = registry
        .ways()
        .into_iter()
        .map(|(served, way)| {
            json!({
                "namespace": served.namespace,
                "service": served.service,
                "executes": served.executes,
                "compensations": served.compensations,
                "by": way,
                "workers": workers(&served.namespace, &served.service),
            })
        })
        .collect();
    json!({ "services": lanes, "only": only })
}

fn lanes(member: &Member) -> Vec<Served> {
    let text = |lane: &Json, name: &str| lane.get(name).and_then(Json::as_str).map(str::to_owned);
    let count = |lane: &Json, name: &str| {
        lane.get(name).and_then(Json::as_u64).and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
    };
    let services = member.announcement.about.get("services").and_then(Json::as_array);
    let served = |lane: &Json| {
        Some(Served {
            namespace: text(lane, "namespace")?,
            service: text(lane, "service")?,
            executes: count(lane, "executes"),
            compensations: count(lane, "compensations"),
        })
    };
    services.into_iter().flatten().filter_map(served).collect()
}
