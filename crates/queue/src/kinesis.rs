//! The adapter for Amazon Kinesis: one stream per lane, the workflow id as the key, which selects the shard by its hash.
//!
//! A message is acknowledged once the checkpoint after it is stored in the lease of its shard, and an executor acts on a
//! message only after that. As with Kafka, a message that another consumer may have acted on is therefore never
//! delivered again.
//!
//! Kinesis has no consumer groups. The reader of each shard, and its progress, are stored in leases. The creator of the
//! queue provides their store, usually the database of the state store. Each acquisition of a lease increments its
//! counter, so a consumer that was paused and replaced checkpoints nothing.
//!
//! The order of a key survives splits and merges of shards: a shard is not read before its parents were acknowledged to
//! their ends. It also survives partial failures: no request contains two records with the same key, and a refused
//! record is sent again before the next request. A record that may have been stored is never sent again, because it
//! would be delivered twice; it is left to the ledger.
//!
//! Missing streams are created, also at runtime. A stream that was deleted comes back empty, and the dispatch ledger
//! publishes its messages again.

mod api;
mod backlog;
mod backoff;
mod consumer;
mod lease;
mod names;
mod record;
mod request_error;
mod streams;

use crate::{Backlog, BrokerQueue, Consumer, Error, Message, Queue, Topic};
use api::KinesisApi;
use async_trait::async_trait;
use backlog::ShardCounts;
use backoff::jittered;
use consumer::KinesisConsumer;
use record::Record;
use request_error::{RequestError, RequestErrorKind};
use std::sync::Arc;
use std::time::Duration;
use streams::KinesisStreams;
use tokio::time::Instant;

pub use crate::settings::kinesis::{AwsCredentials, Settings, StreamCapacity};
pub use lease::{
    Checkpoint, Lease, Leases, MemoryLeases, NewLease, ShardLeaseRequest, ShardLeaseUpdate, ShardProgress,
};

/// How long a refused publish is retried. After it, the messages are left to the ledger.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);
const MIN_PUBLISH_BACKOFF: Duration = Duration::from_millis(50);
const MAX_PUBLISH_BACKOFF: Duration = Duration::from_secs(1);
/// How long a publisher waits for the creation of a stream, and how long a consumer does, which has no other work.
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);
const CONSUMER_CREATE_TIMEOUT: Duration = Duration::from_secs(60);

/// A queue on Kinesis. Cheap to clone.
#[derive(Clone)]
pub struct KinesisQueue {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    identity: String,
    api: Arc<KinesisApi>,
    leases: Arc<dyn Leases>,
    streams: KinesisStreams,
    counts: ShardCounts,
}

