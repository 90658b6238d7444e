//! The adapter for Kafka: one topic per lane, one consumer group per topic, the workflow id as the key.
//!
//! A message is acknowledged once its offset is committed at the broker, and an executor acts on a message only after
//! that. A message that another consumer may have acted on is therefore never delivered again. Conversely, no consumer
//! has acted on a message that is delivered again after the death of a consumer, so Kafka's lack of a redelivery flag
//! does no harm.
//!
//! A consumer commits offsets only for partitions whose assignment has not changed since it received the messages. A
//! consumer that was paused and replaced commits nothing.
//!
//! Missing topics are created, also at runtime. A topic that was deleted comes back empty, and the dispatch ledger
//! publishes its messages again.

mod backlog;
mod client;
mod consumer;
mod driver;
mod limits;
mod remove;
mod topics;

use crate::message::BacklogDetail;
use crate::{Backlog, BrokerQueue, Consumer, Error, Message, Queue, Topic};
use async_trait::async_trait;
use backlog::Observers;
use consumer::KafkaConsumer;
use driver::{PUBLISHED_AT_HEADER, is_missing};
use futures::future::join_all;
use limits::REQUEST_TIMEOUT;
use parking_lot::RwLock;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use std::sync::Arc;
use std::time::Duration;
use topics::Topics;

pub use crate::settings::kafka::{Mechanism, Sasl, Settings};
pub use remove::remove_topics;

/// Timeout of a publish. It is longer than the retries of the driver (`message.timeout.ms`). After it, the messages are
/// left to the ledger, so that the publisher can continue.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout of the readiness check.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1500);

/// A queue on Kafka. Cheap to clone.
#[derive(Clone)]
pub struct KafkaQueue {
    inner: Arc<Inner>,
    /// Declared after `inner`, so that the thread that waits for the last sender owns the last reference to `inner`.
    _last: std::sync::mpsc::Sender<()>,
}

struct Inner {
    settings: Settings,
    topics: Topics,
    /// Replaced after a fatal error.
    producer: RwLock<FutureProducer>,
    observers: Observers,
}

impl std::fmt::Debug for KafkaQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaQueue").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl KafkaQueue {
    /// Creates a queue. No request is sent yet.
    ///
    /// # Errors
    /// Returns [`Error::Configuration`] if the settings do not work, and [`Error::Unavailable`] if no thread can be
    /// started.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let producer = RwLock::new(settings.producer()?);
        let topics = Topics::new(&settings)?;
        let observers = Observers::new(settings.clone());
        let inner = Arc::new(Inner { settings, topics, producer, observers });
        let (last, dropped) = std::sync::mpsc::channel::<()>();
        let owned = Arc::clone(&inner);
        // Dropping the clients blocks until the driver's threads have ended, which must not happen on a runtime thread.
        std::thread::Builder::new()
            .name("kafka-end".to_owned())
            .spawn(move || {
                // Nothing is ever sent: `recv` returns when the last sender is dropped.
                let _dropped = dropped.recv();
                drop(owned);
            })
            .map_err(|error| Error::unavailable("failed to start a thread").with_source(error))?;
        Ok(Self { inner, _last: last })
    }

    fn producer(&self) -> FutureProducer {
        self.inner.producer.read().clone()
    }

    /// Sends messages in order and waits for their acknowledgements. Returns the first failure.
    async fn send(&self, name: &str, messages: &[Message]) -> Result<(), KafkaError> {
        let producer = self.producer();
        let mut sent = Vec::with_capacity(messages.len());
        for message in messages {
            let mut record = FutureRecord::to(name).key(message.key.as_bytes()).payload(&*message.payload);
            if message.published_at_ms > 0 {
                record.timestamp = Some(message.published_at_ms);
            } else {
                let value = message.published_at_ms.to_string();
                let header = Header { key: PUBLISHED_AT_HEADER, value: Some(value.as_bytes()) };
                record.headers = Some(OwnedHeaders::new().insert(header));
            }
            match producer.send_result(record) {
                Ok(acknowledgement) => sent.push(acknowledgement),
                Err((error, _)) => return Err(error),
            }
        }
        let acknowledged = tokio::time::timeout(PUBLISH_TIMEOUT, join_all(sent)).await;
        for each in acknowledged.map_err(|_| KafkaError::Canceled)? {
            match each {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(error),
                Err(_) => return Err(KafkaError::Canceled),
            }
        }
        Ok(())
    }

    async fn sample(&self, topic: &Topic, detail: BacklogDetail) -> Result<Backlog, Error> {
        let name = self.topic_name(topic);
        let (observers, observed) = (self.inner.observers.clone(), name.clone());
        let backlog = blocking(move || observers.backlog(&observed, detail)).await?;
        if backlog.as_ref().is_err_and(is_missing) {
            self.inner.topics.forget(&name);
            self.inner.topics.ensure(&name).await?;
            return Ok(Backlog::default());
        }
        backlog.map_err(|error| Error::unavailable("failed to determine the backlog").with_source(error))
    }

    /// Replaces a producer that has failed fatally.
    fn replace_failed_producer(&self) {
        let mut producer = self.inner.producer.write();
        if let Some((code, reason)) = producer.client().fatal_error() {
            tracing::warn!(%code, reason, "Kafka producer failed fatally and was replaced");
            match self.inner.settings.producer() {
                Ok(replacement) => *producer = replacement,
                Err(error) => {
                    tracing::error!(error = error.report(), "failed Kafka producer could not be replaced");
                }
            }
        }
    }

    fn publish_error(&self, topic: &Topic, messages: &[Message], error: KafkaError) -> Error {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                let bytes = messages.iter().map(Message::size).max().unwrap_or_default();
                Error::TooLarge { topic: topic.clone(), bytes, limit: self.inner.settings.message_bytes() }
            }
            Some(_) | None => Error::unavailable("failed to publish").with_source(error),
        }
    }
}

