//! A consumer: a thread that polls the broker, and the messages that it has prefetched.
//!
//! The thread never stops polling, so that a busy owner does not delay a rebalance of the group. Once enough messages
//! are prefetched, it pauses the partitions instead.

use super::client::configuration;
use super::driver::{PUBLISHED_AT_HEADER, is_missing};
use crate::settings::kafka::Settings;
use crate::{Consumer, Delivery, DeliveryTag, Error, Message};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// The number of prefetched messages at which partitions are paused, and below which they are resumed.
const PAUSE_ABOVE: usize = 1000;
const RESUME_BELOW: usize = 500;
/// Timeout of one poll. It also bounds how long the thread needs to notice a stop.
const POLL_TIMEOUT: Duration = Duration::from_millis(50);
const PAUSED_POLL_TIMEOUT: Duration = Duration::from_millis(2);
/// How long a topic may be unknown to a broker after another one created it, and the delay before the next subscription.
const PROPAGATION_TIMEOUT: Duration = Duration::from_secs(10);
const PROPAGATION_DELAY: Duration = Duration::from_millis(100);
/// How long a commit is retried during a rebalance or a coordinator change. Both take less time. The alternative is to
/// leave the group, which causes another rebalance.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(15);
const COMMIT_RETRY_DELAY: Duration = Duration::from_millis(20);
/// Timeout of the first rebalance.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long closing a consumer waits until it has left the group.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// A delivery tag holds the partition above this many bits, and the offset below.
const OFFSET_BITS: u32 = 48;

/// A consumer of one topic, as a member of the topic's group.
pub(super) struct KafkaConsumer {
    name: String,
    settings: Settings,
    created_at: Instant,
    shared: Arc<Shared>,
    consumer: Arc<BaseConsumer<RebalanceContext>>,
    /// Resolves when the consumer has left the group.
    closed: Option<oneshot::Receiver<()>>,
}

impl std::fmt::Debug for KafkaConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaConsumer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The state that the polling thread and the owner of the consumer share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    stop: AtomicBool,
    /// Whether the assigned partitions are paused.
    paused: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    prefetched: VecDeque<Delivery>,
    /// The assigned partitions.
    assigned: BTreeMap<i32, Partition>,
    /// Messages that the owner received from partitions that were revoked before it acknowledged them. Another
    /// consumer may have received them.
    lost: BTreeSet<DeliveryTag>,
    /// The error that ended the consumer.
    failed: Option<KafkaError>,
    /// Whether the group has assigned partitions since this consumer joined it. Its own assignment may be empty.
    has_joined: bool,
}

/// A partition, from its assignment to its revocation.
#[derive(Debug, Default)]
struct Partition {
    /// The offsets that the owner received and did not acknowledge.
    unacknowledged: BTreeSet<i64>,
    /// The offset after the last prefetched message.
    next_fetched: i64,
    /// The offset after the last message that the owner received.
    next_received: i64,
    /// The offset that was committed.
    committed: i64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Ends the consumer with an error.
    fn fail(&self, error: KafkaError) {
        self.state().failed = Some(error);
        self.changed.notify_waiters();
    }
}

/// Receives the rebalance callbacks of the driver.
#[derive(Debug)]
struct RebalanceContext {
    shared: Arc<Shared>,
}

impl ClientContext for RebalanceContext {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka driver reported an error");
    }
}

