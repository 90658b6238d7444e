//! Commands on Kafka: one topic a lane, one consumer group a topic, keys by workflow.
//!
//! A message is acknowledged once its offset is committed at the broker, and an executor acts on none before
//! that. So what another consumer may have acted on is never delivered again, and a message that comes again
//! after a consumer's death was acted on by nobody: Kafka need not tell the one from the other.
//!
//! Offsets are committed only for partitions that the consumer holds by an assignment which has not changed
//! since it took the messages: one who was paused, and replaced, commits nothing.
//!
//! Topics are made when they are missing, also in the middle: one that was deleted comes back empty, and the
//! dispatch ledger brings back what it held.

mod backlog;
mod client;
mod consumer;
mod remove;
mod topics;

use crate::{Backlog, Consumer, Error, Message, Queue, Topic};
use async_trait::async_trait;
use backlog::{Look, Observers};
use consumer::KafkaConsumer;
use futures::future::join_all;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use topics::Topics;

pub use crate::settings::kafka::{Mechanism, Sasl, Settings};
pub use remove::remove_topics;

/// Names the header of a publish time that is before 1970, which only tests have.
const PUBLISHED: &str = "published-at-ms";
/// A broker that does not answer for this long is taken for gone.
const ANSWER: Duration = Duration::from_secs(5);
/// A message of which nothing is heard for this long, which is longer than the library tries, is left to the
/// ledger: whoever published it has other things to do.
const DELIVERED: Duration = Duration::from_secs(15);

/// Commands on Kafka. Cheap to clone.
#[derive(Clone)]
pub struct KafkaQueue {
    inner: Arc<Inner>,
    /// Goes after what it is held beside, so that whoever hears of it is the last who has that.
    _held: std::sync::mpsc::Sender<()>,
}

struct Inner {
    settings: Settings,
    topics: Topics,
    /// Replaced when it has failed for good.
    producer: RwLock<FutureProducer>,
    observers: Observers,
}

impl std::fmt::Debug for KafkaQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaQueue").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl KafkaQueue {
    /// Commands on the brokers of these settings. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the settings can't work.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let producer = RwLock::new(settings.producer()?);
        let topics = Topics::new(&settings)?;
        let observers = Observers::new(settings.clone());
        let inner = Arc::new(Inner { settings, topics, producer, observers });
        let (held, ended) = std::sync::mpsc::channel::<()>();
        let last = Arc::clone(&inner);
        // The library blocks whoever lets go of it until its own threads have ended.
        std::thread::Builder::new()
            .name("kafka-end".to_owned())
            .spawn(move || {
                // Nothing is ever sent: it ends with the last sender.
                let _ended = ended.recv();
                drop(last);
            })
            .map_err(|error| Error::Unavailable { reason: format!("no thread can be started: {error}") })?;
        Ok(Self { inner, _held: held })
    }

    /// Sends messages in their order; the first failure, if there is one.
    async fn send(&self, name: &str, messages: &[Message]) -> Result<(), KafkaError> {
        let producer = self.inner.producer.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut sent = Vec::with_capacity(messages.len());
        for message in messages {
            let mut record = FutureRecord::to(name).key(message.key.as_bytes()).payload(&*message.payload);
            if message.published_at_ms > 0 {
                record.timestamp = Some(message.published_at_ms);
            } else {
                // No time that a broker takes.
                let value = message.published_at_ms.to_string();
                let header = Header { key: PUBLISHED, value: Some(value.as_bytes()) };
                record.headers = Some(OwnedHeaders::new().insert(header));
            }
            match producer.send_result(record) {
                Ok(delivery) => sent.push(delivery),
                Err((error, _)) => return Err(error),
            }
        }
        let delivered = tokio::time::timeout(DELIVERED, join_all(sent)).await;
        for each in delivered.map_err(|_| KafkaError::Canceled)? {
            match each {
                Ok(Ok(_)) => {}
                Ok(Err((error, _))) => return Err(error),
                Err(_) => return Err(KafkaError::Canceled),
            }
        }
        Ok(())
    }

    async fn look(&self, topic: &Topic, look: Look) -> Result<Backlog, Error> {
        let name = self.inner.settings.name_of(topic);
        let observers = self.inner.observers.clone();
        let asked = name.clone();
        let backlog = tokio::task::spawn_blocking(move || observers.look(&asked, look))
            .await
            .map_err(|error| Error::Unavailable { reason: error.to_string() })?;
        // To make a topic at a broker that does not answer only takes more time.
        if backlog.as_ref().is_err_and(is_missing) {
            self.inner.topics.forget(&name);
            self.inner.topics.ensure(&name).await?;
            return Ok(Backlog::default());
        }
        let backlog = backlog.map_err(|error| Error::Unavailable { reason: error.to_string() })?;
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        metrics::gauge!("goconductor_queue_lag", "topic" => name).set(backlog.waiting as f64);
        Ok(backlog)
    }

    /// A producer that has failed for good is replaced by another.
    fn renew(&self) {
        let mut producer = self.inner.producer.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((code, why)) = producer.client().fatal_error() {
            tracing::warn!(%code, why, "the producer has failed for good, and is replaced");
            match self.inner.settings.producer() {
                Ok(another) => *producer = another,
                Err(error) => tracing::error!(%error, "there is no other producer"),
            }
        }
    }

    fn error(&self, topic: &Topic, messages: &[Message], error: &KafkaError) -> Error {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                let size = |message: &Message| message.key.len() + message.payload.len();
                let bytes = messages.iter().map(size).max().unwrap_or_default();
                Error::TooLarge { topic: topic.clone(), bytes, limit: self.inner.settings.message_bytes() }
            }
            Some(_) | None => Error::Unavailable { reason: error.to_string() },
        }
    }
}

