//! Commands on RabbitMQ: one quorum queue a lane, which all executors of the service consume.
//!
//! **Order.** A queue has one order, in which its messages are handed out; what comes back, because whoever had it has
//! gone, comes before the rest and in its order. So messages of one key are handed out in the order of their
//! publishing, as the port has it. Nor are there partitions with a single active consumer each: they would tie a
//! workflow to one executor even where another has room, and commands carry the `seq` that they belong to.
//!
//! **Ahead.** The broker sends a consumer so many messages ahead (`queue.rabbitmq.prefetch`) and no more: what one has
//! fetched no other gets, so that there are few.
//!
//! **Acknowledged.** AMQP has no answer to an acknowledgement. A consumer asks something of the queue afterwards, on
//! the same channel: when that is answered the queue has what came before it, and an executor acts on nothing before
//! that. Should the broker lose it all the same, by a crash in that moment, the message comes again and says so.
//! What a consumer held goes with its channel: one who was paused for too long finds it closed, and is told that nobody
//! can say what it acknowledged.
//!
//! **Published.** With confirms; what was not confirmed is not published again, as a quorum queue does not know a
//! repeat: it is left to the dispatch ledger. What the broker says to have no queue for is, once that was made: it was
//! not taken in. Queues are made when they are missing, also in the middle; one that was deleted comes back empty, and
//! the ledger brings back what it held.

mod consumer;
mod link;
mod options;
mod progress;
mod queues;
mod record;
mod wire;

use crate::room::Room;
use crate::{Backlog, Capacity, Consumer, Error, Message, Queue, Topic};
use async_trait::async_trait;
use consumer::RabbitConsumer;
use futures::future::join_all;
use lapin::options::{BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation};
use link::{Link, failed, is_missing};
use progress::{Listener, Speaker};
use queues::Queues;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use crate::settings::rabbitmq::Settings;

/// A broker that does not answer for this long is taken for gone.
const ANSWER: Duration = Duration::from_secs(5);
/// A message of which nothing is heard for this long is left to the ledger.
const DELIVERED: Duration = Duration::from_secs(12);
/// Before what was certainly not taken in is published again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long readiness waits for an answer.
const READY: Duration = Duration::from_millis(1500);

/// Commands on RabbitMQ. Cheap to clone.
#[derive(Clone)]
pub struct RabbitQueue {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    /// Apart, as a broker that takes nothing in stops reading from whoever publishes: acknowledgements have to
    /// come through all the same.
    publishing: Arc<Link>,
    consuming: Arc<Link>,
    queues: Queues,
    room: Room,
    speaker: Arc<Speaker>,
    listener: Listener,
    /// For publishes with confirms, and for looks.
    publisher: tokio::sync::Mutex<Option<Channel>>,
    looker: tokio::sync::Mutex<Option<Channel>>,
}

impl std::fmt::Debug for RabbitQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitQueue").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

/// What became of a message that was sent.
enum Sent {
    /// It is stored.
    Stored,
    /// Nobody can say.
    Unknown(String),
    /// It is not: there is no queue.
    Missing,
    /// It is not: the queue would not have it.
    Refused,
}

fn unavailable(reason: impl Into<String>) -> Error {
    Error::Unavailable { reason: reason.into() }
}

