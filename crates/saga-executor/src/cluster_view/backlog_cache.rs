//! A cache of the backlog of a broker's topic.
//!
//! A request to a broker takes time, and the dispatcher does not wait for it: it uses the cached backlog while a
//! background task refreshes it. An old backlog is too high, never too low, for messages that were published before
//! the request: consumers only reduce it, and publishes of this process are added. This holds up to half of the
//! redelivery time, because a ledger row is published again only after the redelivery time.

use goconductor_queue::{Backlog, Error, Queue, Topic};
use goconductor_transition::clock;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A cached backlog is refreshed after this time. Each request costs the broker work.
const REFRESH_INTERVAL: Duration = Duration::from_millis(150);
/// The age of the oldest message is requested again after this time. It costs more than the backlog, and an old value
/// remains correct: it only becomes earlier than the true one.
const OLDEST_REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// The cached backlog of one topic.
#[derive(Debug, Default)]
pub(super) struct BacklogCache {
    cached: Mutex<Option<CachedBacklog>>,
    /// Held during a request, so that at most one is in flight.
    request: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug, Clone, Copy)]
struct CachedBacklog {
    requested_at: Instant,
    backlog: Backlog,
    /// When the oldest message was last requested, and its time of publication.
    oldest_requested_at: Instant,
    oldest_ms: Option<i64>,
    /// Messages that this process has published since the request.
    published: u64,
}

impl BacklogCache {
    /// Returns the backlog, at most `max_age` old. Waits for a request only if the cached backlog is older.
    pub(super) async fn read(
        self: Arc<Self>,
        queue: &Arc<dyn Queue>,
        topic: &Topic,
        max_age: Duration,
    ) -> Result<Backlog, Error> {
        if let Some(backlog) = self.newer_than(REFRESH_INTERVAL) {
            return Ok(backlog);
        }
        if let Some(backlog) = self.newer_than(max_age) {
            self.refresh_in_background(queue, topic);
            return Ok(backlog);
        }
        let _request = self.request.lock().await;
        if self.newer_than(REFRESH_INTERVAL).is_none() {
            self.refresh(&**queue, topic).await?;
        }
        self.newer_than(max_age)
            .ok_or_else(|| unavailable("the request for the backlog took longer than its result is valid"))
    }

    /// Adds messages that this process has published.
    pub(super) fn add_published(&self, count: u64) {
        if let Some(cached) = &mut *self.cached.lock() {
            cached.published = cached.published.saturating_add(count);
        }
    }

    fn newer_than(&self, max_age: Duration) -> Option<Backlog> {
        let cached = (*self.cached.lock())?;
        let fresh = clock::monotonic().duration_since(cached.requested_at) < max_age;
        let waiting = cached.backlog.waiting.saturating_add(cached.published);
        // If the topic was empty at the request, the time of the oldest message is unknown.
        let oldest_waiting_ms = (cached.backlog.waiting > 0).then_some(cached.oldest_ms.unwrap_or(0));
        fresh.then_some(Backlog { waiting, oldest_waiting_ms, ..cached.backlog })
    }

    fn refresh_in_background(self: Arc<Self>, queue: &Arc<dyn Queue>, topic: &Topic) {
        let Ok(request) = Arc::clone(&self.request).try_lock_owned() else { return };
        let (queue, topic) = (Arc::clone(queue), topic.clone());
        tokio::spawn(async move {
            if let Err(error) = self.refresh(&*queue, &topic).await {
                tracing::debug!(%topic, error = error.report(), "executor failed to refresh the backlog");
            }
            drop(request);
        });
    }

    async fn refresh(&self, queue: &dyn Queue, topic: &Topic) -> Result<(), Error> {
        let now = clock::monotonic();
        let cached = *self.cached.lock();
        let recent =
            cached.filter(|cached| now.duration_since(cached.oldest_requested_at) < OLDEST_REFRESH_INTERVAL);
        let cached = match recent {
            Some(cached) => CachedBacklog {
                requested_at: now,
                backlog: queue.depth(topic).await?,
                published: 0,
                ..cached
            },
            None => {
                let backlog = queue.backlog(topic).await?;
                let oldest_ms = backlog.oldest_waiting_ms;
                CachedBacklog {
                    requested_at: now,
                    backlog,
                    oldest_requested_at: now,
                    oldest_ms,
                    published: 0,
                }
            }
        };
        *self.cached.lock() = Some(cached);
        Ok(())
    }
}

fn unavailable(reason: &str) -> Error {
    Error::unavailable(reason)
}
