//! The in-process queue: bounded, and empty after a restart, as the ledger brings back what it held.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::{Backlog, Capacity, Consumer, Delivery, DeliveryTag, Error, Message, Queue, Topic};

/// A topic's room for new messages is given back to the allocator above this when it empties, so that a
/// burst does not hold memory for ever.
const KEPT_ROOM: usize = 64;
/// What a topic may hold whatever the others do.
const OWN_ROOM: usize = 64;

/// What each topic holds at most. What was taken but not acknowledged counts, as it may come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many messages. The default, 10,000, is seconds of work: above it the ledger is the better
    /// place to wait, as it is durable and fair.
    pub messages: usize,
    /// How many bytes of keys and payloads; 16 MiB by default.
    pub bytes: usize,
    /// How many bytes all topics hold together; 64 MiB by default. A topic with next to nothing in it takes what
    /// comes all the same: one that is never empty does not take the room of another.
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
    /// An empty queue whose topics are bounded each by `limits`.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { shared: Arc::new(Shared { limits, state: Mutex::default() }) }
    }

    /// Refuses everything from now on, and lets consumers that wait know it. What waits is dropped.
    pub fn close(&self) {
        let mut state = self.shared.lock();
        (state.closed, state.bytes) = (true, 0);
        for line in std::mem::take(&mut state.lines).into_values() {
            line.arrived.notify_waiters();
        }
    }

    /// How many topics take up memory: those with messages or consumers.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.shared.lock().lines.len()
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
        let mut state = self.shared.lock();
        state.check_open()?;
        let held = state.lines.get(topic).map_or((0, 0), |line| (line.count(), line.bytes));
        let bytes = added_bytes(&messages, topic, limits.bytes)?;
        if held.0 + messages.len() > limits.messages {
            return Err(Error::Full { topic: topic.clone(), capacity: Capacity::Messages(limits.messages) });
        }
        if held.1.saturating_add(bytes) > limits.bytes {
            return Err(Error::Full { topic: topic.clone(), capacity: Capacity::Bytes(limits.bytes) });
        }
        if messages.is_empty() {
            return Ok(());
        }
        let all = state.bytes.saturating_add(bytes);
        if all > limits.all_bytes && held.0 + messages.len() > OWN_ROOM {
            return Err(Error::Full { topic: topic.clone(), capacity: Capacity::Bytes(limits.all_bytes) });
        }
        state.bytes = all;
        let first = state.next_number(messages.len());
        let line = state.lines.entry(topic.clone()).or_default();
        line.bytes += bytes;
        line.waiting.extend((first..).zip(messages).map(|(number, message)| Waiting {
            number,
            message,
            redelivered: false,
        }));
        line.arrived.notify_waiters();
        Ok(())
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let mut state = self.shared.lock();
        state.check_open()?;
        let line = state.lines.entry(topic.clone()).or_default();
        line.consumers += 1;
        Ok(Box::new(MemoryConsumer {
            shared: Arc::clone(&self.shared),
            topic: topic.clone(),
            arrived: Arc::clone(&line.arrived),
            held: BTreeMap::new(),
        }))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        let state = self.shared.lock();
        state.check_open()?;
        let Some(line) = state.lines.get(topic) else { return Ok(Backlog::default()) };
        Ok(Backlog {
            waiting: u64::try_from(line.waiting.len()).unwrap_or(u64::MAX),
            // Publishers' times need not rise along the line, and the line is bounded: look at all.
            oldest_waiting_ms: line.waiting.iter().map(|waiting| waiting.message.published_at_ms).min(),
            taken: line.settled,
        })
    }

    async fn has_consumer(&self, topic: &Topic) -> Result<bool, Error> {
        let state = self.shared.lock();
        state.check_open()?;
        Ok(state.lines.get(topic).is_some_and(|line| line.consumers > 0))
    }
}

#[derive(Default)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
}

impl Shared {
    /// A panic elsewhere can't leave the state half changed: no user code runs under the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct State {
    lines: HashMap<Topic, Line>,
    /// What all of them hold.
    bytes: usize,
    published: u64,
    closed: bool,
}

impl State {
    fn check_open(&self) -> Result<(), Error> {
        if self.closed { Err(Error::Closed) } else { Ok(()) }
    }