/// Whether a topic was not there.
fn is_missing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicId
        )
    )
}

#[async_trait]
impl Queue for KafkaQueue {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let largest = messages.iter().map(|message| message.key.len() + message.payload.len()).max();
        if let Some(bytes) = largest.filter(|bytes| *bytes > self.inner.settings.message_bytes()) {
            let limit = self.inner.settings.message_bytes();
            return Err(Error::TooLarge { topic: topic.clone(), bytes, limit });
        }
        let name = self.inner.settings.name_of(topic);
        self.inner.topics.ensure(&name).await?;
        #[allow(clippy::disallowed_methods, reason = "a figure for people")]
        let begun = Instant::now();
        let mut sent = self.send(&name, &messages).await;
        if sent.as_ref().is_err_and(is_missing) {
            // Deleted in the middle: nothing of it was taken in, so it can be sent again.
            self.inner.topics.forget(&name);
            self.inner.topics.ensure(&name).await?;
            sent = self.send(&name, &messages).await;
        }
        metrics::histogram!("goconductor_queue_publish_seconds").record(begun.elapsed().as_secs_f64());
        match sent {
            Ok(()) => {
                let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
                metrics::counter!("goconductor_queue_published_total", "topic" => name).increment(count);
                Ok(())
            }
            Err(error) => {
                metrics::counter!("goconductor_queue_publish_errors_total").increment(1);
                self.renew();
                Err(self.error(topic, &messages, &error))
            }
        }
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let name = self.inner.settings.name_of(topic);
        self.inner.topics.forget(&name);
        self.inner.topics.ensure(&name).await?;
        Ok(Box::new(KafkaConsumer::begin(&self.inner.settings, name)?))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.look(topic, Look::Since).await
    }

    async fn depth(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.look(topic, Look::Depth).await
    }

    async fn prepare(&self, topic: &Topic) -> Result<(), Error> {
        let name = self.inner.settings.name_of(topic);
        self.inner.topics.ensure(&name).await?;
        let producer = self.inner.producer.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Where its partitions are; the connections to them are made with that.
        let asked =
            tokio::task::spawn_blocking(move || producer.client().fetch_metadata(Some(&name), ANSWER));
        let known = asked.await.map_err(|error| Error::Unavailable { reason: error.to_string() })?;
        known.map(drop).map_err(|error| Error::Unavailable { reason: error.to_string() })
    }

    async fn has_consumer(&self, _: &Topic) -> Result<bool, Error> {
        Ok(true)
    }

    fn outlives_processes(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Error> {
        let producer = self.inner.producer.read().unwrap_or_else(PoisonError::into_inner).clone();
        // A cluster's description without any topic.
        let asked = tokio::task::spawn_blocking(move || {
            producer.client().fetch_metadata(Some(""), Duration::from_millis(1500)).map(drop)
        })
        .await
        .map_err(|error| Error::Unavailable { reason: error.to_string() })?;
        match asked {
            Ok(()) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(Error::Unavailable { reason: error.to_string() }),
        }
    }
}
