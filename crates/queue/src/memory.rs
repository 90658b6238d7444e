//! The in-process queue. It is bounded, and empty after a restart: the ledger publishes lost messages again.

use crate::metrics;
use crate::{Backlog, Capacity, Consumer, Delivery, DeliveryTag, Error, Message, Queue, Topic};
use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use tokio::sync::Notify;

/// The number of free slots that an empty topic keeps. The rest is returned to the allocator, so that a burst does not
/// hold memory permanently.
const KEPT_SLOTS: usize = 64;
/// The number of messages that a topic accepts even if all topics together have reached their limit.
const RESERVED_MESSAGES: usize = 64;

/// The limits of a topic. Unacknowledged messages count, because they may be delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The number of messages of a topic (default: 10,000). The default is a few seconds of work. A longer backlog
    /// belongs in the ledger, which is durable and fair.
    pub messages: usize,
    /// The number of bytes of keys and payloads of a topic (default: 16 MiB).
    pub bytes: usize,
    /// The number of bytes of all topics together (default: 64 MiB). A topic with at most 64 messages is exempt, so
    /// that a topic with a permanent backlog does not block the others.
    pub all_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { messages: 10_000, bytes: 16 * 1024 * 1024, all_bytes: 64 * 1024 * 1024 }
    }
}

/// The in-process queue.
#[derive(Clone, Default)]
pub struct MemoryQueue {
    shared: Arc<Shared>,
}

impl MemoryQueue {
    /// Creates an empty queue.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { shared: Arc::new(Shared { limits, state: Mutex::default() }) }
    }

    /// Closes the queue and wakes all waiting consumers. All later calls return [`Error::Closed`]. Waiting messages are
    /// dropped.
    pub fn close(&self) {
        let mut state = self.shared.state();
        (state.closed, state.bytes) = (true, 0);
        for topic in std::mem::take(&mut state.topics).into_values() {
            topic.published.notify_waiters();
        }
    }

    /// Returns the number of topics that use memory: those with messages or consumers.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.shared.state().topics.len()
    }
}

impl fmt::Debug for MemoryQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueue").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        let limits = self.shared.limits;
        let mut state = self.shared.state();
        state.check_open()?;
        let used = state.topics.get(topic).map_or((0, 0), |queue| (queue.count(), queue.bytes));
        let bytes = total_size(&messages, topic, limits.bytes)?;
        if used.0 + messages.len() > limits.messages {
            return Err(Error::Full { topic: topic.clone(), capacity: Capacity::Messages(limits.messages) });
        }
        if used.1.saturating_add(bytes) > limits.bytes {
            return Err(Error::Full { topic: topic.clone(), capacity: Capacity::Bytes(limits.bytes) });
        }
        if messages.is_empty() {
            return Ok(());
        }
        let all = state.bytes.saturating_add(bytes);
        if all > limits.all_bytes && used.0 + messages.len() > RESERVED_MESSAGES {
            return Err(Error::Full { topic: topic.clone(), capacity: Capacity::Bytes(limits.all_bytes) });
        }
        state.bytes = all;
        let first = state.next_sequence(messages.len());
        let queue = state.topics.entry(topic.clone()).or_default();
        queue.bytes += bytes;
        queue.waiting.extend((first..).zip(messages).map(|(sequence, message)| QueuedMessage {
            sequence,
            message,
            redelivered: false,
        }));
        queue.published.notify_waiters();
        Ok(())
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let mut state = self.shared.state();
        state.check_open()?;
        let queue = state.topics.entry(topic.clone()).or_default();
        queue.consumers += 1;
        Ok(Box::new(MemoryConsumer {
            shared: Arc::clone(&self.shared),
            topic: topic.clone(),
            published: Arc::clone(&queue.published),
            unacknowledged: BTreeMap::new(),
        }))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        let state = self.shared.state();
        state.check_open()?;
        let Some(queue) = state.topics.get(topic) else { return Ok(Backlog::default()) };
        #[allow(clippy::cast_precision_loss, reason = "a topic has far fewer than 2^52 messages")]
        metrics::LAG.with([topic.to_string().into()]).set(queue.waiting.len() as f64);
        Ok(Backlog {
            waiting: u64::try_from(queue.waiting.len()).unwrap_or(u64::MAX),
            // The clocks of publishers differ, so the first message need not be the oldest. The scan is bounded by the
            // limit of the topic.
            oldest_waiting_ms: queue.waiting.iter().map(|queued| queued.message.published_at_ms).min(),
            acknowledged: queue.acknowledged,
        })
    }

    async fn has_consumer(&self, topic: &Topic) -> Result<bool, Error> {
        let state = self.shared.state();
        state.check_open()?;
        Ok(state.topics.get(topic).is_some_and(|queue| queue.consumers > 0))
    }
}

#[derive(Default)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

#[derive(Default)]
struct State {
    topics: HashMap<Topic, TopicQueue>,
    /// The number of bytes of all topics.
    bytes: usize,
    /// The number of messages that were ever published.
    published: u64,
    closed: bool,
}

