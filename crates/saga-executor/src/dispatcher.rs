//! The dispatcher of one shard of the workflows. The elected executor polls the dispatch ledger: it publishes due
//! commands, fires timers and withdraws commands that are no longer needed. Recovery is the same continuous poll, not
//! a separate pass at startup.

use crate::cluster_view::ClusterView;
use crate::metrics;
use crate::registry::ServedLanes;
use crate::settings::Settings;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt as _, StreamExt as _};
use goconductor_election::{Election, Leadership};
use goconductor_queue::Topic;
use goconductor_saga::{Input, OwedKey, Side, StepIndex, TimerKind, Timestamp};
use goconductor_store::{ClaimRequest, Fence, LaneClaim, LedgerRow, LedgerRowKey, RowKind, WorkflowShard};
use goconductor_transition::{COMMAND_FORMAT, Command, Engine, Error, clock, topic_of};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The poll interval while no row is known to be due. It bounds the delay of timers that other processes set.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The poll interval while due rows wait for capacity, which an attempt has to free.
const BUSY_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The same with a broker, whose backlog must be read again first.
const BUSY_BROKER_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A lane without free capacity still gets a minimum share of its capacity from the ledger, this often. New starts
/// could otherwise keep the queue full without end.
const MINIMUM_SHARE_INTERVAL: Duration = Duration::from_millis(100);
/// The minimum share is the capacity divided by this.
const MINIMUM_SHARE_DIVISOR: usize = 4;
/// The delay before a leader with a stale fencing token campaigns again.
const FENCED_RETRY_DELAY: Duration = Duration::from_secs(5);
/// Timers that one poll may fire.
const MAX_TIMERS: u32 = 500;
/// Children, and as many waits for locks, that one poll acts on at the same time. Each lock takes a connection of the
/// store, which the timers need as well.
const MAX_CONCURRENT_ACTIONS: usize = 16;

/// The dispatcher of one shard.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    shard: WorkflowShard,
    engine: Arc<Engine>,
    election: Arc<dyn Election>,
    cluster: Arc<ClusterView>,
    settings: Arc<Settings>,
    /// When each full lane last got its minimum share.
    minimum_shares: Mutex<HashMap<Topic, Instant>>,
}

impl Dispatcher {
    pub(crate) fn new(
        shard: WorkflowShard,
        engine: Arc<Engine>,
        election: Arc<dyn Election>,
        cluster: Arc<ClusterView>,
        settings: Arc<Settings>,
    ) -> Self {
        Self { shard, engine, election, cluster, settings, minimum_shares: Mutex::default() }
    }

    /// Campaigns for leadership of the shard, and dispatches while it leads, until `stop` is cancelled.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let name = format!("duties/{}-of-{}", self.shard.index, self.shard.of);
        while !stop.is_cancelled() {
            self.record_leadership(false);
            // Cancel-safe: a dropped campaign leaves no candidate behind.
            let elected = tokio::select! {
                () = stop.cancelled() => return,
                elected = self.election.campaign(&name, &self.settings.identity) => elected,
            };
            match elected {
                Ok(leadership) => {
                    self.record_leadership(true);
                    let lost = leadership.lost();
                    // A claim can last longer than the term.
                    let record_end = async {
                        lost.await;
                        self.record_leadership(false);
                        std::future::pending().await
                    };
                    // Cancel-safe: `record_end` never completes.
                    tokio::select! {
                        () = self.lead(leadership, &stop) => {}
                        () = record_end => {}
                    }
                }
                Err(error) => {
                    tracing::warn!(shard = name, %error, "executor failed to campaign; retrying");
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
            }
        }
    }

    fn record_leadership(&self, is_leader: bool) {
        let shard = format!("{}-of-{}", self.shard.index, self.shard.of);
        metrics::IS_LEADER.with([shard.into()]).set(f64::from(u8::from(is_leader)));
    }

