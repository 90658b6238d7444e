//! The backlog of a stream.
//!
//! The reader of a shard stores its progress in the lease, once a second and with each acknowledgement: an exact count
//! of the messages that it has read and not acknowledged, and an estimate of the unread ones, from their age and the
//! density of the last page. If the reader of a shard is gone, or the shard has none, the backlog is counted here, from
//! the checkpoint on: exactly if the scan reaches the end, otherwise with the same estimate of the rest. The number of
//! acknowledged messages is always exact.

use super::api::{KinesisApi, ReadPosition, shard_id};
use super::lease::{Checkpoint, Lease, Leases, ShardProgress};
use super::record;
use super::request_error::{RequestError, RequestErrorKind};
use crate::{Backlog, Error};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A reader that has not updated its lease for this long may be gone, and its progress is stale.
const FRESH_FOR: Duration = Duration::from_secs(2);
/// How long a count is cached. Reads of a shard are limited, and its reader needs them.
const COUNT_TTL: Duration = Duration::from_secs(1);
/// The maximum number of records and of pages of one scan. Kinesis may return empty pages before the first record.
const SCAN_RECORDS: usize = 1000;
const SCAN_PAGES: usize = 3;
/// Delay between two reads of a shard.
const READ_INTERVAL: Duration = Duration::from_millis(200);

/// Counts the messages of shards without a reader.
#[derive(Debug, Default)]
pub(super) struct ShardCounts {
    cache: Mutex<BTreeMap<(String, String), ShardCount>>,
    /// Allows one scan at a time, because reads are limited.
    scan: tokio::sync::Mutex<()>,
}

/// The result of a scan.
#[derive(Debug, Clone)]
struct ShardCount {
    at: Instant,
    from: Checkpoint,
    waiting: u64,
    oldest_waiting_ms: Option<i64>,
}

impl ShardCounts {
    /// Returns the backlog of a stream. `ttl` is the duration of leases.
    pub(super) async fn backlog(
        &self,
        api: &KinesisApi,
        leases: &Arc<dyn Leases>,
        stream: &str,
        ttl: Duration,
    ) -> Result<Backlog, Error> {
        let leases = leases.list(stream).await?;
        let mut backlog = Backlog::default();
        for lease in &leases {
            backlog.acknowledged += lease.progress.acknowledged;
            if lease.is_finished() {
                continue;
            }
            let ShardProgress { waiting, oldest_waiting_ms, .. } = lease.progress;
            let counted = if is_fresh(lease, ttl) {
                (waiting, oldest_waiting_ms)
            } else {
                self.count(api, stream, &lease.shard, &lease.progress.checkpoint).await?
            };
            add(&mut backlog, counted);
        }
        // A stream that was never read has no leases.
        if leases.is_empty() {
            for shard in api.shards(stream).await? {
                add(&mut backlog, self.count(api, stream, &shard.key, &Checkpoint::Horizon).await?);
            }
        }
        self.remove_unused(stream, &leases, ttl);
        Ok(backlog)
    }

    async fn count(
        &self,
        api: &KinesisApi,
        stream: &str,
        shard: &str,
        from: &Checkpoint,
    ) -> Result<(u64, Option<i64>), Error> {
        let key = (stream.to_owned(), shard.to_owned());
        let cached = |max_age: Duration| {
            let cache = self.cache.lock();
            let is_valid = |count: &&ShardCount| count.from == *from && count.at.elapsed() < max_age;
            cache.get(&key).filter(is_valid).map(|count| (count.waiting, count.oldest_waiting_ms))
        };
        if let Some(cached) = cached(COUNT_TTL) {
            return Ok(cached);
        }
        let _scan = self.scan.lock().await;
        if let Some(cached) = cached(COUNT_TTL) {
            return Ok(cached);
        }
        let (waiting, oldest_waiting_ms) = match scan(api, stream, shard, from).await {
            Ok(counted) => counted,
            // Other processes scan as well. An older count is better than none.
            Err(error) if error.kind == RequestErrorKind::Throttled => {
                return cached(COUNT_TTL * 4).ok_or(error.into());
            }
            Err(error) => return Err(error.into()),
        };
        let count = ShardCount { at: Instant::now(), from: from.clone(), waiting, oldest_waiting_ms };
        self.cache.lock().insert(key, count);
        Ok((waiting, oldest_waiting_ms))
    }

    /// Removes the counts of shards that have a reader again or no longer exist.
    fn remove_unused(&self, stream: &str, leases: &[Lease], ttl: Duration) {
        let is_used = |shard: &str| {
            leases.is_empty() || leases.iter().any(|lease| lease.shard == shard && !is_fresh(lease, ttl))
        };
        self.cache.lock().retain(|(of, shard), _| of != stream || is_used(shard));
    }
}

/// Returns whether a lease has an owner that has updated it recently.
fn is_fresh(lease: &Lease, ttl: Duration) -> bool {
    lease.is_owned() && lease.remaining + FRESH_FOR >= ttl
}

fn add(backlog: &mut Backlog, (waiting, oldest_waiting_ms): (u64, Option<i64>)) {
    backlog.waiting += waiting;
    backlog.oldest_waiting_ms = backlog.oldest_waiting_ms.into_iter().chain(oldest_waiting_ms).min();
}

/// Counts the messages after a checkpoint. Returns their number and the publish time of the oldest one.
async fn scan(
    api: &KinesisApi,
    stream: &str,
    shard: &str,
    from: &Checkpoint,
) -> Result<(u64, Option<i64>), RequestError> {
    let iterator = match api.iterator(stream, shard, ReadPosition::from(from)).await {
        Ok(iterator) => iterator,
        // The stream was deleted and created again, or all records of the shard have expired.
        Err(error) if matches!(error.kind, RequestErrorKind::InvalidIterator | RequestErrorKind::Missing) => {
            tracing::debug!(stream, shard = shard_id(shard), %error, "Kinesis shard without records was skipped");
            return Ok((0, None));
        }
        Err(error) => return Err(error),
    };
    let (mut next, mut waiting, mut oldest, mut behind_ms) = (Some(iterator), 0, None, 0);
    let (mut first_ms, mut last_ms) = (None, 0);
    for page in 0..SCAN_PAGES {
        let Some(iterator) = next else { break };
        if page > 0 {
            tokio::time::sleep(READ_INTERVAL).await;
        }
        let page = api.read(&iterator, SCAN_RECORDS).await?;
        for read in &page.records {
            let messages = record::messages(&read.data, &read.partition_key, read.arrived_ms);
            let acknowledged = match from {
                Checkpoint::Within(sequence, count) if *sequence == read.sequence => {
                    usize::try_from(*count).unwrap_or(0)
                }
                Checkpoint::Within(..) | Checkpoint::Horizon | Checkpoint::After(_) | Checkpoint::End => 0,
            };
            let unacknowledged = messages.iter().skip(acknowledged).map(|message| message.published_at_ms);
            waiting += u64::try_from(unacknowledged.len()).unwrap_or(0);
            oldest = unacknowledged.chain(oldest).min();
            first_ms = first_ms.or(Some(read.arrived_ms));
            last_ms = read.arrived_ms;
        }
        (next, behind_ms) = (page.next, page.behind_ms);
        if behind_ms == 0 || waiting > 0 {
            break;
        }
    }
    let covered_ms = u64::try_from(last_ms.saturating_sub(first_ms.unwrap_or(last_ms))).unwrap_or(0).max(1);
    Ok((waiting + waiting * behind_ms / covered_ms, oldest))
}