impl ConsumerContext for RebalanceContext {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut state = self.shared.state();
        match rebalance {
            Rebalance::Assign(partitions) => {
                state.has_joined = true;
                for each in partitions.elements() {
                    state.assigned.insert(each.partition(), Partition::default());
                }
            }
            // The lock waits for a commit in progress. After the revocation, no commit includes the partitions.
            Rebalance::Revoke(partitions) => {
                for each in partitions.elements() {
                    let revoked = state.assigned.remove(&each.partition()).unwrap_or_default();
                    let lost = revoked.unacknowledged.into_iter().map(|offset| tag(each.partition(), offset));
                    state.lost.extend(lost);
                    state.prefetched.retain(|delivery| partition_of(delivery.tag) != each.partition());
                }
            }
            Rebalance::Error(error) => tracing::warn!(%error, "Kafka rebalance failed"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            // The driver keeps the paused state of a partition that is revoked and assigned again.
            if let Err(error) = consumer.resume(partitions) {
                tracing::warn!(%error, "assigned Kafka partitions could not be resumed");
            }
            self.shared.paused.store(false, Ordering::Release);
            self.shared.changed.notify_waiters();
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
    pub(super) fn start(settings: &Settings, name: String) -> Result<Self, Error> {
        let shared: Arc<Shared> = Arc::default();
        let context = RebalanceContext { shared: Arc::clone(&shared) };
        let consumer: BaseConsumer<RebalanceContext> =
            settings.consumer(&name).create_with_context(context).map_err(|error| configuration(&error))?;
        consumer.subscribe(&[&name]).map_err(|error| {
            Error::unavailable(format!("failed to subscribe to topic {name}")).with_source(error)
        })?;
        let consumer = Arc::new(consumer);
        let (notify_closed, closed) = oneshot::channel();
        let (polled, polled_shared) = (Arc::clone(&consumer), Arc::clone(&shared));
        goconductor_supervisor::thread("kafka-consumer", move || {
            poll(&polled, &polled_shared);
            // Dropping the last reference leaves the group and blocks until the coordinator responds. That must
            // happen on this thread and not on a thread of the runtime.
            while Arc::strong_count(&polled) > 1 {
                std::thread::sleep(PAUSED_POLL_TIMEOUT);
            }
            drop(polled);
            notify_closed.send(()).ok();
        })
        .map_err(|error| Error::unavailable("failed to start a thread").with_source(error))?;
        #[allow(clippy::disallowed_methods, reason = "a timeout")]
        let created_at = Instant::now();
        let settings = settings.clone();
        Ok(Self { name, settings, created_at, shared, consumer, closed: Some(closed) })
    }

    /// Replaces a consumer that ended because its topic is missing, if the topic may only be new: the broker that created it
    /// informs the others later. Returns whether there is another consumer. A consumer that had partitions has seen the topic, so
    /// the topic was deleted since.
    async fn replace_if_new(&mut self) -> Result<bool, Error> {
        let is_unknown = {
            let state = self.shared.state();
            state.failed.as_ref().is_some_and(is_missing) && state.assigned.is_empty()
        };
        if !is_unknown || self.created_at.elapsed() >= PROPAGATION_TIMEOUT {
            return Ok(false);
        }
        tracing::debug!(topic = self.name, "new Kafka topic is not known to all brokers yet");
        tokio::time::sleep(PROPAGATION_DELAY).await;
        let mut next = Self::start(&self.settings, self.name.clone())?;
        next.created_at = self.created_at;
        *self = next;
        Ok(true)
    }

    fn try_receive(&self, max: usize) -> Result<Vec<Delivery>, Error> {
        let mut state = self.shared.state();
        let mut received = Vec::new();
        while received.len() < max
            && let Some(delivery) = state.prefetched.pop_front()
        {
            // The partition was revoked and assigned again: the message can be acknowledged again.
            state.lost.remove(&delivery.tag);
            if let Some(partition) = state.assigned.get_mut(&partition_of(delivery.tag)) {
                let offset = offset_of(delivery.tag);
                partition.unacknowledged.insert(offset);
                partition.next_received = offset + 1;
                received.push(delivery);
            }
        }
        match &state.failed {
            Some(error) if received.is_empty() => Err(failed(error)),
            Some(_) | None => Ok(received),
        }
    }
}

fn failed(error: &KafkaError) -> Error {
    Error::unavailable("Kafka consumer failed").with_source(error.clone())
}

/// Polls until the consumer is stopped or fails, then leaves the group.
fn poll(consumer: &Arc<BaseConsumer<RebalanceContext>>, shared: &Shared) {
    while !shared.stop.load(Ordering::Acquire) {
        let paused = shared.paused.load(Ordering::Acquire);
        let limit = if paused { RESUME_BELOW } else { PAUSE_ABOVE };
        let should_pause = shared.state().prefetched.len() >= limit;
        if paused != should_pause
            && let Ok(assignment) = consumer.assignment()
        {
            let switched = if paused { consumer.resume(&assignment) } else { consumer.pause(&assignment) };
            shared.paused.store(paused != switched.is_ok(), Ordering::Release);
        }
        match consumer.poll(if paused { PAUSED_POLL_TIMEOUT } else { POLL_TIMEOUT }) {
            Some(Ok(message)) => prefetch(shared, &message),
            Some(Err(error)) if is_transient(&error) => tracing::debug!(%error, "Kafka poll failed"),
            Some(Err(error)) => {
                shared.fail(error);
                break;
            }
            None => {}
        }
    }
    // Lets the other members take over the partitions at once.
    consumer.unsubscribe();
    shared.changed.notify_waiters();
}

/// Returns whether the driver recovers from an error by itself.
fn is_transient(error: &KafkaError) -> bool {
    let is_fatal = matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::Fatal));
    !is_fatal && !is_missing(error)
}

fn prefetch(shared: &Shared, message: &BorrowedMessage<'_>) {
    let (partition, offset) = (message.partition(), message.offset());
    let delivery = Delivery {
        tag: tag(partition, offset),
        message: Message {
            key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
            payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
            published_at_ms: published_at_ms(message),
        },
        redelivered: false,
    };
    let mut state = shared.state();
    let Some(assigned) = state.assigned.get_mut(&partition) else { return };
    if offset < assigned.next_fetched {
        // The topic was deleted and created again, so the offsets of the old one are meaningless.
        *assigned = Partition::default();
    }
    assigned.next_fetched = offset + 1;
    state.prefetched.push_back(delivery);
    drop(state);
    shared.changed.notify_waiters();
}

