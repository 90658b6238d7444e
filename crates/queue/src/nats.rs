//! The adapter for NATS JetStream: one work-queue stream per lane, with one durable pull consumer object that all
//! executors of the service share.
//!
//! **Order.** A stream has one order, and its consumer object delivers messages in that order. Messages with the same
//! key are therefore delivered in publish order, as the port requires. The adapter uses no partitions: each would need
//! its own consumer object, with its own consensus group in a cluster, and an assignment to executors. It would also
//! bind a workflow to one executor while another one is idle. Commands carry their `seq`, so nothing more is needed.
//! A consumer requests only as many messages as its owner wants, so no message waits at a busy executor.
//!
//! **Leases.** A message that is not acknowledged is delivered again after `ack_wait`. A consumer renews the lease of
//! the messages that it still processes, and counts each lease from before the request. A process that was paused
//! therefore detects, with the monotonic clock, that its messages may belong to another consumer. It neither
//! acknowledges nor releases them. A message counts as acknowledged once the servers have confirmed it, and an executor
//! acts on a message only after that. Redelivered messages are marked.
//!
//! **Duplicates.** Each message has an id, which the servers remember for a while. A publish whose response was lost
//! can be repeated, and is stored once. It is repeated only while that preserves the order: if a later message of the
//! same batch was stored and an earlier one was not, the rest is left to the dispatch ledger.
//!
//! Missing streams are created, also at runtime. A stream that was deleted comes back empty, and the ledger publishes
//! its messages again.

mod connector;
mod consumer;
mod limits;
mod options;
mod receiver;
mod record;
mod state;
mod status;
mod streams;

