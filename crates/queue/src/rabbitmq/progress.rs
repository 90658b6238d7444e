//! The progress of consumers.
//!
//! A broker reports how many messages of a queue are ready. It reports neither the messages that consumers have
//! prefetched, nor the age of the first message, nor the number of acknowledged messages, and reading a message would
//! mark it as delivered. Consumers therefore publish progress reports to an exchange: often while they receive messages,
//! rarely otherwise. A report without a subscriber is lost, and a report is stale after a few seconds.

use super::connector::RabbitConnector;
use super::errors::failed;
use super::limits::REQUEST_TIMEOUT;
use crate::Error;
use futures::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{BasicProperties, Channel};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A consumer that has not reported for this long counts as gone: it has no prefetched messages.
const STALE_AFTER: Duration = Duration::from_secs(7);
/// A consumer that has not reported for this long is removed.
const REMOVED_AFTER: Duration = Duration::from_secs(60);
/// Timeout for publishing a report.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

/// The progress report of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// The consumer tag, assigned by the broker.
    pub(super) consumer: String,
    /// The number of acknowledged messages.
    pub(super) acknowledged: u64,
    /// The number of messages that were prefetched and not passed to the owner.
    pub(super) prefetched: u64,
    /// The publish time of the oldest unacknowledged message, or else of the last acknowledged message.
    pub(super) oldest_ms: Option<i64>,
}

impl Report {
    fn encode(&self) -> String {
        let oldest = self.oldest_ms.map_or_else(|| "-".to_owned(), |at| at.to_string());
        format!("1 {} {} {} {oldest}", self.consumer, self.acknowledged, self.prefetched)
    }

    /// Decodes a report. Returns `None` for the message of another publisher or of a later release.
    fn decode(text: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(text).ok()?.split(' ');
        if words.next() != Some("1") {
            return None;
        }
        Some(Self {
            consumer: words.next()?.to_owned(),
            acknowledged: words.next()?.parse().ok()?,
            prefetched: words.next()?.parse().ok()?,
            oldest_ms: words.next()?.parse().ok(),
        })
    }
}

/// Publishes the reports of the consumers of this process.
pub(super) struct ProgressReporter {
    connector: Arc<RabbitConnector>,
    exchange: ShortString,
    channel: tokio::sync::Mutex<Option<Channel>>,
}

impl ProgressReporter {
    pub(super) fn new(connector: Arc<RabbitConnector>, exchange: ShortString) -> Self {
        Self { connector, exchange, channel: tokio::sync::Mutex::default() }
    }

    /// Publishes a report once. A later report replaces a lost one.
    pub(super) async fn publish(&self, name: &str, report: &Report) {
        if self.connector.blocked().is_some() {
            return;
        }
        let publishing = async {
            let mut slot = self.channel.lock().await;
            let channel = match slot.take() {
                Some(channel) if channel.status().connected() => channel,
                Some(_) | None => self.connector.channel().await.ok()?,
            };
            let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
            let text = report.encode();
            let published = channel.basic_publish(
                self.exchange.clone(),
                name.into(),
                options,
                text.as_bytes(),
                properties,
            );
            published.await.ok()?;
            *slot = Some(channel);
            Some(())
        };
        if !matches!(tokio::time::timeout(PUBLISH_TIMEOUT, publishing).await, Ok(Some(()))) {
            tracing::debug!(name, "progress report of a consumer could not be published");
        }
    }
}

/// Collects the reports of the consumers of all processes.
pub(super) struct ProgressMonitor {
    connector: Arc<RabbitConnector>,
    exchange: ShortString,
    topics: Arc<Mutex<BTreeMap<String, TopicProgress>>>,
    subscription: tokio::sync::Mutex<Option<Subscription>>,
}

struct Subscription {
    channel: Channel,
    queue: ShortString,
    /// The topics whose reports are received.
    topics: BTreeSet<String>,
}

/// The reports of a topic.
#[derive(Debug, Default)]
pub(super) struct TopicProgress {
    consumers: BTreeMap<String, (Instant, Report)>,
    /// The number of messages that were acknowledged since the subscription began.
    acknowledged: u64,
}

/// The progress of all consumers of a topic.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DeliveryProgress {
    /// The number of messages that were prefetched and not passed to an owner.
    pub(super) prefetched: u64,
    /// The publish time of the oldest unacknowledged message. `None` if no consumer reported it.
    pub(super) oldest_ms: Option<i64>,
    /// The number of acknowledged messages.
    pub(super) acknowledged: u64,
}

impl TopicProgress {
    fn record(&mut self, now: Instant, report: Report) {
        self.consumers.retain(|_, (at, _)| now.duration_since(*at) < REMOVED_AFTER);
        let before = self.consumers.insert(report.consumer.clone(), (now, report.clone()));
        // The first report of a consumer is its baseline.
        let before = before.map_or(report.acknowledged, |(_, before)| before.acknowledged);
        self.acknowledged += report.acknowledged.saturating_sub(before);
    }

