//! The duties of the elected: what is due in the ledger is published, timers fire, commands that are not
//! wanted any more are taken back. One pass after the other, for as long as it leads: recovery is a
//! continuous claim, never a pass at launch.

use crate::Settings;
use crate::crew::Crew;
use crate::registry::Served;
use goconductor_election::{Election, Leadership};
use goconductor_queue::Topic;
use goconductor_saga::{Input, OwedKey, Side, Timestamp};
use goconductor_store::{ClaimRequest, Fence, LaneClaim, LedgerRow, RowKind, Shard};
use goconductor_transition::{COMMAND_FORMAT, Command, Engine, Error, clock, topic_of};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Between looks at the ledger when nothing is known to be due: other processes' timers are seen then.
const IDLE: Duration = Duration::from_millis(500);
/// Between looks when what is due has no room: an attempt has to end first. With a broker, it has to be
/// heard of first.
const BUSY: Duration = Duration::from_millis(5);
const BUSY_AFAR: Duration = Duration::from_millis(100);
/// What is due in the ledger does not wait for a queue to empty that others keep filling: this often, it gets a
/// part of a lane's capacity whatever waits there already.
const FEED: Duration = Duration::from_millis(100);
const FEED_PART: usize = 4;
/// Before the next try of one whose tokens are refused though it leads.
const BEHIND: Duration = Duration::from_secs(5);
/// Timers of one pass.
const TIMERS: u32 = 500;

/// What the elected of one share does.
#[derive(Debug)]
pub(crate) struct Duties {
    /// The share of the workflows that this duty is for.
    pub(crate) shard: Shard,
    pub(crate) engine: Arc<Engine>,
    pub(crate) election: Arc<dyn Election>,
    pub(crate) crew: Arc<Crew>,
    pub(crate) settings: Arc<Settings>,
    /// When each full lane was last given something of the ledger.
    pub(crate) fed: Mutex<HashMap<Topic, Instant>>,
}

