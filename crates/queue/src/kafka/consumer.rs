//! A consumer: a thread that polls, whatever else goes on, and what it has fetched.
//!
//! The thread never stops polling, so that a group's members are never held up by one that is busy; when
//! enough has been fetched its partitions are paused.

use super::client::configuration;
use super::{PUBLISHED, is_missing};
use crate::settings::kafka::Settings;
use crate::{Consumer, Delivery, DeliveryTag, Error, Message};
use async_trait::async_trait;
use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// Messages that are fetched ahead, at most, and down to how many more are fetched again.
const FETCHED: usize = 1000;
const FETCH_AGAIN: usize = 500;
/// One poll: also how long an end takes to be noticed.
const POLL: Duration = Duration::from_millis(50);
const POLL_PAUSED: Duration = Duration::from_millis(2);
/// A commit that meets a rebalance, or brokers that are busy with themselves, is tried again, for longer than
/// either takes: the other way is to leave the group, which shares everything out once more.
const COMMIT_PATIENCE: Duration = Duration::from_secs(15);
const COMMIT_PAUSE: Duration = Duration::from_millis(20);
/// How long it may take a group to share its partitions out.
const JOIN: Duration = Duration::from_secs(20);
/// How long the others are waited for to hear that a consumer leaves.
const LEAVE: Duration = Duration::from_secs(3);
/// A tag holds the partition above so many bits, and the offset below.
const OFFSET_BITS: u32 = 48;

/// Takes messages of one topic as a member of its group.
pub(super) struct KafkaConsumer {
    name: String,
    shared: Arc<Shared>,
    consumer: Arc<BaseConsumer<Context>>,
    /// Rings when the group was left.
    left: Option<oneshot::Receiver<()>>,
}

impl std::fmt::Debug for KafkaConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaConsumer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the thread and the consumer's owner share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    came: Notify,
    stop: AtomicBool,
    /// Whether what is assigned is paused.
    paused: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    fetched: VecDeque<Delivery>,
    /// The partitions that are held, with what is known of each.
    held: BTreeMap<i32, Partition>,
    /// What was given to the owner from partitions that have gone since: others may have it now.
    lost: BTreeSet<DeliveryTag>,
    /// Why there will be no more.
    failed: Option<String>,
    /// Whether partitions have been shared out among the group since this joined it; none may be this one's.
    shared_out: bool,
}

/// A partition, from its assignment to its end.
#[derive(Debug, Default)]
struct Partition {
    /// Given to the owner, and not acknowledged.
    taken: BTreeSet<i64>,
    /// The offset behind the last that was fetched.
    next: i64,
    /// The offset behind the last that was given to the owner.
    given: i64,
    /// What the broker knows as acknowledged.
    committed: i64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There will be no more, and why.
    fn fail(&self, why: String) {
        metrics::counter!("goconductor_queue_consumer_errors_total").increment(1);
        self.state().failed = Some(why);
        self.came.notify_waiters();
    }
}

/// Hears of assignments.
#[derive(Debug)]
struct Context {
    shared: Arc<Shared>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut state = self.shared.state();
        match rebalance {
            Rebalance::Assign(partitions) => {
                state.shared_out = true;
                for each in partitions.elements() {
                    state.held.insert(each.partition(), Partition::default());
                }
            }
            // Waits for a commit that is under way, by the lock: after this none is made for them.
            Rebalance::Revoke(partitions) => {
                for each in partitions.elements() {
                    let gone = state.held.remove(&each.partition()).unwrap_or_default();
                    state.lost.extend(gone.taken.into_iter().map(|offset| tag(each.partition(), offset)));
                    let gone = |delivery: &Delivery| partition_of(delivery.tag) == each.partition();
                    state.fetched.retain(|delivery| !gone(delivery));
                }
            }
            Rebalance::Error(error) => tracing::warn!(%error, "a rebalance failed"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            // A partition that went while it was paused is still paused when it comes back.
            if let Err(error) = consumer.resume(partitions) {
                tracing::warn!(%error, "partitions that were assigned may be paused");
            }
            self.shared.paused.store(false, Ordering::Release);
            self.shared.came.notify_waiters();
        }
    }
}

fn tag(partition: i32, offset: i64) -> DeliveryTag {
    let (partition, offset) = (u64::try_from(partition).unwrap_or(0), u64::try_from(offset).unwrap_or(0));
    DeliveryTag::new((partition << OFFSET_BITS) | offset)
}

