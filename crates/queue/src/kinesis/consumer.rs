//! A consumer: it owns the leases of some shards of a stream, reads these shards ahead, and stores its progress.
//!
//! One task keeps the leases, and one task reads each shard, independently of the owner. All tasks end with the
//! consumer.

mod assignment;
mod lease_keeper;
mod reader;
mod shared;
mod state;

use super::api::KinesisApi;
use super::backoff::jittered;
use super::lease::Leases;
use crate::{Consumer, Delivery, DeliveryTag, Error};
use async_trait::async_trait;
use lease_keeper::LeaseKeeper;
use shared::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

/// How long an acknowledgement is retried while the store of leases is unreachable. Other consumers cannot reach it
/// either, so they do not acquire the leases in the meantime.
const SAVE_TIMEOUT: Duration = Duration::from_secs(15);
const MIN_SAVE_BACKOFF: Duration = Duration::from_millis(50);
const MAX_SAVE_BACKOFF: Duration = Duration::from_secs(1);
/// The shards count as assigned if no lease has moved for this long. It is longer than the delay before a new consumer
/// steals leases.
const STABLE_FOR: Duration = Duration::from_secs(3);
/// Timeout of the assignment of shards, and the interval at which it is checked.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
const READY_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How long closing a consumer waits until its leases are released.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The number of the next consumer of this process.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// A consumer of one topic.
pub(super) struct KinesisConsumer {
    shared: Arc<Shared>,
    /// Dropped with the consumer, which ends its tasks.
    _stop: watch::Sender<()>,
    /// Resolves when the leases are released.
    closed: Option<oneshot::Receiver<()>>,
}

impl std::fmt::Debug for KinesisConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KinesisConsumer").field("stream", &self.shared.stream).finish_non_exhaustive()
    }
}

impl KinesisConsumer {
    pub(super) fn start(
        api: Arc<KinesisApi>,
        leases: Arc<dyn Leases>,
        stream: String,
        identity: &str,
        ttl: Duration,
    ) -> Self {
        let owner = format!("{identity}/{}", NEXT_NUMBER.fetch_add(1, Ordering::Relaxed));
        let shared = Arc::new(Shared::new(api, leases, stream, owner, ttl));
        let (stop, stopped) = watch::channel(());
        let (notify_closed, closed) = oneshot::channel();
        let keeper = LeaseKeeper::new(Arc::clone(&shared));
        // Ends when the consumer is dropped.
        goconductor_supervisor::spawn("kinesis-leases", async move {
            keeper.run(stopped).await;
            notify_closed.send(()).ok();
        });
        Self { shared, _stop: stop, closed: Some(closed) }
    }

    fn try_receive(&self, max: usize) -> Result<Vec<Delivery>, Error> {
        let mut state = self.shared.state();
        let received = state.receive(max);
        match &state.failed {
            Some(error) if received.is_empty() => Err(error.clone()),
            Some(_) | None => Ok(received),
        }
    }
}

#[async_trait]
impl Consumer for KinesisConsumer {
    async fn receive(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        loop {
            let arrived = self.shared.arrived.notified();
            tokio::pin!(arrived);
            // Registered before the state is read, so that no message is missed.
            arrived.as_mut().enable();
            let received = self.try_receive(max)?;
            if !received.is_empty() {
                self.shared.drained.notify_waiters();
                return Ok(received);
            }
            arrived.await;
        }
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        if deliveries.is_empty() {
            return Ok(Vec::new());
        }
        self.shared.state().acknowledge(deliveries);
        let mut backoff = jittered(&self.shared.owner, MIN_SAVE_BACKOFF, MAX_SAVE_BACKOFF);
        let begun = Instant::now();
        while let Err(error) = self.shared.save_progress(self.shared.ttl, false).await {
            if begun.elapsed() >= SAVE_TIMEOUT {
                return Err(error);
            }
            tokio::time::sleep(backoff.next()).await;
        }
        let mut state = self.shared.state();
        Ok(deliveries.iter().copied().filter(|tag| state.lost.remove(tag)).collect())
    }

    /// Waits until each shard has had the same owner for a while. While several consumers start, leases move.
    async fn ready(&mut self) -> Result<(), Error> {
        let timed_out = || Error::unavailable("some shards of the stream have no stable reader");
        let assigned = async {
            let (mut last, mut since) = (Vec::new(), Instant::now());
            loop {
                let leases = self.shared.leases.list(&self.shared.stream).await?;
                let open: Vec<_> = leases.iter().filter(|lease| !lease.is_finished()).collect();
                let current: Vec<_> = open.iter().map(|lease| (lease.shard.clone(), lease.counter)).collect();
                if open.is_empty() || !open.iter().all(|lease| lease.is_owned()) || current != last {
                    (last, since) = (current, Instant::now());
                } else if since.elapsed() >= STABLE_FOR {
                    return Ok(());
                }
                tokio::time::sleep(READY_POLL_INTERVAL).await;
            }
        };
        tokio::time::timeout(READY_TIMEOUT, assigned).await.unwrap_or_else(|_| Err(timed_out()))
    }

    async fn close(mut self: Box<Self>) {
        let closed = self.closed.take();
        drop(self);
        if let Some(closed) = closed
            && tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err()
        {
            tracing::warn!(
                "consumer did not release its Kinesis leases in time; its shards move when they expire"
            );
        }
    }
}
