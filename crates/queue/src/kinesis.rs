//! Commands on Amazon Kinesis: one stream a lane, shards by the key's hash, keys by workflow.
//!
//! A message is acknowledged once the checkpoint of its shard is written down behind it, and an executor acts on
//! none before that. So, as with Kafka, what another consumer may have acted on is never delivered again.
//!
//! Kinesis knows no groups: who reads which shard, and how far it was acknowledged, is in leases that whoever
//! opens the queue provides, in the state store's database mostly. A lease's counter rises each time that it is
//! taken: one who was paused, and replaced, checkpoints nothing.
//!
//! Order by key holds over splits and merges: a shard is not read before those from which it came were acknowledged
//! to their ends. It holds over refusals: no request has two records of one key, and what was refused of one is
//! sent again before the next. What may have been taken in is never sent again, as it would come twice: it is
//! left to the ledger.
//!
//! Streams are made when they are missing, also in the middle: one that was deleted comes back empty, and the
//! dispatch ledger brings back what it held.

mod api;
mod backlog;
mod consumer;
mod fault;
mod lease;
mod names;
mod record;
mod streams;

use crate::{Backlog, Consumer, Error, Message, Queue, Topic};
use api::Api;
use async_trait::async_trait;
use backlog::Counts;
use consumer::KinesisConsumer;
use fault::{Fault, Kind, Pauses};
use record::Record;
use std::sync::Arc;
use std::time::Duration;
use streams::Streams;
use tokio::time::Instant;

pub use crate::settings::kinesis::{AwsCredentials, Settings, StreamCapacity};
pub use lease::{Checkpoint, Lease, Leases, Mark, MemoryLeases, NewLease, Progress, Take};

/// What is refused for this long is left to the ledger: whoever published it has other things to do.
const SENT: Duration = Duration::from_secs(10);
/// A stream that is made is waited for: by a publisher so long, and by a consumer, who has nothing else to do.
const MADE: Duration = Duration::from_secs(10);
const MADE_TO_CONSUME: Duration = Duration::from_secs(60);
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Commands on Kinesis. Cheap to clone.
#[derive(Clone)]
pub struct KinesisQueue {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    identity: String,
    api: Arc<Api>,
    leases: Arc<dyn Leases>,
    streams: Streams,
    counts: Counts,
}

impl std::fmt::Debug for KinesisQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KinesisQueue").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl KinesisQueue {
    /// Creates a queue on Kinesis without a request to it. All processes must share the leases. `identity` names this
    /// process in them; it must be random at each start, so that no two processes have the same.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the settings can't work.
    pub fn new(settings: Settings, identity: &str, leases: Arc<dyn Leases>) -> Result<Self, Error> {
        settings.check()?;
        let api = Arc::new(Api::new(settings.clone())?);
        let streams = Streams::new(Arc::clone(&api), settings.capacity);
        let counts = Counts::default();
        Ok(Self {
            inner: Arc::new(Inner { settings, identity: identity.to_owned(), api, leases, streams, counts }),
        })
    }

    /// Sends one request, and what is refused of it again, until all of it was taken in.
    async fn send(&self, stream: &str, mut records: Vec<Record>, until: Instant) -> Result<(), Error> {
        let [first, longest] = PAUSES;
        let mut pauses = Pauses::new(&self.inner.identity, first, longest);
        loop {
            let fault = match self.inner.api.put(stream, &records).await {
                Ok(answers) => match left(&mut records, answers) {
                    Some(fault) => fault,
                    None => return Ok(()),
                },
                Err(fault) => fault,
            };
            match fault.kind {
                // It may have been taken in, or never will be.
                Kind::Unknown | Kind::Refused | Kind::Iterator => return Err(fault.into()),
                Kind::Throttled | Kind::NotSent | Kind::Missing | Kind::InUse if Instant::now() >= until => {
                    let count = records.len();
                    let reason = format!("{count} records were refused for {} s: {fault}", SENT.as_secs());
                    return Err(Error::Unavailable { reason });
                }
                Kind::Throttled | Kind::NotSent | Kind::InUse => {}
                // Deleted in the middle: nothing of it was taken in, so it can be sent again.
                Kind::Missing => {
                    self.inner.streams.forget(stream);
                    self.inner.streams.ensure(stream, MADE).await?;
                }
            }
            tokio::time::sleep(pauses.next()).await;
        }
    }

    async fn send_all(&self, stream: &str, messages: &[Message]) -> Result<(), Error> {
        let until = Instant::now() + SENT;
        for request in record::requests(messages) {
            self.send(stream, request, until).await?;
        }
        Ok(())
    }
}

