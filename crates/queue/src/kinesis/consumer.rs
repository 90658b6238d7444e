//! A consumer: it holds a share of a stream's shards, reads them ahead, and writes down how far they were
//! acknowledged.
//!
//! One task keeps the leases, and one reads each shard, whatever the owner does. All of them end with the consumer.

mod held;
mod keeper;
mod reader;
mod shares;

use super::api::Api;
use super::fault::Pauses;
use super::lease::{Leases, Mark};
use crate::{Consumer, Delivery, DeliveryTag, Error};
use async_trait::async_trait;
use held::{Due, State};
use keeper::Keeper;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

/// Messages that are read ahead, at most, and their bytes. One answer may be larger.
const AHEAD: usize = 1000;
const AHEAD_BYTES: usize = 4 << 20;
/// Whoever keeps the leases may be out of reach for so long before an acknowledgement is given up: nobody else
/// takes the shards meanwhile, as nobody reaches it.
const MARK_PATIENCE: Duration = Duration::from_secs(15);
const MARK_PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];
/// Shards are shared out when none has moved for so long: longer than a newcomer lets others keep what they have.
const SHARED_OUT: Duration = Duration::from_secs(3);
/// How long that may take, and how often it is looked at.
const READY: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(500);
/// How long a good-bye may take.
const LEAVE: Duration = Duration::from_secs(3);

/// Tells the consumers of a process apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Takes messages of one topic.
pub(super) struct KinesisConsumer {
    shared: Arc<Shared>,
    /// Dropped with the consumer, which ends its tasks.
    _stop: watch::Sender<()>,
    /// Rings when its leases have been given up.
    left: Option<oneshot::Receiver<()>>,
}

impl std::fmt::Debug for KinesisConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KinesisConsumer").field("stream", &self.shared.stream).finish_non_exhaustive()
    }
}

/// What the consumer and its tasks share.
#[derive(Debug)]
pub(super) struct Shared {
    api: Arc<Api>,
    leases: Arc<dyn Leases>,
    stream: String,
    /// Who it is in leases.
    owner: String,
    lives: Duration,
    state: Mutex<State>,
    /// There is something to be taken.
    came: Notify,
    /// There is room for more.
    room: Notify,
    /// Something has changed that the keeper should look at.
    changed: Notify,
    /// One writes down at a time: what is older never follows what is newer.
    marking: tokio::sync::Mutex<()>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There will be no more, and why.
    fn fail(&self, why: Error) {
        metrics::counter!("goconductor_queue_consumer_errors_total").increment(1);
        self.state().failed = Some(why);
        self.came.notify_waiters();
    }

    /// Writes down how far all shards were acknowledged, or those of which there is news.
    async fn mark(&self, lives: Duration, all: bool) -> Result<(), Error> {
        let _one = self.marking.lock().await;
        let due = self.state().due(lives, all);
        if due.is_empty() {
            return Ok(());
        }
        let marks: Vec<Mark> = due.iter().map(|due| due.mark.clone()).collect();
        let kept = self.leases.mark(&self.stream, &self.owner, &marks).await?;
        let mut state = self.state();
        let written = |(due, kept): (Due, bool)| state.written(due, kept);
        // Each of them: what goes first must not hide the others.
        let gone = due.into_iter().zip(kept).map(written).filter(|gone| *gone).count();
        drop(state);
        if gone > 0 {
            self.room.notify_waiters();
            self.changed.notify_one();
        }
        Ok(())
    }
}

impl KinesisConsumer {
    pub(super) fn begin(
        api: Arc<Api>,
        leases: Arc<dyn Leases>,
        stream: String,
        identity: &str,
        lives: Duration,
    ) -> Self {
        let shared = Arc::new(Shared {
            api,
            leases,
            stream,
            owner: format!("{identity}/{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
            lives,
            state: Mutex::default(),
            came: Notify::new(),
            room: Notify::new(),
            changed: Notify::new(),
            marking: tokio::sync::Mutex::default(),
        });
        let (stop, stopped) = watch::channel(());
        let (tell, left) = oneshot::channel();
        let keeper = Keeper::new(Arc::clone(&shared));
        // Ends when the consumer is dropped.
        tokio::spawn(async move {
            keeper.run(stopped).await;
            tell.send(()).ok();
        });
        Self { shared, _stop: stop, left: Some(left) }
    }

    fn give(&self, max: usize) -> Result<Vec<Delivery>, Error> {
        let mut state = self.shared.state();
        let given = state.give(max);
        match &state.failed {
            Some(why) if given.is_empty() => Err(why.clone()),
            Some(_) | None => Ok(given),
        }
    }
}

#[async_trait]
impl Consumer for KinesisConsumer {
    async fn take(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        loop {
            let came = self.shared.came.notified();
            tokio::pin!(came);
            // From here on no message is missed.
            came.as_mut().enable();
            let given = self.give(max)?;
            if !given.is_empty() {
                self.shared.room.notify_waiters();
                let count = u64::try_from(given.len()).unwrap_or(u64::MAX);
                let stream = self.shared.stream.clone();
                metrics::counter!("goconductor_queue_taken_total", "topic" => stream).increment(count);
                return Ok(given);
            }
            came.await;
        }
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        if deliveries.is_empty() {
            return Ok(Vec::new());
        }
        self.shared.state().acknowledge(deliveries);
        let [first, longest] = MARK_PAUSES;
        let mut pauses = Pauses::new(&self.shared.owner, first, longest);
        let mut waited = Duration::ZERO;
        while let Err(error) = self.shared.mark(self.shared.lives, false).await {
            if waited >= MARK_PATIENCE {
                return Err(error);
            }
            let pause = pauses.next();
            tokio::time::sleep(pause).await;
            waited += pause;
        }
        let mut state = self.shared.state();
        Ok(deliveries.iter().copied().filter(|tag| state.lost.remove(tag)).collect())
    }

    /// Once each shard has been the same reader's for a while: where several begin, shards move.
    async fn ready(&mut self) -> Result<(), Error> {
        let late = || Error::Unavailable { reason: "nobody reads some of the stream's shards".to_owned() };
        let shared_out = async {
            let (mut before, mut since) = (Vec::new(), Instant::now());
            loop {
                let leases = self.shared.leases.list(&self.shared.stream).await?;
                let read: Vec<_> = leases.iter().filter(|lease| !lease.is_ended()).collect();
                let now: Vec<_> = read.iter().map(|lease| (lease.shard.clone(), lease.counter)).collect();
                if read.is_empty() || !read.iter().all(|lease| lease.is_held()) || now != before {
                    (before, since) = (now, Instant::now());
                } else if since.elapsed() >= SHARED_OUT {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(READY, shared_out).await.unwrap_or_else(|_| Err(late()))
    }

    async fn leave(mut self: Box<Self>) {
        let left = self.left.take();
        drop(self);
        if let Some(left) = left
            && tokio::time::timeout(LEAVE, left).await.is_err()
        {
            tracing::warn!(
                "leases were not given up in time: what this process held moves when it is missed"
            );
        }
    }
}