/// Runs a blocking call of the driver on a thread of the runtime.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let called = tokio::task::spawn_blocking(call).await;
    called.map_err(|error| Error::unavailable("blocking call to Kafka failed").with_source(error))
}

impl BrokerQueue for KafkaQueue {
    fn topic_name(&self, topic: &Topic) -> String {
        self.inner.settings.name_of(topic)
    }
}

#[async_trait]
impl Queue for KafkaQueue {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let limit = self.inner.settings.message_bytes();
        if let Some(bytes) = messages.iter().map(Message::size).max().filter(|bytes| *bytes > limit) {
            return Err(Error::TooLarge { topic: topic.clone(), bytes, limit });
        }
        let name = self.topic_name(topic);
        self.inner.topics.ensure(&name).await?;
        let mut sent = self.send(&name, &messages).await;
        if sent.as_ref().is_err_and(is_missing) {
            // The topic was deleted. The broker stored nothing, so the batch can be sent again.
            self.inner.topics.forget(&name);
            self.inner.topics.ensure(&name).await?;
            sent = self.send(&name, &messages).await;
        }
        sent.map_err(|error| {
            self.replace_failed_producer();
            self.publish_error(topic, &messages, error)
        })
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let name = self.topic_name(topic);
        self.inner.topics.forget(&name);
        self.inner.topics.ensure(&name).await?;
        Ok(Box::new(KafkaConsumer::start(&self.inner.settings, name)?))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.sample(topic, BacklogDetail::OldestMessage).await
    }

    async fn depth(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.sample(topic, BacklogDetail::Depth).await
    }

    async fn prepare(&self, topic: &Topic) -> Result<(), Error> {
        let name = self.topic_name(topic);
        self.inner.topics.ensure(&name).await?;
        let producer = self.producer();
        // Loads the leaders of the partitions, which also opens the connections to them.
        let fetch = move || producer.client().fetch_metadata(Some(&name), REQUEST_TIMEOUT).map(drop);
        let fetched = blocking(fetch).await?;
        fetched
            .map_err(|error| Error::unavailable("failed to fetch the metadata of a topic").with_source(error))
    }

    async fn has_consumer(&self, _: &Topic) -> Result<bool, Error> {
        Ok(true)
    }

    fn system(&self) -> &'static str {
        "kafka"
    }

    fn is_durable(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Error> {
        let producer = self.producer();
        // Requests the brokers of the cluster, without the metadata of any topic.
        let fetch = move || producer.client().fetch_metadata(Some(""), CHECK_TIMEOUT).map(drop);
        match blocking(fetch).await? {
            Ok(()) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(Error::unavailable("failed to fetch metadata").with_source(error)),
        }
    }
}
