//! The backlog of a topic: the committed offsets of its consumer group, and the age of the first message after them.

use super::limits::REQUEST_TIMEOUT;
use crate::Backlog;
use crate::message::BacklogDetail;
use crate::settings::kafka::Settings;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Timeout for fetching the first waiting message of every partition.
const OLDEST_MESSAGE_TIMEOUT: Duration = Duration::from_millis(700);

/// Clients that read offsets and messages without being a member of a consumer group.
#[derive(Clone)]
pub(super) struct Observers {
    settings: Settings,
    by_topic: Arc<Mutex<BTreeMap<String, Arc<Mutex<BaseConsumer>>>>>,
}

impl Observers {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, by_topic: Arc::default() }
    }

    fn observer(&self, name: &str) -> Result<Arc<Mutex<BaseConsumer>>, KafkaError> {
        let mut observers = self.by_topic.lock();
        if let Some(observer) = observers.get(name) {
            return Ok(Arc::clone(observer));
        }
        // The group id gives access to the committed offsets. The client never joins the group, because it does not
        // subscribe.
        let observer: BaseConsumer = self
            .settings
            .consumer(name)
            .set("enable.partition.eof", "false")
            .set("queued.min.messages", "1")
            .set("fetch.message.max.bytes", "4096")
            .create()?;
        let observer = Arc::new(Mutex::new(observer));
        observers.insert(name.to_owned(), Arc::clone(&observer));
        Ok(observer)
    }

    /// Returns the backlog of a topic. Blocks the thread. [`BacklogDetail::Depth`] costs three requests for any
    /// number of partitions; [`BacklogDetail::OldestMessage`] also fetches the first message of each partition.
    pub(super) fn backlog(&self, name: &str, detail: BacklogDetail) -> Result<Backlog, KafkaError> {
        let observer = self.observer(name)?;
        let observer = observer.lock();
        let metadata = observer.fetch_metadata(Some(name), REQUEST_TIMEOUT)?;
        let partitions = metadata.topics().first().map(|topic| topic.partitions().len()).unwrap_or_default();
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        let mut all = TopicPartitionList::new();
        all.add_partition_range(name, 0, (partitions - 1).max(0));
        let committed = observer.committed_offsets(all.clone(), REQUEST_TIMEOUT)?;
        let lows = watermarks(&observer, &all, Offset::Beginning)?;
        let highs = watermarks(&observer, &all, Offset::End)?;
        let (mut waiting, mut acknowledged) = (0, 0);
        let mut first = TopicPartitionList::new();
        for each in committed.elements() {
            let watermark = |of: &BTreeMap<i32, i64>| of.get(&each.partition()).copied().unwrap_or(0);
            let (low, high) = (watermark(&lows), watermark(&highs).max(watermark(&lows)));
            let committed = match each.offset() {
                Offset::Offset(offset) => offset.clamp(low, high),
                Offset::Beginning
                | Offset::End
                | Offset::Stored
                | Offset::Invalid
                | Offset::OffsetTail(_) => low,
            };
            acknowledged += u64::try_from(committed).unwrap_or(0);
            if high > committed {
                waiting += u64::try_from(high - committed).unwrap_or(0);
                first.add_partition_offset(name, each.partition(), Offset::Offset(committed))?;
            }
        }
        if waiting == 0 || detail == BacklogDetail::Depth {
            return Ok(Backlog { waiting, oldest_waiting_ms: None, acknowledged });
        }
        Ok(Backlog { waiting, oldest_waiting_ms: Some(oldest(&observer, &first)?), acknowledged })
    }
}

/// Returns the low or the high watermark of every partition. A lookup by time accepts both as special times and sends
/// one request per broker, while a lookup of watermarks sends two requests per partition.
fn watermarks(
    observer: &BaseConsumer,
    all: &TopicPartitionList,
    watermark: Offset,
) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let mut request = all.clone();
    request.set_all_offsets(watermark)?;
    let response = observer.offsets_for_times(request, REQUEST_TIMEOUT)?;
    let mut watermarks = BTreeMap::new();
    for each in response.elements() {
        each.error()?;
        if let Offset::Offset(offset) = each.offset() {
            watermarks.insert(each.partition(), offset);
        }
    }
    Ok(watermarks)
}

/// Returns the publish time of the oldest message among the first ones of all partitions. Returns 0 if it could not be
/// determined in time, which callers read as "everything still waits".
fn oldest(observer: &BaseConsumer, first: &TopicPartitionList) -> Result<i64, KafkaError> {
    observer.assign(first)?;
    #[allow(clippy::disallowed_methods, reason = "the timeout of a blocking poll")]
    let deadline = Instant::now() + OLDEST_MESSAGE_TIMEOUT;
    let mut found: BTreeMap<i32, i64> = BTreeMap::new();
    while found.len() < first.count() {
        let remaining = deadline.saturating_duration_since(
            #[allow(clippy::disallowed_methods, reason = "the timeout of a blocking poll")]
            Instant::now(),
        );
        if remaining.is_zero() {
            break;
        }
        if let Some(Ok(message)) = observer.poll(remaining) {
            let published_at_ms = message.timestamp().to_millis().unwrap_or(0);
            found.entry(message.partition()).or_insert(published_at_ms);
        }
    }
    observer.unassign()?;
    if found.len() < first.count() {
        return Ok(0);
    }
    Ok(found.into_values().min().unwrap_or(0))
}