impl std::fmt::Debug for KinesisQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KinesisQueue").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl KinesisQueue {
    /// Creates a queue. All processes that use its streams must share `leases`. `identity` is the name of this process
    /// in leases: it must be random at each start, so that no two processes have the same name. No request is sent yet.
    ///
    /// # Errors
    /// Returns [`Error::Configuration`] if the settings do not work.
    pub fn new(settings: Settings, identity: &str, leases: Arc<dyn Leases>) -> Result<Self, Error> {
        settings.check()?;
        let api = Arc::new(KinesisApi::new(settings.clone())?);
        let streams = KinesisStreams::new(Arc::clone(&api), settings.capacity);
        let counts = ShardCounts::default();
        let identity = identity.to_owned();
        Ok(Self { inner: Arc::new(Inner { settings, identity, api, leases, streams, counts }) })
    }

    /// Sends a request, and repeats its refused records until all are stored.
    async fn send(&self, stream: &str, mut records: Vec<Record>, deadline: Instant) -> Result<(), Error> {
        let mut backoff = jittered(&self.inner.identity, MIN_PUBLISH_BACKOFF, MAX_PUBLISH_BACKOFF);
        loop {
            let error = match self.inner.api.put(stream, &records).await {
                Ok(errors) => match retain_refused(&mut records, errors) {
                    Some(error) => error,
                    None => return Ok(()),
                },
                Err(error) => error,
            };
            match error.kind {
                // The records may have been stored, or never will be.
                RequestErrorKind::OutcomeUnknown
                | RequestErrorKind::Denied
                | RequestErrorKind::InvalidIterator => return Err(error.into()),
                RequestErrorKind::Throttled
                | RequestErrorKind::NotSent
                | RequestErrorKind::Missing
                | RequestErrorKind::InUse
                    if Instant::now() >= deadline =>
                {
                    let (count, seconds) = (records.len(), PUBLISH_TIMEOUT.as_secs());
                    let reason = format!("{count} records were refused for {seconds} s");
                    return Err(Error::unavailable(reason).with_source(error));
                }
                RequestErrorKind::Throttled | RequestErrorKind::NotSent | RequestErrorKind::InUse => {}
                // The stream was deleted. Nothing was stored, so the request can be repeated.
                RequestErrorKind::Missing => {
                    self.inner.streams.forget(stream);
                    self.inner.streams.ensure(stream, CREATE_TIMEOUT).await?;
                }
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }
}

/// Removes the stored records. Returns the worst error of the others: one whose outcome is unknown, if there is any.
fn retain_refused(records: &mut Vec<Record>, errors: Vec<Option<RequestError>>) -> Option<RequestError> {
    let mut refused = errors.iter();
    records.retain(|_| refused.next().is_some_and(Option::is_some));
    let mut errors: Vec<RequestError> = errors.into_iter().flatten().collect();
    errors.sort_by_key(|error| error.kind != RequestErrorKind::OutcomeUnknown);
    errors.into_iter().next()
}

impl BrokerQueue for KinesisQueue {
    fn topic_name(&self, topic: &Topic) -> String {
        self.inner.settings.name_of(topic)
    }
}

#[async_trait]
impl Queue for KinesisQueue {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let limit = record::MESSAGE_BYTES;
        if let Some(bytes) = messages.iter().map(Message::size).max().filter(|bytes| *bytes > limit) {
            return Err(Error::TooLarge { topic: topic.clone(), bytes, limit });
        }
        let stream = self.topic_name(topic);
        self.inner.streams.ensure(&stream, CREATE_TIMEOUT).await?;
        let deadline = Instant::now() + PUBLISH_TIMEOUT;
        for request in record::requests(&messages) {
            self.send(&stream, request, deadline).await?;
        }
        Ok(())
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let Inner { settings, identity, api, leases, streams, .. } = &*self.inner;
        let stream = self.topic_name(topic);
        streams.forget(&stream);
        streams.ensure(&stream, CONSUMER_CREATE_TIMEOUT).await?;
        let (api, leases) = (Arc::clone(api), Arc::clone(leases));
        Ok(Box::new(KinesisConsumer::start(api, leases, stream, identity, settings.lease)))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        let Inner { settings, api, leases, streams, counts, .. } = &*self.inner;
        let stream = self.topic_name(topic);
        streams.ensure(&stream, CREATE_TIMEOUT).await?;
        let backlog = counts.backlog(api, leases, &stream, settings.lease).await;
        if backlog.is_err() {
            streams.forget(&stream);
        }
        backlog
    }

    async fn has_consumer(&self, _: &Topic) -> Result<bool, Error> {
        Ok(true)
    }

    fn system(&self) -> &'static str {
        "aws_kinesis"
    }

    fn is_durable(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Error> {
        Ok(self.inner.api.check(self.inner.streams.any()).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_records_are_kept_and_an_unknown_outcome_takes_precedence() {
        let record = |key: &str| Record { partition_key: key.to_owned(), data: Vec::new() };
        let mut records = vec![record("a"), record("b"), record("c")];
        let throttled = RequestError::new(RequestErrorKind::Throttled, "t");
        let unknown = RequestError::new(RequestErrorKind::OutcomeUnknown, "u");
        let errors = vec![Some(throttled), None, Some(unknown)];
        let worst = retain_refused(&mut records, errors).unwrap();
        assert_eq!((worst.kind, worst.to_string()), (RequestErrorKind::OutcomeUnknown, "u".to_owned()));
        assert_eq!(records, [record("a"), record("c")]);
        assert!(retain_refused(&mut records, vec![None, None]).is_none());
        assert!(records.is_empty());
    }
}