impl State {
    fn check_open(&self) -> Result<(), Error> {
        if self.closed { Err(Error::Closed) } else { Ok(()) }
    }

    fn next_sequence(&mut self, count: usize) -> u64 {
        let first = self.published;
        self.published += u64::try_from(count).unwrap_or(u64::MAX);
        first
    }

    /// Removes a topic that has no consumer and no message, so that it uses no memory.
    fn remove_unused(&mut self, topic: &Topic) {
        if self.topics.get(topic).is_some_and(|queue| queue.consumers == 0 && queue.count() == 0) {
            self.topics.remove(topic);
        }
    }
}

/// The messages of one topic.
#[derive(Default)]
struct TopicQueue {
    waiting: VecDeque<QueuedMessage>,
    /// The number of messages that consumers received and did not acknowledge.
    unacknowledged: usize,
    /// The number of messages that were acknowledged.
    acknowledged: u64,
    /// The number of bytes of the waiting and the unacknowledged messages.
    bytes: usize,
    consumers: usize,
    published: Arc<Notify>,
}

struct QueuedMessage {
    /// The position in publish order, over all topics.
    sequence: u64,
    message: Message,
    redelivered: bool,
}

impl TopicQueue {
    fn count(&self) -> usize {
        self.waiting.len() + self.unacknowledged
    }

    fn pop(&mut self, max: usize) -> Vec<QueuedMessage> {
        let count = max.min(self.waiting.len());
        let popped: Vec<QueuedMessage> = self.waiting.drain(..count).collect();
        self.unacknowledged += popped.len();
        if self.waiting.is_empty() {
            self.waiting.shrink_to(KEPT_SLOTS);
        }
        popped
    }

    fn acknowledge(&mut self, message: &Message) {
        self.unacknowledged -= 1;
        self.acknowledged += 1;
        self.bytes -= message.size();
    }

    /// Puts unacknowledged messages back to their position in publish order, so that each key keeps its order.
    fn put_back(&mut self, unacknowledged: BTreeMap<u64, Message>) {
        self.unacknowledged -= unacknowledged.len();
        let returned = unacknowledged.into_iter().map(|(sequence, message)| QueuedMessage {
            sequence,
            message,
            redelivered: true,
        });
        let mut all: Vec<QueuedMessage> = returned.chain(self.waiting.drain(..)).collect();
        all.sort_by_key(|queued| queued.sequence);
        self.waiting = all.into();
        self.published.notify_waiters();
    }
}

struct MemoryConsumer {
    shared: Arc<Shared>,
    topic: Topic,
    published: Arc<Notify>,
    /// The messages that were delivered and not acknowledged, by sequence.
    unacknowledged: BTreeMap<u64, Message>,
}

impl MemoryConsumer {
    fn try_receive(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let mut state = self.shared.state();
        state.check_open()?;
        let popped = state.topics.get_mut(&self.topic).map(|queue| queue.pop(max)).unwrap_or_default();
        drop(state);
        Ok(popped
            .into_iter()
            .map(|QueuedMessage { sequence, message, redelivered }| {
                self.unacknowledged.insert(sequence, message.clone());
                Delivery { tag: DeliveryTag::new(sequence), message, redelivered }
            })
            .collect())
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn receive(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let published = Arc::clone(&self.published);
        loop {
            // Registered before the queue is read, so that a publish in between wakes this consumer.
            let mut notified = std::pin::pin!(published.notified());
            notified.as_mut().enable();
            let received = self.try_receive(max)?;
            if max == 0 || !received.is_empty() {
                return Ok(received);
            }
            // Cancel safe: this is the only await, and no message was popped yet.
            notified.await;
        }
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        let mut state = self.shared.state();
        state.check_open()?;
        let State { topics, bytes, .. } = &mut *state;
        let Some(queue) = topics.get_mut(&self.topic) else { return Ok(Vec::new()) };
        for tag in deliveries {
            if let Some(message) = self.unacknowledged.remove(&tag.get()) {
                queue.acknowledge(&message);
                *bytes -= message.size();
            }
        }
        // A message never moves to another consumer while this one exists.
        Ok(Vec::new())
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        // A closed queue has no topics.
        let Some(queue) = state.topics.get_mut(&self.topic) else { return };
        queue.consumers -= 1;
        let unacknowledged = std::mem::take(&mut self.unacknowledged);
        if !unacknowledged.is_empty() {
            queue.put_back(unacknowledged);
        }
        state.remove_unused(&self.topic);
    }
}

impl fmt::Debug for MemoryConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryConsumer")
            .field("topic", &self.topic)
            .field("unacknowledged", &self.unacknowledged.len())
            .finish_non_exhaustive()
    }
}

fn total_size(messages: &[Message], topic: &Topic, limit: usize) -> Result<usize, Error> {
    let mut total = 0_usize;
    for message in messages {
        let bytes = message.size();
        if bytes > limit {
            return Err(Error::TooLarge { topic: topic.clone(), bytes, limit });
        }
        total = total.saturating_add(bytes);
    }
    Ok(total)
}