impl RabbitQueue {
    /// Commands on the brokers of these settings. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the settings can't work.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        settings.addresses()?;
        if let Some(tls) = &settings.tls {
            tls.client("queue.rabbitmq")?;
        }
        let link = |name| Arc::new(Link::new(name, settings.clone()));
        let (publishing, consuming) = (link("goconductor publisher"), link("goconductor consumer"));
        let speaker = Arc::new(Speaker::new(Arc::clone(&publishing), settings.progress()));
        let listener = Listener::new(Arc::clone(&consuming), settings.progress());
        let room = Room::new(settings.max_messages);
        let (queues, publisher, looker) = (Queues::default(), Default::default(), Default::default());
        Ok(Self {
            inner: Arc::new(Inner {
                settings,
                publishing,
                consuming,
                queues,
                room,
                speaker,
                listener,
                publisher,
                looker,
            }),
        })
    }

    async fn ensure(&self, name: &str) -> Result<(), Error> {
        let Inner { queues, consuming, settings, .. } = &*self.inner;
        queues.ensure(consuming, settings, name).await
    }

    /// The channel that publishes, with confirms.
    async fn publisher(&self) -> Result<Channel, Error> {
        let mut kept = self.inner.publisher.lock().await;
        if let Some(channel) = &*kept
            && channel.status().connected()
        {
            return Ok(channel.clone());
        }
        let channel = self.inner.publishing.channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(|error| failed(&error))?;
        *kept = Some(channel.clone());
        Ok(channel)
    }

    /// How many messages of a queue are ready to be sent to somebody.
    async fn ready(&self, name: &str) -> Result<u64, Error> {
        let looking = async {
            self.ensure(name).await?;
            for last in [false, true] {
                let mut kept = self.inner.looker.lock().await;
                let channel = match kept.take() {
                    Some(channel) if channel.status().connected() => channel,
                    Some(_) | None => self.inner.consuming.channel().await?,
                };
                let look = QueueDeclareOptions::durable().passive();
                match channel.queue_declare(name.into(), look, FieldTable::default()).await {
                    Ok(queue) => {
                        *kept = Some(channel);
                        return Ok(u64::from(queue.message_count()));
                    }
                    Err(error) if is_missing(&error) && !last => {
                        drop(kept);
                        self.inner.queues.forget(name);
                        self.ensure(name).await?;
                    }
                    Err(error) => return Err(failed(&error)),
                }
            }
            Ok(0)
        };
        tokio::time::timeout(ANSWER, looking)
            .await
            .unwrap_or_else(|_| Err(unavailable("no answer to a look")))
    }

    /// Makes sure that there is room for some messages.
    async fn room(&self, topic: &Topic, name: &str, count: usize) -> Result<(), Error> {
        let room = &self.inner.room;
        if room.take(name, count) {
            return Ok(());
        }
        room.found(name, self.ready(name).await?);
        if room.take(name, count) {
            return Ok(());
        }
        Err(Error::Full { topic: topic.clone(), capacity: Capacity::Messages(room.limit()) })
    }

    /// Publishes messages in their order, again those that were certainly not taken in, as long as that keeps it.
    async fn send(&self, name: &str, messages: &[Message]) -> Result<(), Error> {
        let mut left = messages;
        loop {
            if let Some(why) = self.inner.publishing.blocked() {
                return Err(unavailable(format!("the broker takes nothing in: {why}")));
            }
            self.ensure(name).await?;
            let channel = self.publisher().await?;
            let sent = once(&channel, name, left).await;
            let stored = sent.iter().take_while(|each| matches!(each, Sent::Stored)).count();
            left = left.get(stored..).unwrap_or_default();
            let rest = sent.get(stored..).unwrap_or_default();
            let why = match rest.first() {
                None | Some(Sent::Stored) => return Ok(()),
                Some(Sent::Unknown(why)) => return Err(unavailable(why.clone())),
                Some(Sent::Missing) => {
                    self.inner.queues.forget(name);
                    "there is no queue"
                }
                Some(Sent::Refused) => "the queue refuses it",
            };
            if rest.iter().any(|each| matches!(each, Sent::Stored | Sent::Unknown(_))) {
                return Err(unavailable(format!("a message was not taken in before others: {why}")));
            }
            tracing::debug!(name, why, "published again");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Sends messages in their order; what became of each.
async fn once(channel: &Channel, name: &str, messages: &[Message]) -> Vec<Sent> {
    // What no queue takes comes back.
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let mut confirms = Vec::with_capacity(messages.len());
    for message in messages {
        let properties = record::properties(message);
        let sent = channel.basic_publish("".into(), name.into(), options, &message.payload, properties).await;
        confirms.push(sent);
    }
    let outcomes = confirms.into_iter().map(async |sent| match sent {
        Ok(confirm) => match confirm.await {
            Ok(Confirmation::Ack(None)) => Sent::Stored,
            Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => Sent::Missing,
            Ok(Confirmation::Nack(None)) => Sent::Refused,
            Ok(Confirmation::NotRequested) => Sent::Unknown("the channel has no confirms".to_owned()),
            Err(error) => Sent::Unknown(error.to_string()),
        },
        Err(error) => Sent::Unknown(error.to_string()),
    });
    join_all(outcomes).await
}

#[async_trait]
impl Queue for RabbitQueue {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let limit = self.inner.settings.message_bytes();
        let largest = messages.iter().map(|message| message.key.len() + message.payload.len()).max();
        if let Some(bytes) = largest.filter(|bytes| *bytes > limit) {
            return Err(Error::TooLarge { topic: topic.clone(), bytes, limit });
        }
        let name = self.inner.settings.name_of(topic);
        #[allow(clippy::disallowed_methods, reason = "a figure for people")]
        let begun = Instant::now();
        self.room(topic, &name, messages.len()).await?;
        let sent = tokio::time::timeout(DELIVERED, self.send(&name, &messages)).await;
        let sent = sent.unwrap_or_else(|_| Err(unavailable("no answer to a publish")));
        metrics::histogram!("goconductor_queue_publish_seconds").record(begun.elapsed().as_secs_f64());
        match &sent {
            Ok(()) => {
                let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
                metrics::counter!("goconductor_queue_published_total", "topic" => name).increment(count);
            }
            Err(_) => metrics::counter!("goconductor_queue_publish_errors_total").increment(1),
        }
        sent
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let Inner { settings, consuming, queues, speaker, .. } = &*self.inner;
        let name = settings.name_of(topic);
        queues.forget(&name);
        self.ensure(&name).await?;
        Ok(Box::new(RabbitConsumer::begin(consuming, Arc::clone(speaker), settings, name).await?))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        let name = self.inner.settings.name_of(topic);
        // This first: it makes what is missing.
        let ready = self.ready(&name).await?;
        self.inner.room.found(&name, ready);
        let fetched = self.inner.listener.fetched(&name).await?;
        let waiting = ready + fetched.held;
        // What nobody has said is taken for the beginning of time: then everything still waits.
        let oldest_waiting_ms = (waiting > 0).then(|| fetched.oldest_ms.unwrap_or(0));
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        metrics::gauge!("goconductor_queue_lag", "topic" => name).set(waiting as f64);
        Ok(Backlog { waiting, oldest_waiting_ms, taken: fetched.taken })
    }

    async fn prepare(&self, topic: &Topic) -> Result<(), Error> {
        self.ensure(&self.inner.settings.name_of(topic)).await?;
        self.publisher().await.map(drop)
    }

    async fn has_consumer(&self, _: &Topic) -> Result<bool, Error> {
        Ok(true)
    }

    fn outlives_processes(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Error> {
        let asking = async {
            let mut kept = self.inner.looker.lock().await;
            let channel = match kept.take() {
                Some(channel) if channel.status().connected() => channel,
                Some(_) | None => self.inner.consuming.channel().await?,
            };
            channel.basic_qos(1, BasicQosOptions::default()).await.map_err(|error| failed(&error))?;
            *kept = Some(channel);
            Ok(())
        };
        tokio::time::timeout(READY, asking).await.unwrap_or_else(|_| Err(unavailable("no answer")))
    }
}