fn partition_of(tag: DeliveryTag) -> i32 {
    i32::try_from(tag.get() >> OFFSET_BITS).unwrap_or(i32::MAX)
}

fn offset_of(tag: DeliveryTag) -> i64 {
    i64::try_from(tag.get() & ((1 << OFFSET_BITS) - 1)).unwrap_or(i64::MAX)
}

impl KafkaConsumer {
    pub(super) fn begin(settings: &Settings, name: String) -> Result<Self, Error> {
        let shared: Arc<Shared> = Arc::default();
        let context = Context { shared: Arc::clone(&shared) };
        let consumer: BaseConsumer<Context> =
            settings.consumer(&name).create_with_context(context).map_err(|error| configuration(&error))?;
        consumer.subscribe(&[&name]).map_err(|error| Error::Unavailable { reason: error.to_string() })?;
        let consumer = Arc::new(consumer);
        let (tell, left) = oneshot::channel();
        let (polled, to) = (Arc::clone(&consumer), Arc::clone(&shared));
        std::thread::Builder::new()
            .name("kafka-consumer".to_owned())
            .spawn(move || {
                poll(&polled, &to);
                // The last that holds it says good-bye, and waits for the others to hear it: that must not be
                // one of the threads on which everything else goes on.
                while Arc::strong_count(&polled) > 1 {
                    std::thread::sleep(POLL_PAUSED);
                }
                drop(polled);
                tell.send(()).ok();
            })
            .map_err(|error| Error::Unavailable { reason: error.to_string() })?;
        Ok(Self { name, shared, consumer, left: Some(left) })
    }

    fn give(&self, max: usize) -> Result<Vec<Delivery>, Error> {
        let mut state = self.shared.state();
        let mut given = Vec::new();
        while given.len() < max
            && let Some(delivery) = state.fetched.pop_front()
        {
            // It went to another consumer, and has come back: it can be acknowledged again.
            state.lost.remove(&delivery.tag);
            if let Some(partition) = state.held.get_mut(&partition_of(delivery.tag)) {
                let offset = offset_of(delivery.tag);
                partition.taken.insert(offset);
                partition.given = offset + 1;
                given.push(delivery);
            }
        }
        match &state.failed {
            Some(reason) if given.is_empty() => Err(Error::Unavailable { reason: reason.clone() }),
            Some(_) | None => Ok(given),
        }
    }
}

/// Polls until it is told to end, then leaves the group.
fn poll(consumer: &Arc<BaseConsumer<Context>>, shared: &Shared) {
    while !shared.stop.load(Ordering::Acquire) {
        let paused = shared.paused.load(Ordering::Acquire);
        let enough = shared.state().fetched.len() >= if paused { FETCH_AGAIN } else { FETCHED };
        if paused != enough
            && let Ok(all) = consumer.assignment()
        {
            let done = if paused { consumer.resume(&all) } else { consumer.pause(&all) };
            shared.paused.store(paused != done.is_ok(), Ordering::Release);
        }
        match consumer.poll(if paused { POLL_PAUSED } else { POLL }) {
            Some(Ok(message)) => fetch(shared, &message),
            Some(Err(error)) if is_passing(&error) => tracing::debug!(%error, "kafka"),
            Some(Err(error)) => {
                shared.fail(error.to_string());
                break;
            }
            None => {}
        }
    }
    // To leave is to let the others have the partitions at once.
    consumer.unsubscribe();
    shared.came.notify_waiters();
}

/// Whether the library gets over it by itself.
fn is_passing(error: &KafkaError) -> bool {
    let fatal = matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::Fatal));
    !fatal && !is_missing(error)
}

fn fetch(shared: &Shared, message: &BorrowedMessage<'_>) {
    let (partition, offset) = (message.partition(), message.offset());
    let delivery = Delivery {
        tag: tag(partition, offset),
        message: Message {
            key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
            payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
            published_at_ms: published_at(message),
        },
        redelivered: false,
    };
    let mut state = shared.state();
    let Some(held) = state.held.get_mut(&partition) else { return };
    if offset < held.next {
        // The topic was deleted, and made again: what was known of the old one is nothing to the new one.
        *held = Partition::default();
    }
    held.next = offset + 1;
    state.fetched.push_back(delivery);
    drop(state);
    shared.came.notify_waiters();
}

fn published_at(message: &BorrowedMessage<'_>) -> i64 {
    let header = message.headers().and_then(|headers| headers.iter().find(|each| each.key == PUBLISHED));
    let said = header.and_then(|header| std::str::from_utf8(header.value?).ok()?.parse().ok());
    said.or(message.timestamp().to_millis()).unwrap_or(0)
}