    fn total(&self, now: Instant) -> DeliveryProgress {
        let fresh = self.consumers.values().filter(|(at, _)| now.duration_since(*at) < STALE_AFTER);
        let mut total = DeliveryProgress { acknowledged: self.acknowledged, ..DeliveryProgress::default() };
        for (_, report) in fresh {
            total.prefetched += report.prefetched;
            total.oldest_ms = total.oldest_ms.into_iter().chain(report.oldest_ms).min();
        }
        total
    }
}

#[allow(clippy::disallowed_methods, reason = "the age of a report, by the monotonic clock")]
fn now() -> Instant {
    Instant::now()
}

impl ProgressMonitor {
    pub(super) fn new(connector: Arc<RabbitConnector>, exchange: ShortString) -> Self {
        Self { connector, exchange, topics: Arc::default(), subscription: tokio::sync::Mutex::default() }
    }

    /// Returns the progress of the consumers of a topic, as far as it is known. The first call for a topic subscribes
    /// to its reports.
    pub(super) async fn progress(&self, name: &str) -> Result<DeliveryProgress, Error> {
        let subscribed = tokio::time::timeout(REQUEST_TIMEOUT, self.subscribe(name)).await;
        subscribed.map_err(|_| Error::unavailable("subscription to progress reports timed out"))??;
        let topics = self.topics.lock();
        Ok(topics.get(name).map(|topic| topic.total(now())).unwrap_or_default())
    }

    async fn subscribe(&self, name: &str) -> Result<(), Error> {
        let mut slot = self.subscription.lock().await;
        if slot.as_ref().is_none_or(|subscription| !subscription.channel.status().connected()) {
            *slot = None;
            *slot = Some(self.start().await?);
        }
        let Some(subscription) = &mut *slot else { return Ok(()) };
        if !subscription.topics.contains(name) {
            let (queue, exchange) = (subscription.queue.clone(), self.exchange.clone());
            let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
            let bound = subscription.channel.queue_bind(queue, exchange, name.into(), options, arguments);
            bound.await.map_err(|error| failed("failed to bind the queue for progress reports", error))?;
            subscription.topics.insert(name.to_owned());
        }
        Ok(())
    }

    async fn start(&self) -> Result<Subscription, Error> {
        let subscribe_failed = |error| failed("failed to subscribe to progress reports", error);
        let channel = self.connector.channel().await?;
        // An exclusive queue, which the broker deletes with the connection.
        let options = QueueDeclareOptions::exclusive().auto_delete();
        let queue = channel.queue_declare("".into(), options, FieldTable::default()).await;
        let queue = queue.map_err(subscribe_failed)?.name().clone();
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let consumer = channel.basic_consume(queue.clone(), "".into(), options, FieldTable::default()).await;
        let mut consumer = consumer.map_err(subscribe_failed)?;
        let topics = Arc::clone(&self.topics);
        goconductor_supervisor::spawn("rabbitmq-progress", async move {
            while let Some(Ok(delivery)) = consumer.next().await {
                if let Some(report) = Report::decode(&delivery.data) {
                    let name = delivery.routing_key.as_str().to_owned();
                    topics.lock().entry(name).or_default().record(now(), report);
                }
            }
        });
        Ok(Subscription { channel, queue, topics: BTreeSet::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(consumer: &str, acknowledged: u64, prefetched: u64, oldest_ms: Option<i64>) -> Report {
        Report { consumer: consumer.to_owned(), acknowledged, prefetched, oldest_ms }
    }

    #[test]
    fn report_survives_a_round_trip() {
        for report in [report("amq.ctag-1", 7, 3, Some(-5)), report("c", 0, 0, None)] {
            assert_eq!(Report::decode(report.encode().as_bytes()), Some(report));
        }
        for text in ["", "1", "2 c 0 0 -", "1 c many 0 -", "1 c 0"] {
            assert_eq!(Report::decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn progress_is_the_sum_of_all_consumers_without_stale_ones() {
        let (mut topic, begun) = (TopicProgress::default(), now());
        let later = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(topic.total(begun), DeliveryProgress::default());
        // Consumer a existed before the subscription.
        topic.record(begun, report("a", 100, 2, Some(20)));
        topic.record(begun, report("b", 0, 0, None));
        assert_eq!(
            topic.total(begun),
            DeliveryProgress { prefetched: 2, oldest_ms: Some(20), acknowledged: 0 }
        );
        topic.record(later(6), report("a", 105, 1, Some(30)));
        topic.record(later(6), report("b", 2, 4, Some(25)));
        assert_eq!(
            topic.total(later(6)),
            DeliveryProgress { prefetched: 5, oldest_ms: Some(25), acknowledged: 7 }
        );
        topic.record(later(12), report("a", 106, 0, Some(40)));
        assert_eq!(
            topic.total(later(14)),
            DeliveryProgress { prefetched: 0, oldest_ms: Some(40), acknowledged: 8 }
        );
        topic.record(later(90), report("a", 106, 0, None));
        assert_eq!(topic.consumers.len(), 1, "consumer b was removed");
        assert_eq!(topic.total(later(90)).acknowledged, 8);
    }
}
