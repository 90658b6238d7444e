//! How far a topic has been taken: what its group has committed, and since when the first that it has not
//! waits.

use super::ANSWER;
use crate::Backlog;
use crate::settings::kafka::Settings;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the first message that waits is looked for.
const LOOK: Duration = Duration::from_millis(700);

/// How closely is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// How much waits: three requests, whatever the number of partitions.
    Depth,
    /// Also since when: the first message of each partition is fetched.
    Since,
}

/// Clients that look at a topic and belong to no group.
#[derive(Clone)]
pub(super) struct Observers {
    settings: Settings,
    by_topic: Arc<Mutex<BTreeMap<String, Arc<Mutex<BaseConsumer>>>>>,
}

impl Observers {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, by_topic: Arc::default() }
    }

    fn of(&self, name: &str) -> Result<Arc<Mutex<BaseConsumer>>, KafkaError> {
        let mut all = self.by_topic.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(name) {
            return Ok(Arc::clone(known));
        }
        // Of the group by name, to read its offsets; never a member, as it subscribes to nothing.
        let observer: BaseConsumer = self
            .settings
            .consumer(name)
            .set("enable.partition.eof", "false")
            .set("queued.min.messages", "1")
            .set("fetch.message.max.bytes", "4096")
            .create()?;
        let observer = Arc::new(Mutex::new(observer));
        all.insert(name.to_owned(), Arc::clone(&observer));
        Ok(observer)
    }

    /// Blocks: for a thread of its own.
    pub(super) fn look(&self, name: &str, look: Look) -> Result<Backlog, KafkaError> {
        let observer = self.of(name)?;
        let observer = observer.lock().unwrap_or_else(PoisonError::into_inner);
        let metadata = observer.fetch_metadata(Some(name), ANSWER)?;
        let partitions = metadata.topics().first().map(|topic| topic.partitions().len()).unwrap_or_default();
        let partitions = i32::try_from(partitions).unwrap_or(i32::MAX);
        let mut all = TopicPartitionList::new();
        all.add_partition_range(name, 0, (partitions - 1).max(0));
        let committed = observer.committed_offsets(all.clone(), ANSWER)?;
        let lows = marks(&observer, &all, Offset::Beginning)?;
        let highs = marks(&observer, &all, Offset::End)?;
        let (mut waiting, mut taken) = (0, 0);
        let mut first = TopicPartitionList::new();
        for each in committed.elements() {
            let mark = |of: &BTreeMap<i32, i64>| of.get(&each.partition()).copied().unwrap_or(0);
            let (low, high) = (mark(&lows), mark(&highs).max(mark(&lows)));
            let done = match each.offset() {
                Offset::Offset(offset) => offset.clamp(low, high),
                Offset::Beginning
                | Offset::End
                | Offset::Stored
                | Offset::Invalid
                | Offset::OffsetTail(_) => low,
            };
            taken += u64::try_from(done).unwrap_or(0);
            if high > done {
                waiting += u64::try_from(high - done).unwrap_or(0);
                first.add_partition_offset(name, each.partition(), Offset::Offset(done))?;
            }
        }
        if waiting == 0 || look == Look::Depth {
            return Ok(Backlog { waiting, taken, oldest_waiting_ms: None });
        }
        Ok(Backlog { waiting, oldest_waiting_ms: Some(oldest(&observer, &first)?), taken })
    }
}

/// The first or the next offset of every partition. A look-up by time takes these two for times, and asks for
/// all partitions of a broker at once; a look at one partition's marks asks twice for each.
fn marks(
    observer: &BaseConsumer,
    all: &TopicPartitionList,
    mark: Offset,
) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let mut asked = all.clone();
    asked.set_all_offsets(mark)?;
    let found = observer.offsets_for_times(asked, ANSWER)?;
    let mut marks = BTreeMap::new();
    for each in found.elements() {
        each.error()?;
        if let Offset::Offset(offset) = each.offset() {
            marks.insert(each.partition(), offset);
        }
    }
    Ok(marks)
}

/// The publish time of the oldest first message. What can't be found out is taken for the beginning of time:
/// then everything still waits.
fn oldest(observer: &BaseConsumer, first: &TopicPartitionList) -> Result<i64, KafkaError> {
    observer.assign(first)?;
    #[allow(clippy::disallowed_methods, reason = "a limit to a look")]
    let give_up = Instant::now() + LOOK;
    let mut found: BTreeMap<i32, i64> = BTreeMap::new();
    while found.len() < first.count() {
        let left = give_up.saturating_duration_since(
            #[allow(clippy::disallowed_methods, reason = "a limit to a look")]
            Instant::now(),
        );
        if left.is_zero() {
            break;
        }
        if let Some(Ok(message)) = observer.poll(left) {
            let at = message.timestamp().to_millis().unwrap_or(0);
            found.entry(message.partition()).or_insert(at);
        }
    }
    observer.unassign()?;
    if found.len() < first.count() {
        return Ok(0);
    }
    Ok(found.into_values().min().unwrap_or(0))
}