#[async_trait]
impl Consumer for KafkaConsumer {
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
                let count = u64::try_from(given.len()).unwrap_or(u64::MAX);
                metrics::counter!("goconductor_queue_taken_total", "topic" => self.name.clone())
                    .increment(count);
                return Ok(given);
            }
            came.await;
        }
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        if deliveries.is_empty() {
            return Ok(Vec::new());
        }
        let (shared, consumer) = (Arc::clone(&self.shared), Arc::clone(&self.consumer));
        let (name, tags) = (self.name.clone(), deliveries.to_vec());
        let committing = move || {
            // While the group is being shared out anew nothing can be committed: what is still held then is
            // committed once that is done, and what has gone is given back.
            let mut waited = Duration::ZERO;
            loop {
                let why = match commit(&shared, &consumer, &name, &tags)? {
                    Committed::Known(gone) => return Ok(gone),
                    Committed::NotNow(why) => why,
                };
                if waited >= COMMIT_PATIENCE {
                    let reason = format!("offsets can't be committed: {why}");
                    return Err(Error::Unavailable { reason });
                }
                std::thread::sleep(COMMIT_PAUSE);
                waited += COMMIT_PAUSE;
            }
        };
        tokio::task::spawn_blocking(committing)
            .await
            .map_err(|error| Error::Unavailable { reason: error.to_string() })?
    }

    async fn ready(&mut self) -> Result<(), Error> {
        let ready = async {
            loop {
                let came = self.shared.came.notified();
                tokio::pin!(came);
                came.as_mut().enable();
                let (is_ready, failed) = {
                    let state = self.shared.state();
                    (state.shared_out, state.failed.clone())
                };
                match failed {
                    Some(reason) => return Err(Error::Unavailable { reason }),
                    None if is_ready => return Ok(()),
                    None => came.await,
                }
            }
        };
        let late = || Error::Unavailable { reason: "the group does not share its partitions out".to_owned() };
        tokio::time::timeout(JOIN, ready).await.unwrap_or_else(|_| Err(late()))
    }

    async fn leave(mut self: Box<Self>) {
        let left = self.left.take();
        drop(self);
        if let Some(left) = left
            && tokio::time::timeout(LEAVE, left).await.is_err()
        {
            tracing::warn!("a group was not left in time: what this process held moves when it is missed");
        }
    }
}

/// How a commit went.
enum Committed {
    /// The broker knows; these had gone to another consumer before.
    Known(Vec<DeliveryTag>),
    /// It can't be made just now.
    NotNow(KafkaError),
}

/// Whether the same commit can be right a little later. That it was made, and only its answer lost, does no
/// harm: it says up to where, not how much further.
fn passes(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::WaitingForCoordinator
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
        )
    )
}

/// Has the broker know what was acknowledged. The lock is held until it does: a partition that is to go
/// waits for that.
fn commit(
    shared: &Shared,
    consumer: &BaseConsumer<Context>,
    name: &str,
    tags: &[DeliveryTag],
) -> Result<Committed, Error> {
    let mut state = shared.state();
    let mut offsets = TopicPartitionList::new();
    for (partition, held) in &state.held {
        let is_left = |offset: &&i64| !tags.contains(&tag(*partition, **offset));
        let done = held.taken.iter().find(is_left).copied().unwrap_or(held.given);
        if done > held.committed {
            offsets
                .add_partition_offset(name, *partition, Offset::Offset(done))
                .map_err(|error| Error::Unavailable { reason: error.to_string() })?;
        }
    }
    if offsets.count() > 0 {
        match consumer.commit(&offsets, CommitMode::Sync) {
            Ok(()) => {}
            Err(error) if passes(&error) => return Ok(Committed::NotNow(error)),
            Err(error) => {
                return Err(Error::Unavailable { reason: format!("offsets can't be committed: {error}") });
            }
        }
    }
    for tag in tags {
        if let Some(held) = state.held.get_mut(&partition_of(*tag)) {
            held.taken.remove(&offset_of(*tag));
        }
    }
    for each in offsets.elements() {
        if let (Some(held), Offset::Offset(done)) = (state.held.get_mut(&each.partition()), each.offset()) {
            held.committed = done;
        }
    }
    Ok(Committed::Known(tags.iter().copied().filter(|tag| state.lost.remove(tag)).collect()))
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
    }
}
