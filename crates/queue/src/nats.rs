//! Commands on NATS JetStream: one work-queue stream a lane, and one durable pull consumer of it, which all executors
//! of the service share.
//!
//! **Order.** A stream has one order, and its one consumer hands messages out in it: so messages of one key are handed
//! out in the order of their publishing, as the port has it. There are no partitions: each would be a consumer of its
//! own, with a consensus of its own in a cluster and somebody to share them out, and would tie a workflow to one
//! executor even where another has room. Commands carry the `seq` that they belong to, so that nothing more is needed.
//! A consumer asks for what it can take, when it can, and is given no more: nothing is fetched ahead, so that nobody
//! holds what another could do.
//!
//! **Leases.** What was taken comes again when it was not acknowledged for as long as `ack_wait` of the stream's
//! consumer. A consumer says in between that it still works on what it holds, and counts the time from before it
//! asked: a process that was paused knows, by the monotonic clock, that what it holds may be another's by now, and
//! neither acknowledges it nor gives it back. A message is acknowledged once the servers have said so, and an executor
//! acts on none before that; what comes again says so.
//!
//! **Once.** Each message has an id, which the servers know for a while: what is published again, because the answer
//! was lost, is stored once. It is published again only as long as that keeps the order: when a later message of the
//! same call was stored and an earlier one was not, the rest is left to the dispatch ledger.
//!
//! Streams are made when they are missing, also in the middle; one that was deleted comes back empty, and the ledger
//! brings back what it held.

mod consumer;
mod held;
mod link;
mod options;
mod receiver;
mod record;
mod streams;