impl Duties {
    /// Campaigns, and does the duties while it leads, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let name = format!("duties/{}-of-{}", self.shard.index, self.shard.of);
        while !stop.is_cancelled() {
            // Safe to cancel: a campaign that is dropped leaves nothing behind.
            let elected = tokio::select! {
                () = stop.cancelled() => return,
                elected = self.election.campaign(&name, &self.settings.identity) => elected,
            };
            match elected {
                Ok(leadership) => self.lead(leadership, &stop).await,
                Err(error) => {
                    tracing::warn!(%error, "the election is tried again");
                    tokio::time::sleep(IDLE).await;
                }
            }
        }
    }

    async fn lead(&self, leadership: Leadership, stop: &CancellationToken) {
        let fence = Fence { name: leadership.leader().name.clone(), token: leadership.token().0 };
        tracing::info!(duty = fence.name, token = fence.token, "leads");
        while leadership.is_valid() && !stop.is_cancelled() {
            let wait = match self.pass(&fence).await {
                Ok(wait) => wait,
                Err(goconductor_store::Error::Fenced { newest, .. }) => {
                    self.refused(leadership, newest, stop).await;
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "the ledger can't be claimed");
                    IDLE
                }
            };
            // Safe to cancel: the next pass reads what this wait would have waited for.
            tokio::select! {
                () = stop.cancelled() => {}
                () = leadership.lost() => {}
                () = self.engine.timer_notifier().notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        if let Err(error) = leadership.resign().await {
            tracing::debug!(%error, "the lease runs out by itself");
        }
    }

    /// A higher token was seen: mostly as another leads by now. If the election says that none does, it counts
    /// from lower than it did once, and only people can know why.
    async fn refused(&self, leadership: Leadership, newest: u64, stop: &CancellationToken) {
        let leader = leadership.leader();
        let present = self.election.observe(&leader.name).await;
        if !matches!(&present, Ok(Some(present)) if present == leader) {
            tracing::warn!(newest, "was replaced as leader of the duties");
            return;
        }
        tracing::error!(
            duty = leader.name,
            token = leader.token.0,
            newest,
            "the election gives lower tokens than it did once: if its backend was changed, or has lost its data, \
             raise election.era for all processes"
        );
        // Safe to cancel: nothing is waited for but time.
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(BEHIND) => {}
        }
    }

    /// Claims what is due and acts on it; how long nothing more is due.
    async fn pass(&self, fence: &Fence) -> Result<Duration, goconductor_store::Error> {
        let now = clock::now();
        // All at once: a broker takes its time for each, and whoever has just been elected knows of none.
        let served = self.crew.served();
        let sides = served.iter().flat_map(|served| [(served, Side::Execute), (served, Side::Compensate)]);
        let lanes = futures::future::join_all(sides.map(|(served, side)| self.lane(served, side))).await;
        let lanes = lanes.into_iter().flatten().collect();
        let request = ClaimRequest {
            fence: Some(fence.clone()),
            shard: Some(self.shard),
            now,
            lanes,
            timers: true,
            limit: TIMERS,
            redelivery: self.settings.redelivery,
        };
        // Until it is known when to look again, whatever becomes due rings.
        self.engine.timer_notifier().set_next_poll(Timestamp(i64::MAX));
        let claim = self.engine.store().claim(&request).await?;
        self.act(claim.rows, now).await;
        let now = clock::now();
        let busy = if self.engine.queue().outlives_processes() { BUSY_AFAR } else { BUSY };
        let wait = claim.next_due.map_or(IDLE, |due| due.since(now).clamp(busy, IDLE));
        self.engine.timer_notifier().set_next_poll(now.after(wait));
        Ok(wait)
    }

    /// What may be claimed for one lane: no more than it can take soon.
    async fn lane(&self, served: &Served, side: Side) -> Option<LaneClaim> {
        let topic = topic_of(&served.namespace, &served.service, side);
        let queue = self.engine.queue();
        if !queue.has_consumer(&topic).await.unwrap_or(false) {
            return None;
        }
        let backlog = self.crew.backlog(&topic).await.ok()?;
        let capacity = match side {
            Side::Execute => served.executes,
            Side::Compensate => served.compensations,
        };
        let waiting = usize::try_from(backlog.waiting).unwrap_or(usize::MAX);
        let room = match (2 * capacity).saturating_sub(waiting) {
            0 => self.feed(&topic, capacity),
            room => room,
        };
        Some(LaneClaim {
            namespace: served.namespace.clone(),
            service: served.service.clone(),
            side,
            waiting_since: backlog.oldest_waiting_ms.map(|at| Timestamp(at.saturating_mul(1000))),
            limit: u32::try_from(room).unwrap_or(u32::MAX),
        })
    }

    /// What a lane is given that has no room: retries, and what a crash has left, would otherwise wait for as
    /// long as new starts keep coming.
    fn feed(&self, topic: &Topic, capacity: usize) -> usize {
        let now = clock::monotonic();
        let mut fed = self.fed.lock().unwrap_or_else(PoisonError::into_inner);
        if fed.get(topic).is_some_and(|last| now.saturating_duration_since(*last) < FEED) {
            return 0;
        }
        fed.insert(topic.clone(), now);
        (capacity / FEED_PART / usize::from(self.shard.of.max(1))).max(1)
    }

    async fn act(&self, rows: Vec<LedgerRow>, now: Timestamp) {
        let mut commands = Vec::new();
        let mut news = Vec::new();
        for row in rows {
            match row.key.key {
                OwedKey::Timer(timer) => news.push((row.key.id, Input::FireTimer { timer })),
                OwedKey::Command(step, side) => match (row.kind, row.deliveries, &row.service) {
                    (RowKind::Withdraw, 0, _) => {
                        let attempt = row.key.attempt;
                        news.push((row.key.id, Input::WithdrawCommand { step, attempt }));
                    }
                    (RowKind::Run | RowKind::Withdraw, redelivery, Some(service)) => {
                        if redelivery > 0 {
                            metrics::counter!("goconductor_redeliveries_total").increment(1);
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
                            state: None,
                        };
                        commands.push((topic_of(&row.namespace, service, side), command));
                    }
                    (RowKind::Held, _, _) | (RowKind::Run | RowKind::Withdraw, _, None) => {
                        tracing::error!(workflow = %row.key.id, "the ledger gave a row that is not due");
                    }
                },
            }
        }
        for (topic, _) in &commands {
            self.crew.published(topic, 1);
        }
        self.engine.publish(commands).await;
        let news = news.into_iter().map(|(id, input)| async move {
            match self.engine.submit(id, input).await {
                Ok(_) | Err(Error::Refused(_)) => {}
                Err(error) => tracing::warn!(workflow = %id, %error, "a timer is left to the ledger"),
            }
        });
        futures::future::join_all(news).await;
    }
}