fn published_at_ms(message: &BorrowedMessage<'_>) -> i64 {
    let headers = message.headers();
    let header = headers.and_then(|headers| headers.iter().find(|each| each.key == PUBLISHED_AT_HEADER));
    let parsed = header.and_then(|header| std::str::from_utf8(header.value?).ok()?.parse().ok());
    parsed.or(message.timestamp().to_millis()).unwrap_or(0)
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn receive(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        loop {
            let shared = Arc::clone(&self.shared);
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            // Registered before the state is read, so that no message is missed.
            changed.as_mut().enable();
            match self.try_receive(max) {
                Ok(received) if received.is_empty() => changed.await,
                Err(_) if self.replace_if_new().await? => {}
                received => return received,
            }
        }
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        if deliveries.is_empty() {
            return Ok(Vec::new());
        }
        let (shared, consumer) = (Arc::clone(&self.shared), Arc::clone(&self.consumer));
        let (name, tags) = (self.name.clone(), deliveries.to_vec());
        let committing = move || {
            // No commit succeeds during a rebalance. After it, the partitions that are still assigned are committed,
            // and the messages of the others are reported as lost.
            #[allow(clippy::disallowed_methods, reason = "a timeout")]
            let begun = Instant::now();
            loop {
                let error = match commit(&shared, &consumer, &name, &tags)? {
                    CommitResult::Committed(lost) => return Ok(lost),
                    CommitResult::RetryLater(error) => error,
                };
                // An attempt may take seconds itself.
                if begun.elapsed() >= COMMIT_TIMEOUT {
                    return Err(Error::unavailable("commit of offsets timed out").with_source(error));
                }
                std::thread::sleep(COMMIT_RETRY_DELAY);
            }
        };
        tokio::task::spawn_blocking(committing)
            .await
            .map_err(|error| Error::unavailable("task that commits offsets failed").with_source(error))?
    }

    async fn ready(&mut self) -> Result<(), Error> {
        let joined = async {
            loop {
                let shared = Arc::clone(&self.shared);
                let changed = shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let (has_joined, error) = {
                    let state = shared.state();
                    (state.has_joined, state.failed.as_ref().map(failed))
                };
                match error {
                    Some(_) if self.replace_if_new().await? => {}
                    Some(error) => return Err(error),
                    None if has_joined => return Ok(()),
                    None => changed.await,
                }
            }
        };
        let timed_out = || Error::unavailable("consumer group did not assign its partitions in time");
        tokio::time::timeout(JOIN_TIMEOUT, joined).await.unwrap_or_else(|_| Err(timed_out()))
    }

    async fn close(mut self: Box<Self>) {
        let closed = self.closed.take();
        drop(self);
        if let Some(closed) = closed
            && tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err()
        {
            tracing::warn!(
                "consumer did not leave its Kafka group in time; its partitions move after a timeout"
            );
        }
    }
}

/// The result of a commit.
enum CommitResult {
    /// The offsets were committed. The tags were lost to another consumer before.
    Committed(Vec<DeliveryTag>),
    /// The commit has to be retried.
    RetryLater(KafkaError),
}

/// Returns whether the same commit can succeed a little later. A commit whose response was lost can be repeated,
/// because it names an absolute offset.
fn is_retryable_commit(error: &KafkaError) -> bool {
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

/// Commits the offsets of acknowledged messages. Owns the lock until the broker responds, so that a revocation of the
/// partitions waits for the commit.
fn commit(
    shared: &Shared,
    consumer: &BaseConsumer<RebalanceContext>,
    name: &str,
    tags: &[DeliveryTag],
) -> Result<CommitResult, Error> {
    let failed = |error: KafkaError| Error::unavailable("failed to commit offsets").with_source(error);
    let mut state = shared.state();
    let mut offsets = TopicPartitionList::new();
    for (partition, assigned) in &state.assigned {
        let remains = |offset: &&i64| !tags.contains(&tag(*partition, **offset));
        let first = assigned.unacknowledged.iter().find(remains).copied();
        let offset = first.unwrap_or(assigned.next_received);
        if offset > assigned.committed {
            offsets.add_partition_offset(name, *partition, Offset::Offset(offset)).map_err(failed)?;
        }
    }
    if offsets.count() > 0 {
        match consumer.commit(&offsets, CommitMode::Sync) {
            Ok(()) => {}
            Err(error) if is_retryable_commit(&error) => return Ok(CommitResult::RetryLater(error)),
            Err(error) => return Err(failed(error)),
        }
    }
    for tag in tags {
        if let Some(assigned) = state.assigned.get_mut(&partition_of(*tag)) {
            assigned.unacknowledged.remove(&offset_of(*tag));
        }
    }
    for each in offsets.elements() {
        let assigned = state.assigned.get_mut(&each.partition());
        if let (Some(assigned), Offset::Offset(offset)) = (assigned, each.offset()) {
            assigned.committed = offset;
        }
    }
    Ok(CommitResult::Committed(tags.iter().copied().filter(|tag| state.lost.remove(tag)).collect()))
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
    }
}
