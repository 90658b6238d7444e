//! The adapter for RabbitMQ: one quorum queue per lane, which all executors of the service consume.
//!
//! **Order.** A queue delivers its messages in one order. Messages that return to the queue, because their consumer is
//! gone, are delivered before the rest, in their order. Messages with the same key are therefore delivered in publish
//! order, as the port requires. The adapter does not use partitions with a single active consumer each: they would bind
//! a workflow to one executor while another one is idle. Commands carry their `seq`, so nothing more is needed.
//!
//! **Prefetch.** The broker sends each consumer a limited number of messages ahead (`queue.rabbitmq.prefetch`). No other
//! consumer receives them, so the limit is low.
//!
//! **Acknowledgements.** AMQP does not confirm an acknowledgement. A consumer therefore sends another request for the
//! queue on the same channel. Its response implies that the acknowledgements were processed, and an executor acts on a
//! message only after that. If a crash of the broker loses an acknowledgement all the same, the message is delivered
//! again and marked. The messages of a consumer return to the queue with its channel. A process that was paused for too
//! long finds its channel closed, and the outcome of its acknowledgements is reported as unknown.
//!
//! **Publishes.** Publishes use confirms. A message that was not confirmed is not published again, because a quorum
//! queue does not detect duplicates: it is left to the dispatch ledger. The exception is a message that the broker
//! returns because its queue does not exist: it was certainly not stored, so the queue is created and the message is
//! published again. Missing queues are created, also at runtime. A queue that was deleted comes back empty, and the
//! ledger publishes its messages again.

mod connector;
mod consumer;
mod errors;
mod limits;
mod options;
mod progress;
mod queues;
mod record;
mod wire;

use crate::topic_capacity::TopicCapacity;
use crate::{Backlog, BrokerQueue, Capacity, Consumer, Error, Message, Queue, Topic};
use async_trait::async_trait;
use connector::RabbitConnector;
use consumer::RabbitConsumer;
use errors::{failed, is_missing};
use futures::future::join_all;
use lapin::options::{BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation};
use limits::REQUEST_TIMEOUT;
use progress::{ProgressMonitor, ProgressReporter};
use queues::Queues;
use std::sync::Arc;
use std::time::Duration;

pub use crate::settings::rabbitmq::Settings;

/// How long a publish is retried. After it, the messages are left to the ledger.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(12);
/// Delay before messages that were certainly not stored are published again.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// Timeout of the readiness check.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1500);

/// A queue on RabbitMQ. Cheap to clone.
#[derive(Clone)]
pub struct RabbitQueue {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    /// Two connections: a broker that blocks publishes stops reading from their connection, and acknowledgements must
    /// get through nevertheless.
    publishing: Arc<RabbitConnector>,
    consuming: Arc<RabbitConnector>,
    queues: Queues,
    capacity: TopicCapacity,
    reporter: Arc<ProgressReporter>,
    monitor: ProgressMonitor,
    /// The channel of publishes, with confirms, and the channel of passive requests.
    publisher: tokio::sync::Mutex<Option<Channel>>,
    observer: tokio::sync::Mutex<Option<Channel>>,
}

impl std::fmt::Debug for RabbitQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitQueue").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

/// The outcome of a published message.
enum ConfirmOutcome {
    /// The message is stored.
    Stored,
    /// The outcome is unknown.
    Unknown(Error),
    /// The message is not stored: the queue does not exist.
    Missing,
    /// The message is not stored: the queue rejected it.
    Rejected,
}