/// Leaves the records that were refused; why, by the worst of them.
fn left(records: &mut Vec<Record>, answers: Vec<Option<Fault>>) -> Option<Fault> {
    let mut refused = answers.iter();
    records.retain(|_| refused.next().is_some_and(Option::is_some));
    let is_doubtful = |fault: &Fault| fault.kind == Kind::Unknown;
    let mut faults: Vec<Fault> = answers.into_iter().flatten().collect();
    faults.sort_by_key(|fault| !is_doubtful(fault));
    faults.into_iter().next()
}

#[async_trait]
impl Queue for KinesisQueue {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let largest = messages.iter().map(|message| message.key.len() + message.payload.len()).max();
        if let Some(bytes) = largest.filter(|bytes| *bytes > record::MESSAGE_BYTES) {
            return Err(Error::TooLarge { topic: topic.clone(), bytes, limit: record::MESSAGE_BYTES });
        }
        let stream = self.inner.settings.name_of(topic);
        self.inner.streams.ensure(&stream, MADE).await?;
        let begun = Instant::now();
        let sent = self.send_all(&stream, &messages).await;
        metrics::histogram!("goconductor_queue_publish_seconds").record(begun.elapsed().as_secs_f64());
        match &sent {
            Ok(()) => {
                let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
                metrics::counter!("goconductor_queue_published_total", "topic" => stream).increment(count);
            }
            Err(_) => metrics::counter!("goconductor_queue_publish_errors_total").increment(1),
        }
        sent
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let Inner { settings, identity, api, leases, streams, .. } = &*self.inner;
        let stream = settings.name_of(topic);
        streams.forget(&stream);
        streams.ensure(&stream, MADE_TO_CONSUME).await?;
        let (api, leases) = (Arc::clone(api), Arc::clone(leases));
        Ok(Box::new(KinesisConsumer::begin(api, leases, stream, identity, settings.lease)))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        let Inner { settings, api, leases, streams, counts, .. } = &*self.inner;
        let stream = settings.name_of(topic);
        streams.ensure(&stream, MADE).await?;
        let backlog = counts.backlog(api, leases, &stream, settings.lease).await;
        if backlog.is_err() {
            streams.forget(&stream);
        }
        let backlog = backlog?;
        #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
        metrics::gauge!("goconductor_queue_lag", "topic" => stream).set(backlog.waiting as f64);
        Ok(backlog)
    }

    async fn has_consumer(&self, _: &Topic) -> Result<bool, Error> {
        Ok(true)
    }

    fn outlives_processes(&self) -> bool {
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
    fn what_was_refused_is_left_and_what_is_in_doubt_is_said_first() {
        let record = |key: &str| Record { partition_key: key.to_owned(), data: Vec::new() };
        let mut records = vec![record("a"), record("b"), record("c")];
        let (throttled, doubtful) = (Fault::new(Kind::Throttled, "t"), Fault::new(Kind::Unknown, "u"));
        let answers = vec![Some(throttled), None, Some(doubtful.clone())];
        assert_eq!(left(&mut records, answers), Some(doubtful));
        assert_eq!(records, [record("a"), record("c")]);
        assert_eq!(left(&mut records, vec![None, None]), None);
        assert!(records.is_empty());
    }
}