    async fn lead(&self, leadership: Leadership, stop: &CancellationToken) {
        let fence = Fence { name: leadership.leader().name.clone(), token: leadership.token().0 };
        tracing::info!(shard = fence.name, token = fence.token, "executor acquired leadership");
        while leadership.is_valid() && !stop.is_cancelled() {
            let delay = match self.poll_once(&fence).await {
                Ok(delay) => delay,
                Err(goconductor_store::Error::Fenced { newest, .. }) => {
                    self.fenced(leadership, newest, stop).await;
                    return;
                }
                Err(error) => {
                    tracing::warn!(shard = fence.name, %error, "executor failed to claim ledger rows");
                    POLL_INTERVAL
                }
            };
            // Cancel-safe: the next poll reads what the other arms would have signalled.
            tokio::select! {
                () = stop.cancelled() => {}
                () = leadership.lost() => {}
                () = self.engine.timer_notifier().notified() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
        if let Err(error) = leadership.resign().await {
            tracing::debug!(shard = fence.name, %error, "executor failed to resign; its lease must expire first");
        }
    }

    /// Handles a refused fencing token. Usually another executor has been elected. If the election still names this
    /// one, it issues lower tokens than it did before, which only an operator can resolve.
    async fn fenced(&self, leadership: Leadership, newest: u64, stop: &CancellationToken) {
        let leader = leadership.leader();
        let current = self.election.observe(&leader.name).await;
        if !matches!(&current, Ok(Some(current)) if current == leader) {
            tracing::warn!(shard = leader.name, newest, "executor lost leadership to another executor");
            return;
        }
        tracing::error!(
            shard = leader.name,
            token = leader.token.0,
            newest,
            "election issued a lower fencing token than before; if its backend was changed or lost its data, raise \
             election.era for all processes"
        );
        // Cancel-safe: both arms only wait.
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(FENCED_RETRY_DELAY) => {}
        }
    }

    /// Claims the due rows and dispatches them. Returns the delay until the next poll.
    #[tracing::instrument(level = "debug", skip_all, fields(shard = fence.name, token = fence.token))]
    async fn poll_once(&self, fence: &Fence) -> Result<Duration, goconductor_store::Error> {
        let now = clock::now();
        // Concurrent, because a new leader has no cached backlog and a broker takes time for each.
        let served = self.cluster.served_services();
        let sides = served.iter().flat_map(|served| [(served, Side::Execute), (served, Side::Compensate)]);
        let lanes = futures::future::join_all(sides.map(|(served, side)| self.claim(served, side))).await;
        let request = ClaimRequest {
            fence: Some(fence.clone()),
            shard: Some(self.shard),
            now,
            lanes: lanes.into_iter().flatten().collect(),
            timers: true,
            limit: MAX_TIMERS,
            redelivery: self.settings.claim_delay(),
        };
        // Until the next poll is scheduled, every new due time notifies the dispatcher.
        self.engine.timer_notifier().set_next_poll(Timestamp(i64::MAX));
        let claim = self.engine.store().claim(&request).await?;
        self.dispatch(claim.rows, now).await;
        let now = clock::now();
        let is_broker = self.engine.queue().is_durable();
        let busy = if is_broker { BUSY_BROKER_POLL_INTERVAL } else { BUSY_POLL_INTERVAL };
        let delay = claim.next_due.map_or(POLL_INTERVAL, |due| due.since(now).clamp(busy, POLL_INTERVAL));
        self.engine.timer_notifier().set_next_poll(now.after(delay));
        Ok(delay)
    }

    /// Returns the claim of a lane: no more rows than it can run soon. Returns `None` if the lane has no consumer or
    /// its backlog is unknown.
    async fn claim(&self, served: &ServedLanes, side: Side) -> Option<LaneClaim> {
        let topic = topic_of(&served.namespace, &served.service, side);
        let queue = self.engine.queue();
        if !queue.has_consumer(&topic).await.unwrap_or(false) {
            return None;
        }
        let backlog = self.cluster.backlog(&topic).await.ok()?;
        let capacity = match side {
            Side::Execute => served.executes,
            Side::Compensate => served.compensations,
        };
        let waiting = usize::try_from(backlog.waiting).unwrap_or(usize::MAX);
        let limit = match (2 * capacity).saturating_sub(waiting) {
            0 => self.minimum_share(&topic, capacity),
            free => free,
        };
        Some(LaneClaim {
            namespace: served.namespace.clone(),
            service: served.service.clone(),
            side,
            waiting_since: backlog.oldest_waiting_ms.map(|at| Timestamp(at.saturating_mul(1000))),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        })
    }

    /// Returns the share of a lane without free capacity. Without it, retries and the rows of a crashed executor
    /// would wait while new starts keep the queue full.
    fn minimum_share(&self, topic: &Topic, capacity: usize) -> usize {
        let now = clock::monotonic();
        let mut shares = self.minimum_shares.lock();
        let last = shares.get(topic);
        if last.is_some_and(|last| now.saturating_duration_since(*last) < MINIMUM_SHARE_INTERVAL) {
            return 0;
        }
        shares.insert(topic.clone(), now);
        (capacity / MINIMUM_SHARE_DIVISOR / usize::from(self.shard.of.max(1))).max(1)
    }

    /// Publishes the commands of the claimed rows and submits the inputs of the others.
    async fn dispatch(&self, rows: Vec<LedgerRow>, now: Timestamp) {
        let mut commands = Vec::new();
        let mut inputs = Vec::new();
        let (mut children, mut waits) = (Vec::new(), Vec::new());
        for row in rows {
            match row.key.key {
                OwedKey::Timer(TimerKind::StepChild(step)) => children.push((row.key, step)),
                OwedKey::Timer(timer @ (TimerKind::WorkflowLock | TimerKind::StepLock(_))) => {
                    waits.push((row.key, timer));
                }
                OwedKey::Timer(timer) => inputs.push((row.key, Input::FireTimer { timer })),
                OwedKey::Command(step, side) => match (row.kind, row.deliveries, &row.service) {
                    (RowKind::Withdraw, 0, _) => {
                        let attempt = row.key.attempt;
                        inputs.push((row.key, Input::WithdrawCommand { step, attempt }));
                    }
                    (RowKind::Run | RowKind::Withdraw, redelivery, Some(service)) => {
                        if redelivery > 0 {
                            metrics::REDELIVERIES.increment(1);
                        }
                        let command = Command {
                            format: COMMAND_FORMAT,
                            id: row.key.id,
                            seq: 0,
                            step,
                            side,
                            attempt: row.key.attempt,
                            redelivery,
                            published_at: now,
                            trace: None,
                            state: None,
                        };
                        commands.push((topic_of(&row.namespace, service, side), command));
                    }
                    (RowKind::Held, _, _) | (RowKind::Run | RowKind::Withdraw, _, None) => {
                        tracing::error!(workflow = %row.key.id, "ledger returned a row that is not due");
                    }
                },
            }
        }
        for (topic, _) in &commands {
            self.cluster.published(topic, 1);
        }
        self.engine.publish(commands).await;
        let submits = inputs.into_iter().map(|(key, input)| async move {
            match self.engine.submit(key.id, input).await {
                Ok(_) | Err(Error::Refused(_)) => {}
                Err(error) => {
                    tracing::warn!(workflow = %key.id, %error, "executor failed to submit a due input; the ledger keeps it");
                    self.retry_later(key).await;
                }
            }
        });
        let children = children.into_iter().map(|(key, step)| self.drive_child(key, step).boxed());
        let waits = waits.into_iter().map(|(key, timer)| self.acquire_locks(key, timer).boxed());
        futures::future::join3(join_all(submits), bounded(children.collect()), bounded(waits.collect()))
            .await;
    }

    async fn acquire_locks(&self, key: LedgerRowKey, timer: TimerKind) {
        match self.engine.acquire_locks(key.id, timer).await {
            Ok(()) | Err(Error::Refused(_)) => {}
            Err(error) => {
                tracing::warn!(workflow = %key.id, %error, "executor failed to acquire locks; the ledger keeps the request");
                self.retry_later(key).await;
            }
        }
    }

    /// Makes a row due again whose action failed, if its claim holds it for longer than the redelivery time.
    async fn retry_later(&self, key: LedgerRowKey) {
        if !self.settings.virtual_time {
            return;
        }
        let at = clock::now().after(self.settings.redelivery);
        if let Err(error) = self.engine.store().extend(&[key], at).await {
            tracing::warn!(workflow = %key.id, %error, "executor failed to make a ledger row due again");
        }
    }

    /// Acts on the child of a step, and postpones its row until the child must be checked again.
    async fn drive_child(&self, key: LedgerRowKey, step: StepIndex) {
        let (id, driven) = (key.id, self.engine.drive_child(key.id, step).await);
        let postponed = match driven {
            Ok(Some(at)) => self.engine.store().extend(&[key], at).await.map_err(Error::from),
            Ok(None) | Err(Error::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = postponed {
            tracing::warn!(workflow = %id, step = step.0, %error, "executor failed to act on a child; the ledger keeps it");
            self.retry_later(key).await;
        }
    }
}

/// Carries out actions, a few at a time.
async fn bounded(actions: Vec<BoxFuture<'_, ()>>) {
    futures::stream::iter(actions).buffer_unordered(MAX_CONCURRENT_ACTIONS).collect::<()>().await;
}