impl RabbitQueue {
    /// Creates a queue. No request is sent yet.
    ///
    /// # Errors
    /// Returns [`Error::Configuration`] if the settings do not work.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        settings.addresses()?;
        if let Some(tls) = &settings.tls {
            tls.client("queue.rabbitmq")?;
        }
        let connector = |name| Arc::new(RabbitConnector::new(name, settings.clone()));
        let (publishing, consuming) = (connector("goconductor publisher"), connector("goconductor consumer"));
        let reporter = Arc::new(ProgressReporter::new(Arc::clone(&publishing), settings.progress()));
        let monitor = ProgressMonitor::new(Arc::clone(&consuming), settings.progress());
        let capacity = TopicCapacity::new(settings.max_messages);
        let (queues, publisher, observer) = (Queues::default(), Default::default(), Default::default());
        Ok(Self {
            inner: Arc::new(Inner {
                settings,
                publishing,
                consuming,
                queues,
                capacity,
                reporter,
                monitor,
                publisher,
                observer,
            }),
        })
    }

    async fn ensure(&self, name: &str) -> Result<(), Error> {
        let Inner { queues, consuming, settings, .. } = &*self.inner;
        queues.ensure(consuming, settings, name).await
    }

    /// Returns the channel of publishes, with confirms.
    async fn publisher(&self) -> Result<Channel, Error> {
        let mut slot = self.inner.publisher.lock().await;
        if let Some(channel) = &*slot
            && channel.status().connected()
        {
            return Ok(channel.clone());
        }
        let channel = self.inner.publishing.channel().await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirms.map_err(|error| failed("failed to enable publisher confirms", error))?;
        *slot = Some(channel.clone());
        Ok(channel)
    }

    /// Returns the number of messages of a queue that no consumer has prefetched.
    async fn ready_messages(&self, name: &str) -> Result<u64, Error> {
        let request = async {
            self.ensure(name).await?;
            for is_last in [false, true] {
                let mut slot = self.inner.observer.lock().await;
                let channel = match slot.take() {
                    Some(channel) if channel.status().connected() => channel,
                    Some(_) | None => self.inner.consuming.channel().await?,
                };
                let passive = QueueDeclareOptions::durable().passive();
                match channel.queue_declare(name.into(), passive, FieldTable::default()).await {
                    Ok(queue) => {
                        *slot = Some(channel);
                        return Ok(u64::from(queue.message_count()));
                    }
                    Err(error) if is_missing(&error) && !is_last => {
                        drop(slot);
                        self.inner.queues.forget(name);
                        self.ensure(name).await?;
                    }
                    Err(error) => return Err(failed("failed to request the depth of a queue", error)),
                }
            }
            Ok(0)
        };
        let timed_out = || Error::unavailable("request for the depth of a queue timed out");
        tokio::time::timeout(REQUEST_TIMEOUT, request).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Reserves capacity for messages.
    async fn reserve(&self, topic: &Topic, name: &str, count: usize) -> Result<(), Error> {
        let capacity = &self.inner.capacity;
        if capacity.try_reserve(name, count) {
            return Ok(());
        }
        capacity.record(name, self.ready_messages(name).await?);
        if capacity.try_reserve(name, count) {
            return Ok(());
        }
        Err(Error::Full { topic: topic.clone(), capacity: Capacity::Messages(capacity.limit()) })
    }

    /// Publishes messages in order. Repeats those that were certainly not stored, while that preserves the order.
    async fn send(&self, name: &str, messages: &[Message]) -> Result<(), Error> {
        let mut remaining = messages;
        loop {
            if let Some(reason) = self.inner.publishing.blocked() {
                return Err(Error::unavailable(format!("broker blocks publishes: {reason}")));
            }
            self.ensure(name).await?;
            let channel = self.publisher().await?;
            let outcomes = send_once(&channel, name, remaining).await;
            let stored = outcomes.iter().take_while(|each| matches!(each, ConfirmOutcome::Stored)).count();
            remaining = remaining.get(stored..).unwrap_or_default();
            let mut rest = outcomes.into_iter().skip(stored);
            let reason = match rest.next() {
                None | Some(ConfirmOutcome::Stored) => return Ok(()),
                Some(ConfirmOutcome::Unknown(error)) => return Err(error),
                Some(ConfirmOutcome::Missing) => {
                    self.inner.queues.forget(name);
                    "queue does not exist"
                }
                Some(ConfirmOutcome::Rejected) => "queue rejected a message",
            };
            if rest.any(|each| matches!(each, ConfirmOutcome::Stored | ConfirmOutcome::Unknown(_))) {
                // To repeat the first one would reorder the messages.
                return Err(Error::unavailable(format!("a part of the batch was not stored: {reason}")));
            }
            tracing::debug!(queue = name, reason, "publish is repeated");
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
}

/// Publishes messages in order, and returns the outcome of each.
async fn send_once(channel: &Channel, name: &str, messages: &[Message]) -> Vec<ConfirmOutcome> {
    // `mandatory`: the broker returns a message whose queue does not exist.
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let mut sent = Vec::with_capacity(messages.len());
    for message in messages {
        let properties = record::properties(message);
        let publish = channel.basic_publish("".into(), name.into(), options, &message.payload, properties);
        sent.push(publish.await);
    }
    let unknown = |error| ConfirmOutcome::Unknown(failed("publish was not confirmed", error));
    let outcomes = sent.into_iter().map(async |sent| match sent {
        Ok(confirm) => match confirm.await {
            Ok(Confirmation::Ack(None)) => ConfirmOutcome::Stored,
            Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => ConfirmOutcome::Missing,
            Ok(Confirmation::Nack(None)) => ConfirmOutcome::Rejected,
            Ok(Confirmation::NotRequested) => {
                ConfirmOutcome::Unknown(Error::unavailable("channel does not use publisher confirms"))
            }
            Err(error) => unknown(error),
        },
        Err(error) => unknown(error),
    });
    join_all(outcomes).await
}

impl BrokerQueue for RabbitQueue {
    fn topic_name(&self, topic: &Topic) -> String {
        self.inner.settings.name_of(topic)
    }
}

#[async_trait]
impl Queue for RabbitQueue {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let limit = self.inner.settings.message_bytes();
        if let Some(bytes) = messages.iter().map(Message::size).max().filter(|bytes| *bytes > limit) {
            return Err(Error::TooLarge { topic: topic.clone(), bytes, limit });
        }
        let name = self.topic_name(topic);
        self.reserve(topic, &name, messages.len()).await?;
        let sent = tokio::time::timeout(PUBLISH_TIMEOUT, self.send(&name, &messages)).await;
        sent.unwrap_or_else(|_| Err(Error::unavailable("publish timed out")))
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let Inner { settings, consuming, queues, reporter, .. } = &*self.inner;
        let name = self.topic_name(topic);
        queues.forget(&name);
        self.ensure(&name).await?;
        Ok(Box::new(RabbitConsumer::start(consuming, Arc::clone(reporter), settings, name).await?))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        let name = self.topic_name(topic);
        // First, because it creates a missing queue.
        let ready = self.ready_messages(&name).await?;
        self.inner.capacity.record(&name, ready);
        let progress = self.inner.monitor.progress(&name).await?;
        let waiting = ready + progress.prefetched;
        // Callers read 0 as "everything still waits".
        let oldest_waiting_ms = (waiting > 0).then(|| progress.oldest_ms.unwrap_or(0));
        Ok(Backlog { waiting, oldest_waiting_ms, acknowledged: progress.acknowledged })
    }

    async fn prepare(&self, topic: &Topic) -> Result<(), Error> {
        self.ensure(&self.topic_name(topic)).await?;
        self.publisher().await.map(drop)
    }

    async fn has_consumer(&self, _: &Topic) -> Result<bool, Error> {
        Ok(true)
    }

    fn system(&self) -> &'static str {
        "rabbitmq"
    }

    fn is_durable(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Error> {
        let request = async {
            let mut slot = self.inner.observer.lock().await;
            let channel = match slot.take() {
                Some(channel) if channel.status().connected() => channel,
                Some(_) | None => self.inner.consuming.channel().await?,
            };
            let qos = channel.basic_qos(1, BasicQosOptions::default()).await;
            qos.map_err(|error| failed("readiness check failed", error))?;
            *slot = Some(channel);
            Ok(())
        };
        let timed_out = || Error::unavailable("readiness check timed out");
        tokio::time::timeout(CHECK_TIMEOUT, request).await.unwrap_or_else(|_| Err(timed_out()))
    }
}