use crate::room::Room;
use crate::{Backlog, Capacity, Consumer, Error, Message, Queue, Topic};
use async_nats::jetstream::context::{AccountErrorKind, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_trait::async_trait;
use consumer::NatsConsumer;
use futures::future::join_all;
use link::{Connected, Link};
use options::Names;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use streams::Streams;

pub use crate::settings::nats::{NatsCredentials, Settings};

/// Servers that do not answer for this long are taken for gone.
const ANSWER: Duration = Duration::from_secs(5);
/// For this long messages are published again, if need be; then they are left to the ledger.
const DELIVERED: Duration = Duration::from_secs(12);
/// Before it is published again.
const PAUSE: Duration = Duration::from_millis(100);
/// What a message's headers take up beside its key.
const HEADERS: usize = 4096;
/// How long readiness waits for an answer.
const READY: Duration = Duration::from_millis(1500);
/// How often the first message is looked for, when it goes in between.
const LOOKS: usize = 3;

/// Commands on NATS JetStream. Cheap to clone.
#[derive(Clone)]
pub struct NatsQueue {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    link: Link,
    streams: Streams,
    room: Room,
    /// The next message's number; with the connection's random name its id.
    next: AtomicU64,
}

impl std::fmt::Debug for NatsQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsQueue").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

/// What became of a message that was sent.
enum Sent {
    /// It is stored, now or before.
    Stored,
    /// Nobody can say.
    Unknown(String),
    /// It is not stored: there is no stream.
    Missing,
    /// It is not stored, and would not be the next time.
    Refused(String),
}

impl NatsQueue {
    /// Commands on the servers of these settings. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the settings can't work.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        settings.addresses()?;
        settings.options(drop)?;
        let (link, room) = (Link::new(settings.clone()), Room::new(settings.max_messages));
        let (streams, next) = (Streams::default(), AtomicU64::default());
        Ok(Self { inner: Arc::new(Inner { settings, link, streams, room, next }) })
    }

    /// The connection, with a topic's stream and consumer there; for how long its messages are lent.
    async fn ready(&self, names: &Names) -> Result<(Connected, Duration), Error> {
        let Inner { link, streams, settings, .. } = &*self.inner;
        let getting = async {
            let connected = link.get().await?;
            let lease = streams.ensure(link, &connected, settings, names).await?;
            Ok((connected, lease))
        };
        tokio::time::timeout(2 * ANSWER, getting).await.unwrap_or_else(|_| Err(link.unavailable("no answer")))
    }

    /// Makes sure that there is room for some messages.
    async fn room(&self, topic: &Topic, names: &Names, count: usize) -> Result<(), Error> {
        let room = &self.inner.room;
        if room.take(&names.subject, count) {
            return Ok(());
        }
        let backlog = self.look(names, false).await?;
        room.found(&names.subject, backlog.waiting);
        if room.take(&names.subject, count) {
            return Ok(());
        }
        Err(Error::Full { topic: topic.clone(), capacity: Capacity::Messages(room.limit()) })
    }

    /// Publishes messages in their order, again those whose answer was lost, as long as that keeps it.
    async fn send(&self, names: &Names, messages: &[Message]) -> Result<(), Error> {
        let Inner { link, streams, .. } = &*self.inner;
        let first =
            self.inner.next.fetch_add(u64::try_from(messages.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let mut ids: Option<Vec<String>> = None;
        let mut left = messages;
        loop {
            let (connected, _) = self.ready(names).await?;
            // Of this process: the name of an inbox is random.
            let ids = ids.get_or_insert_with(|| {
                let of = connected.client.new_inbox();
                (first..).take(messages.len()).map(|number| format!("{of}.{number}")).collect()
            });
            let begun = messages.len() - left.len();
            let sent = once(&connected, names, left, ids.get(begun..).unwrap_or_default()).await;
            let stored = sent.iter().take_while(|each| matches!(each, Sent::Stored)).count();
            left = left.get(stored..).unwrap_or_default();
            let rest = sent.get(stored..).unwrap_or_default();
            let why = match rest.first() {
                None | Some(Sent::Stored) => return Ok(()),
                Some(Sent::Refused(why)) => return Err(Error::Unavailable { reason: why.clone() }),
                Some(Sent::Missing) => {
                    streams.forget(names);
                    "there is no stream"
                }
                Some(Sent::Unknown(why)) => why,
            };
            if rest.iter().any(|each| matches!(each, Sent::Stored)) {
                return Err(link.unavailable(&format!("a message was lost before others: {why}")));
            }
            tracing::debug!(subject = names.subject, why, "published again");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// What a stream holds; when its first message was published if that is asked for.
    async fn look(&self, names: &Names, oldest: bool) -> Result<Backlog, Error> {
        let link = &self.inner.link;
        let looking = async {
            let (connected, _) = self.ready(names).await?;
            let stream = connected.jetstream.get_stream_no_info(&names.stream).await;
            let stream = stream.map_err(|error| link.unavailable(&error.to_string()))?;
            for last in [false; LOOKS - 1].into_iter().chain([true]) {
                let info = stream.get_info().await.map_err(|error| link.unavailable(&error.to_string()))?;
                let state = info.state;
                // What was acknowledged is gone from a work queue: what there is waits, or was just taken.
                let taken = state.last_sequence.saturating_sub(state.messages);
                let backlog = Backlog { waiting: state.messages, oldest_waiting_ms: None, taken };
                if state.messages == 0 || !oldest {
                    return Ok(backlog);
                }
                let first = stream.raw_message_builder().sequence(state.first_sequence).send().await;
                let at = match first {
                    Ok(first) => record::published_at(Some(&first.headers)).unwrap_or(0),
                    // It may just have been acknowledged.
                    Err(_) if !last => continue,
                    // What can't be found out is taken for the beginning of time: then everything still waits.
                    Err(_) => 0,
                };
                return Ok(Backlog { oldest_waiting_ms: Some(at), ..backlog });
            }
            Err(link.unavailable("the first message can't be found"))
        };
        tokio::time::timeout(ANSWER, looking).await.unwrap_or_else(|_| Err(link.unavailable("no answer")))
    }

    async fn look_again(&self, topic: &Topic, oldest: bool) -> Result<Backlog, Error> {
        let (names, link) = (self.inner.settings.names_of(topic), &self.inner.link);
        let mut found = self.look(&names, oldest).await;
        if found.is_err() && link.is_up().await {
            // It may have been deleted: then it comes back empty.
            self.inner.streams.forget(&names);
            found = self.look(&names, oldest).await;
        }
        let backlog = found?;
        self.inner.room.found(&names.subject, backlog.waiting);
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        metrics::gauge!("goconductor_queue_lag", "topic" => names.subject).set(backlog.waiting as f64);
        Ok(backlog)
    }
}

/// Sends messages in their order; what became of each.
async fn once(connected: &Connected, names: &Names, messages: &[Message], ids: &[String]) -> Vec<Sent> {
    let mut answers = Vec::with_capacity(messages.len());
    for (message, id) in messages.iter().zip(ids) {
        let publish =
            PublishMessage::build().payload(message.payload.clone()).headers(record::headers(message, id));
        answers.push(connected.jetstream.send_publish(names.subject.clone(), publish).await);
    }
    let answers = answers.into_iter().map(async |sent| match sent {
        Ok(answer) => outcome(answer.await.map(drop)),
        Err(error) => outcome(Err(error)),
    });
    join_all(answers).await
}

fn outcome(answer: Result<(), PublishError>) -> Sent {
    let Err(error) = answer else { return Sent::Stored };
    match error.kind() {
        PublishErrorKind::StreamNotFound => Sent::Missing,
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe | PublishErrorKind::MaxAckPending => {
            Sent::Unknown(error.to_string())
        }
        PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::MaxPayloadExceeded
        | PublishErrorKind::Other => Sent::Refused(error.to_string()),
    }
}

#[async_trait]
impl Queue for NatsQueue {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let names = self.inner.settings.names_of(topic);
        let (connected, _) = self.ready(&names).await?;
        let limit = connected.client.max_payload().saturating_sub(HEADERS);
        let largest = messages.iter().map(|message| message.key.len() + message.payload.len()).max();
        if let Some(bytes) = largest.filter(|bytes| *bytes > limit) {
            return Err(Error::TooLarge { topic: topic.clone(), bytes, limit });
        }
        #[allow(clippy::disallowed_methods, reason = "a figure for people")]
        let begun = Instant::now();
        self.room(topic, &names, messages.len()).await?;
        let sent = tokio::time::timeout(DELIVERED, self.send(&names, &messages)).await;
        let sent = sent.unwrap_or_else(|_| Err(self.inner.link.unavailable("no answer to a publish")));
        metrics::histogram!("goconductor_queue_publish_seconds").record(begun.elapsed().as_secs_f64());
        match &sent {
            Ok(()) => {
                let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
                metrics::counter!("goconductor_queue_published_total", "topic" => names.subject)
                    .increment(count);
            }
            Err(_) => metrics::counter!("goconductor_queue_publish_errors_total").increment(1),
        }
        sent
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let names = self.inner.settings.names_of(topic);
        self.inner.streams.forget(&names);
        let (connected, lease) = self.ready(&names).await?;
        let news = Arc::clone(self.inner.link.news());
        Ok(Box::new(NatsConsumer::begin(connected, news, names, lease).await?))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.look_again(topic, true).await
    }

    async fn depth(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.look_again(topic, false).await
    }

    async fn has_consumer(&self, _: &Topic) -> Result<bool, Error> {
        Ok(true)
    }

    fn outlives_processes(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Error> {
        let link = &self.inner.link;
        let asking = async {
            let connected = link.get().await?;
            match connected.jetstream.query_account().await {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == AccountErrorKind::TimedOut => {
                    Err(link.unavailable("no answer"))
                }
                Err(error) => Err(link.unavailable(&format!("JetStream: {error}"))),
            }
        };
        tokio::time::timeout(READY, asking).await.unwrap_or_else(|_| Err(link.unavailable("no answer")))
    }
}