    fn next_number(&mut self, count: usize) -> u64 {
        let first = self.published;
        self.published += u64::try_from(count).unwrap_or(u64::MAX);
        first
    }

    /// A topic that nobody consumes and that holds nothing takes no memory.
    fn tidy(&mut self, topic: &Topic) {
        if self.lines.get(topic).is_some_and(|line| line.consumers == 0 && line.count() == 0) {
            self.lines.remove(topic);
        }
    }
}

/// One topic. The number of a message is its place in the order of publishing, over all topics.
#[derive(Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    /// How many messages consumers hold.
    taken: usize,
    /// How many have been acknowledged.
    settled: u64,
    /// What waits and what is taken.
    bytes: usize,
    consumers: usize,
    arrived: Arc<Notify>,
}

struct Waiting {
    number: u64,
    message: Message,
    redelivered: bool,
}

impl Line {
    fn count(&self) -> usize {
        self.waiting.len() + self.taken
    }

    fn take(&mut self, max: usize) -> Vec<Waiting> {
        let count = max.min(self.waiting.len());
        let taken: Vec<Waiting> = self.waiting.drain(..count).collect();
        self.taken += taken.len();
        if self.waiting.is_empty() {
            self.waiting.shrink_to(KEPT_ROOM);
        }
        taken
    }

    fn settle(&mut self, message: &Message) {
        self.taken -= 1;
        self.settled += 1;
        self.bytes -= size(message);
    }

    /// Puts back what a consumer held, each where it stood before, so that a key keeps its order.
    fn put_back(&mut self, held: BTreeMap<u64, Message>) {
        self.taken -= held.len();
        let returned =
            held.into_iter().map(|(number, message)| Waiting { number, message, redelivered: true });
        let mut all: Vec<Waiting> = returned.chain(self.waiting.drain(..)).collect();
        all.sort_by_key(|waiting| waiting.number);
        self.waiting = all.into();
        self.arrived.notify_waiters();
    }
}

struct MemoryConsumer {
    shared: Arc<Shared>,
    topic: Topic,
    arrived: Arc<Notify>,
    /// What was delivered and not acknowledged, by number.
    held: BTreeMap<u64, Message>,
}

impl MemoryConsumer {
    fn try_take(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let mut state = self.shared.lock();
        state.check_open()?;
        let taken = state.lines.get_mut(&self.topic).map(|line| line.take(max)).unwrap_or_default();
        drop(state);
        Ok(taken
            .into_iter()
            .map(|Waiting { number, message, redelivered }| {
                self.held.insert(number, message.clone());
                Delivery { tag: DeliveryTag::new(number), message, redelivered }
            })
            .collect())
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn take(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let arrived = Arc::clone(&self.arrived);
        loop {
            // Registered before the look at the line: a publish between the two wakes it.
            let mut woken = std::pin::pin!(arrived.notified());
            woken.as_mut().enable();
            let taken = self.try_take(max)?;
            if max == 0 || !taken.is_empty() {
                return Ok(taken);
            }
            // The one place to be cancelled at, and nothing is in hand here.
            woken.await;
        }
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        let mut state = self.shared.lock();
        state.check_open()?;
        let State { lines, bytes, .. } = &mut *state;
        let Some(line) = lines.get_mut(&self.topic) else { return Ok(Vec::new()) };
        for tag in deliveries {
            if let Some(message) = self.held.remove(&tag.get()) {
                line.settle(&message);
                *bytes -= size(&message);
            }
        }
        // Nothing is taken from who holds it.
        Ok(Vec::new())
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        // After a close there is no line.
        let Some(line) = state.lines.get_mut(&self.topic) else { return };
        line.consumers -= 1;
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            line.put_back(held);
        }
        state.tidy(&self.topic);
    }
}

impl fmt::Debug for MemoryConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryConsumer")
            .field("topic", &self.topic)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

fn size(message: &Message) -> usize {
    message.key.len() + message.payload.len()
}

fn added_bytes(messages: &[Message], topic: &Topic, limit: usize) -> Result<usize, Error> {
    let mut sum = 0_usize;
    for message in messages {
        let bytes = size(message);
        if bytes > limit {
            return Err(Error::TooLarge { topic: topic.clone(), bytes, limit });
        }
        sum = sum.saturating_add(bytes);
    }
    Ok(sum)
}
