//! What the executors together serve: the duties are led by one of them on behalf of all.

use crate::registry::{About, Registry, Served};
use goconductor_queue::{Backlog, Error, Queue, Topic};
use goconductor_store::{ActionBacklog, Member, ProcessInfo, ServedService};
use goconductor_transition::{Engine, clock};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Who came or went is known after this long.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How far a broker's topic has been taken is asked again after this long: it costs the broker something.
const BACKLOG_AGE: Duration = Duration::from_millis(150);

/// Since when the oldest waits is asked again after this: it costs more, and what was said stays true, only
/// that by then more has been taken.
const SINCE_AGE: Duration = Duration::from_secs(1);

/// How far a broker's topic has been taken: what is known, and who is asking.
#[derive(Debug, Default)]
struct Lane {
    known: Mutex<Option<Known>>,
    asking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    asked: Instant,
    backlog: Backlog,
    /// When it was last asked since when the oldest waits, and what was said.
    since_asked: Instant,
    oldest_ms: Option<i64>,
    /// What was published since then.
    more: u64,
}

impl Lane {
    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was heard within this time.
    fn heard(&self, within: Duration) -> Option<Backlog> {
        let known = (*self.known())?;
        let fresh = clock::monotonic().duration_since(known.asked) < within;
        let waiting = known.backlog.waiting.saturating_add(known.more);
        // What came to wait after it was said that nothing does: nobody knows since when.
        let oldest_waiting_ms = (known.backlog.waiting > 0).then_some(known.oldest_ms.unwrap_or(0));
        fresh.then_some(Backlog { waiting, oldest_waiting_ms, taken: known.backlog.taken })
    }

    async fn ask(&self, queue: &dyn Queue, topic: &Topic) -> Result<(), Error> {
        let asked = clock::monotonic();
        let before = *self.known();
        let before = before.filter(|known| asked.duration_since(known.since_asked) < SINCE_AGE);
        let known = match before {
            Some(known) => Known { asked, backlog: queue.depth(topic).await?, more: 0, ..known },
            None => {
                let backlog = queue.backlog(topic).await?;
                let oldest_ms = backlog.oldest_waiting_ms;
                Known { asked, backlog, since_asked: asked, oldest_ms, more: 0 }
            }
        };
        *self.known() = Some(known);
        Ok(())
    }
}

/// What the executors together serve.
#[derive(Debug)]
pub(crate) struct Crew {
    engine: Arc<Engine>,
    registry: Arc<Registry>,
    identity: String,
    others: Mutex<Vec<Served>>,
    /// What was heard of a topic is good for this long: a command is published again long after.
    patience: Duration,
    lanes: Mutex<HashMap<Topic, Arc<Lane>>>,
}

impl Crew {
    pub(crate) fn new(
        engine: Arc<Engine>,
        registry: Arc<Registry>,
        identity: String,
        redelivery: Duration,
    ) -> Arc<Self> {
        let (others, lanes, patience) = (Mutex::default(), Mutex::default(), redelivery / 2);
        Arc::new(Self { engine, registry, identity, others, patience, lanes })
    }

    /// Follows who else is there, until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.engine.store().members().await {
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

    fn lane(&self, topic: &Topic) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lanes.entry(topic.clone()).or_default())
    }

    /// How far a topic has been taken. A broker needs a while to say so, and the duties do not wait for it:
    /// what it said a moment ago leaves more waiting than there is, never less, as long as what it is asked
    /// about was published before. A row is published again only after twice the time that this is good for.
    pub(crate) async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        let queue = self.engine.queue();
        if !queue.outlives_processes() {
            return queue.backlog(topic).await;
        }
        let lane = self.lane(topic);
        if let Some(backlog) = lane.heard(BACKLOG_AGE) {
            return Ok(backlog);
        }
        if let Some(backlog) = lane.heard(self.patience) {
            if let Ok(asks) = Arc::clone(&lane.asking).try_lock_owned() {
                let (queue, topic) = (Arc::clone(queue), topic.clone());
                tokio::spawn(async move {
                    if let Err(error) = lane.ask(&*queue, &topic).await {
                        tracing::debug!(%topic, %error, "what waits is not known for now");
                    }
                    drop(asks);
                });
            }
            return Ok(backlog);
        }
        let _asks = lane.asking.lock().await;
        if lane.heard(BACKLOG_AGE).is_none() {
            lane.ask(&**queue, topic).await?;
        }
        lane.heard(self.patience).ok_or_else(|| Error::Unavailable { reason: "it took too long".to_owned() })
    }

    /// So many messages were published to a topic.
    pub(crate) fn published(&self, topic: &Topic, count: u64) {
        if let Some(known) = &mut *self.lane(topic).known() {
            known.more = known.more.saturating_add(count);
        }
    }
}

/// Describes what an executor serves, for its membership.
pub(crate) fn process_info(
    registry: &Registry,
    only: &[String],
    workers: impl Fn(&str, &str) -> usize,
) -> ProcessInfo {
    let services = registry.about().into_iter().map(|About { served, way, actions }| {
        let actions = actions.into_iter().map(|(action, waiting)| ActionBacklog {
            action,
            waiting: u64::try_from(waiting).unwrap_or(u64::MAX),
        });
        ServedService {
            workers: workers(&served.namespace, &served.service),
            namespace: served.namespace,
            service: served.service,
            executes: served.executes,
            compensations: served.compensations,
            by: way.to_owned(),
            actions: actions.collect(),
            ..ServedService::default()
        }
    });
    let services = Some(services.collect());
    ProcessInfo { services, only: Some(only.to_vec()), ..ProcessInfo::default() }
}

fn lanes(member: &Member) -> impl Iterator<Item = Served> {
    member.announcement.info.served().map(|served| Served {
        namespace: served.namespace.clone(),
        service: served.service.clone(),
        executes: served.executes,
        compensations: served.compensations,
    })
}