use crate::message::BacklogDetail;
use crate::topic_capacity::TopicCapacity;
use crate::{Backlog, BrokerQueue, Capacity, Consumer, Error, Message, Queue, Topic};
use async_nats::jetstream::context::{AccountErrorKind, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_trait::async_trait;
use connector::{Connection, NatsConnector};
use consumer::NatsConsumer;
use futures::future::join_all;
use limits::REQUEST_TIMEOUT;
use options::StreamNames;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use streams::NatsStreams;

pub use crate::settings::nats::{NatsCredentials, Settings};

/// How long a publish is retried. After it, the messages are left to the ledger.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(12);
/// Delay before a publish is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// The bytes of a message that are reserved for its headers, in addition to the key.
const HEADER_BYTES: usize = 4096;
/// Timeout of the readiness check.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1500);
/// How often the first message of a stream is requested, if it is acknowledged in between.
const FIRST_MESSAGE_ATTEMPTS: usize = 3;

/// A queue on NATS JetStream. Cheap to clone.
#[derive(Clone)]
pub struct NatsQueue {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    connector: NatsConnector,
    streams: NatsStreams,
    capacity: TopicCapacity,
    /// The number of messages so far. Together with a random inbox name it forms the ids of messages.
    published: AtomicU64,
}

impl std::fmt::Debug for NatsQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsQueue").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

/// The outcome of a published message.
enum PublishOutcome {
    /// The message is stored, by this or an earlier attempt.
    Stored,
    /// The response was lost.
    Unknown(PublishError),
    /// The message is not stored: the stream does not exist.
    Missing,
    /// The message is not stored, and another attempt would fail as well.
    Refused(PublishError),
}

impl NatsQueue {
    /// Creates a queue. No request is sent yet.
    ///
    /// # Errors
    /// Returns [`Error::Configuration`] if the settings do not work.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        settings.addresses()?;
        settings.options(drop)?;
        let capacity = TopicCapacity::new(settings.max_messages);
        let connector = NatsConnector::new(settings.clone());
        let (streams, published) = (NatsStreams::default(), AtomicU64::default());
        Ok(Self { inner: Arc::new(Inner { settings, connector, streams, capacity, published }) })
    }

    /// Returns the connection and the lease of messages. Creates the stream and its consumer object if necessary.
    async fn ensure(&self, names: &StreamNames) -> Result<(Connection, Duration), Error> {
        let Inner { connector, streams, settings, .. } = &*self.inner;
        let ensure = async {
            let connection = connector.get().await?;
            let lease = streams.ensure(connector, &connection, settings, names).await?;
            Ok((connection, lease))
        };
        let timed_out = || connector.unavailable("creation of a stream timed out");
        tokio::time::timeout(2 * REQUEST_TIMEOUT, ensure).await.unwrap_or_else(|_| Err(timed_out()))
    }

    /// Reserves capacity for messages.
    async fn reserve(&self, topic: &Topic, names: &StreamNames, count: usize) -> Result<(), Error> {
        let capacity = &self.inner.capacity;
        if capacity.try_reserve(&names.subject, count) {
            return Ok(());
        }
        let backlog = self.request_backlog(names, BacklogDetail::Depth).await?;
        capacity.record(&names.subject, backlog.waiting);
        if capacity.try_reserve(&names.subject, count) {
            return Ok(());
        }
        Err(Error::Full { topic: topic.clone(), capacity: Capacity::Messages(capacity.limit()) })
    }

    /// Publishes messages in order. Repeats those whose response was lost, while that preserves the order.
    async fn send(&self, names: &StreamNames, messages: &[Message]) -> Result<(), Error> {
        let Inner { connector, streams, published, .. } = &*self.inner;
        let first = published.fetch_add(u64::try_from(messages.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let mut ids: Option<Vec<String>> = None;
        let mut remaining = messages;
        loop {
            let (connection, _) = self.ensure(names).await?;
            // The name of an inbox is random, and so makes the ids unique among all processes.
            let ids = ids.get_or_insert_with(|| {
                let inbox = connection.client.new_inbox();
                (first..).take(messages.len()).map(|number| format!("{inbox}.{number}")).collect()
            });
            let done = messages.len() - remaining.len();
            let outcomes =
                send_once(&connection, names, remaining, ids.get(done..).unwrap_or_default()).await;
            let stored = outcomes.iter().take_while(|each| matches!(each, PublishOutcome::Stored)).count();
            remaining = remaining.get(stored..).unwrap_or_default();
            let mut rest = outcomes.into_iter().skip(stored);
            let failure = match rest.next() {
                None | Some(PublishOutcome::Stored) => return Ok(()),
                Some(PublishOutcome::Refused(error)) => {
                    return Err(Error::unavailable("publish was refused").with_source(error));
                }
                Some(PublishOutcome::Missing) => {
                    streams.forget(names);
                    connector.unavailable("stream does not exist")
                }
                Some(PublishOutcome::Unknown(error)) => {
                    connector.unavailable("response to a publish was lost").with_source(error)
                }
            };
            if rest.any(|each| matches!(each, PublishOutcome::Stored)) {
                // To repeat the first one would reorder the messages.
                return Err(failure);
            }
            tracing::debug!(subject = names.subject, error = failure.report(), "publish is repeated");
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// Requests the backlog of a stream.
    async fn request_backlog(&self, names: &StreamNames, detail: BacklogDetail) -> Result<Backlog, Error> {
        let connector = &self.inner.connector;
        let request = async {
            let (connection, _) = self.ensure(names).await?;
            let stream = connection.jetstream.get_stream_no_info(&names.stream).await;
            let stream = stream
                .map_err(|error| connector.unavailable("failed to look up a stream").with_source(error))?;
            for attempt in 1..=FIRST_MESSAGE_ATTEMPTS {
                let info = stream.get_info().await.map_err(|error| {
                    connector.unavailable("failed to request the state of a stream").with_source(error)
                })?;
                let state = info.state;
                // A work queue removes acknowledged messages.
                let acknowledged = state.last_sequence.saturating_sub(state.messages);
                let backlog = Backlog { waiting: state.messages, oldest_waiting_ms: None, acknowledged };
                if state.messages == 0 || detail == BacklogDetail::Depth {
                    return Ok(backlog);
                }
                let first = stream.raw_message_builder().sequence(state.first_sequence).send().await;
                let published_at_ms = match first {
                    Ok(first) => record::published_at_ms(Some(&first.headers)).unwrap_or(0),
                    // It may have been acknowledged since.
                    Err(_) if attempt < FIRST_MESSAGE_ATTEMPTS => continue,
                    // Callers read 0 as "everything still waits".
                    Err(_) => 0,
                };
                return Ok(Backlog { oldest_waiting_ms: Some(published_at_ms), ..backlog });
            }
            Err(connector.unavailable("failed to read the first message of a stream"))
        };
        let timed_out = || connector.unavailable("request for the backlog timed out");
        tokio::time::timeout(REQUEST_TIMEOUT, request).await.unwrap_or_else(|_| Err(timed_out()))
    }

    async fn sample(&self, topic: &Topic, detail: BacklogDetail) -> Result<Backlog, Error> {
        let names = self.inner.settings.names_of(topic);
        let mut backlog = self.request_backlog(&names, detail).await;
        if backlog.is_err() && self.inner.connector.is_connected().await {
            // The stream may have been deleted: the second request creates it.
            self.inner.streams.forget(&names);
            backlog = self.request_backlog(&names, detail).await;
        }
        let backlog = backlog?;
        self.inner.capacity.record(&names.subject, backlog.waiting);
        Ok(backlog)
    }
}

/// Publishes messages in order, and returns the outcome of each.
async fn send_once(
    connection: &Connection,
    names: &StreamNames,
    messages: &[Message],
    ids: &[String],
) -> Vec<PublishOutcome> {
    let mut sent = Vec::with_capacity(messages.len());
    for (message, id) in messages.iter().zip(ids) {
        let publish =
            PublishMessage::build().payload(message.payload.clone()).headers(record::headers(message, id));
        sent.push(connection.jetstream.send_publish(names.subject.clone(), publish).await);
    }
    let outcomes = sent.into_iter().map(async |sent| match sent {
        Ok(response) => outcome(response.await.map(drop)),
        Err(error) => outcome(Err(error)),
    });
    join_all(outcomes).await
}

fn outcome(response: Result<(), PublishError>) -> PublishOutcome {
    let Err(error) = response else { return PublishOutcome::Stored };
    match error.kind() {
        PublishErrorKind::StreamNotFound => PublishOutcome::Missing,
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe | PublishErrorKind::MaxAckPending => {
            PublishOutcome::Unknown(error)
        }
        PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::MaxPayloadExceeded
        | PublishErrorKind::Other => PublishOutcome::Refused(error),
    }
}

impl BrokerQueue for NatsQueue {
    fn topic_name(&self, topic: &Topic) -> String {
        self.inner.settings.names_of(topic).subject
    }
}

#[async_trait]
impl Queue for NatsQueue {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let names = self.inner.settings.names_of(topic);
        let (connection, _) = self.ensure(&names).await?;
        let limit = connection.client.max_payload().saturating_sub(HEADER_BYTES);
        if let Some(bytes) = messages.iter().map(Message::size).max().filter(|bytes| *bytes > limit) {
            return Err(Error::TooLarge { topic: topic.clone(), bytes, limit });
        }
        self.reserve(topic, &names, messages.len()).await?;
        let timed_out = || self.inner.connector.unavailable("publish timed out");
        let sent = tokio::time::timeout(PUBLISH_TIMEOUT, self.send(&names, &messages)).await;
        sent.unwrap_or_else(|_| Err(timed_out()))
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let names = self.inner.settings.names_of(topic);
        self.inner.streams.forget(&names);
        let (connection, lease) = self.ensure(&names).await?;
        let status = self.inner.connector.status();
        Ok(Box::new(NatsConsumer::start(connection, status, &names, lease).await?))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.sample(topic, BacklogDetail::OldestMessage).await
    }

    async fn depth(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.sample(topic, BacklogDetail::Depth).await
    }

    async fn has_consumer(&self, _: &Topic) -> Result<bool, Error> {
        Ok(true)
    }

    fn system(&self) -> &'static str {
        "nats"
    }

    fn is_durable(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Error> {
        let connector = &self.inner.connector;
        let request = async {
            let connection = connector.get().await?;
            match connection.jetstream.query_account().await {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == AccountErrorKind::TimedOut => {
                    Err(connector.unavailable("request to JetStream timed out"))
                }
                Err(error) => Err(connector.unavailable("request to JetStream failed").with_source(error)),
            }
        };
        let timed_out = || connector.unavailable("readiness check timed out");
        tokio::time::timeout(CHECK_TIMEOUT, request).await.unwrap_or_else(|_| Err(timed_out()))
    }
}
