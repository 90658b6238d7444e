//! The task that reads one shard ahead, at the rate that Kinesis allows, while the consumer owns its lease.

use super::super::api::{Page, ReadPosition};
use super::super::backoff::jittered;
use super::super::request_error::{RequestError, RequestErrorKind};
use super::shared::Shared;
use super::state::OwnedShard;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The maximum number of prefetched messages of a consumer, and their maximum size. A single response may exceed it.
const PREFETCH_MESSAGES: usize = 1000;
const PREFETCH_BYTES: usize = 4 << 20;
/// Kinesis allows five reads of a shard per second.
const READ_INTERVAL: Duration = Duration::from_millis(200);
const MIN_BACKOFF: Duration = READ_INTERVAL;
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// An iterator that follows an empty page is used only after this delay. Some streams assign the time of a record before
/// they store it, so a record in flight can end up before that iterator.
const SETTLE_DELAY: Duration = Duration::from_secs(1);
/// The number of consecutive errors after which a warning is logged.
const WARN_AFTER: u32 = 5;
/// A reader without a response for this long fails. Its progress is stale, and another consumer may get responses.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads one shard.
pub(super) struct ShardReader {
    shared: Arc<Shared>,
    shard: String,
    counter: u64,
    iterator: Option<String>,
    /// The iterator after the last empty page, and when it was returned.
    next_iterator: Option<(Instant, String)>,
    /// The number of consecutive errors, and when the first one occurred.
    errors: u32,
    failing_since: Option<Instant>,
}

/// The next step of a reader.
enum Next {
    Read,
    /// The shard has ended, its lease was lost, or it cannot be read.
    Stop,
}

impl ShardReader {
    pub(super) fn new(shared: Arc<Shared>, shard: String, counter: u64) -> Self {
        let (iterator, next_iterator, failing_since) = (None, None, None);
        Self { shared, shard, counter, iterator, next_iterator, errors: 0, failing_since }
    }

    pub(super) async fn run(mut self) {
        let mut backoff = jittered(&self.shard, MIN_BACKOFF, MAX_BACKOFF);
        loop {
            let limit = self.wait_for_capacity().await;
            let begun = Instant::now();
            let next = match self.read(limit).await {
                Ok(next) => {
                    (self.errors, self.failing_since) = (0, None);
                    backoff.reset();
                    tokio::time::sleep_until(begun + READ_INTERVAL).await;
                    next
                }
                Err(error) => {
                    let next = self.handle_error(error);
                    tokio::time::sleep(backoff.next()).await;
                    next
                }
            };
            if matches!(next, Next::Stop) {
                return;
            }
        }
    }

    /// Waits until the consumer has capacity for more prefetched messages. Returns the number of records to read.
    async fn wait_for_capacity(&self) -> usize {
        loop {
            let drained = self.shared.drained.notified();
            tokio::pin!(drained);
            // Registered before the state is read, so that no change is missed.
            drained.as_mut().enable();
            let (count, bytes) = self.shared.state().prefetched();
            if count < PREFETCH_MESSAGES && bytes < PREFETCH_BYTES {
                // Assumes records of the average size of the prefetched messages.
                let size = (bytes / count.max(1)).max(1);
                return (PREFETCH_MESSAGES - count).min((PREFETCH_BYTES - bytes) / size).max(1);
            }
            drained.await;
        }
    }

    async fn read(&mut self, limit: usize) -> Result<Next, RequestError> {
        // If the lease was lost, the lease keeper stops this task.
        let Some(position) = self.position() else { return Ok(Next::Stop) };
        let iterator = match &self.iterator {
            Some(iterator) => iterator.clone(),
            None => self.shared.api.iterator(&self.shared.stream, &self.shard, position).await?,
        };
        self.iterator = Some(iterator.clone());
        let page = self.shared.api.read(&iterator, limit).await?;
        self.advance(&page, iterator);
        let mut state = self.shared.state();
        let shard = state.shards.get_mut(&self.shard).filter(|shard| shard.counter() == self.counter);
        // If the lease was lost since, the page belongs to another consumer.
        let Some(shard) = shard else { return Ok(Next::Stop) };
        shard.add_page(&page);
        drop(state);
        if !page.records.is_empty() {
            self.shared.arrived.notify_waiters();
        }
        if page.next.is_some() {
            return Ok(Next::Read);
        }
        tracing::info!(stream = self.shared.stream, shard = self.shard, "Kinesis shard was read to its end");
        // If no message is left to acknowledge, the lease keeper stores the end of the shard.
        self.shared.changed.notify_one();
        Ok(Next::Stop)
    }

    /// Returns the position at which reading continues, or `None` if the lease was lost.
    fn position(&self) -> Option<ReadPosition> {
        let state = self.shared.state();
        let shard = state.shards.get(&self.shard).filter(|shard| shard.counter() == self.counter);
        shard.map(OwnedShard::read_position)
    }

    /// Selects the iterator of the next read.
    fn advance(&mut self, page: &Page, current: String) {
        let now = Instant::now();
        let next = page.next.clone();
        if !page.records.is_empty() || page.behind_ms > 0 || next.is_none() {
            (self.iterator, self.next_iterator) = (next, None);
            return;
        }
        match self.next_iterator.take() {
            Some((since, settled)) if now.duration_since(since) >= SETTLE_DELAY => {
                self.iterator = Some(settled);
                self.next_iterator = next.map(|next| (now, next));
            }
            Some(waiting) => (self.iterator, self.next_iterator) = (Some(current), Some(waiting)),
            None => {
                (self.iterator, self.next_iterator) = (Some(current), next.map(|next| (now, next)));
            }
        }
    }

    /// Decides how to continue after an error.
    fn handle_error(&mut self, error: RequestError) -> Next {
        self.errors += 1;
        let failing_since = *self.failing_since.get_or_insert_with(Instant::now);
        if self.errors == WARN_AFTER {
            let (stream, shard) = (&self.shared.stream, &self.shard);
            tracing::warn!(stream, shard, %error, "read of a Kinesis shard failed repeatedly and is retried");
        }
        match error.kind {
            // Iterators expire after five minutes.
            RequestErrorKind::InvalidIterator if self.iterator.is_some() => {
                (self.iterator, self.next_iterator) = (None, None);
                Next::Read
            }
            // The stream was replaced, or reading is not authorized.
            RequestErrorKind::InvalidIterator | RequestErrorKind::Missing | RequestErrorKind::Denied => {
                self.shared.fail(error.into());
                Next::Stop
            }
            RequestErrorKind::NotSent | RequestErrorKind::OutcomeUnknown
                if failing_since.elapsed() >= RESPONSE_TIMEOUT =>
            {
                self.shared.fail(error.into());
                Next::Stop
            }
            RequestErrorKind::Throttled
            | RequestErrorKind::NotSent
            | RequestErrorKind::InUse
            | RequestErrorKind::OutcomeUnknown => Next::Read,
        }
    }
}
