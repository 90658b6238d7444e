//! Metrics and spans of the queues at brokers, recorded in one place for all adapters.

use crate::error::{Error, ErrorKind};
use crate::message::{Backlog, Delivery, DeliveryTag, Message, Topic};
use crate::metrics;
use crate::port::{Consumer, Queue};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Instant;

/// A queue at a broker, whose topics have a name there.
pub trait BrokerQueue: Queue {
    /// Returns the name of a topic at the broker, which is also its label in metrics.
    fn topic_name(&self, topic: &Topic) -> String;
}

/// A queue at a broker that records metrics, and opens a span for each publish and each acknowledged batch.
#[derive(Debug, Clone)]
pub struct Metered<Q> {
    queue: Q,
}

impl<Q: BrokerQueue> Metered<Q> {
    /// Records the metrics of `queue`.
    pub fn new(queue: Q) -> Self {
        Self { queue }
    }

    fn record_lag(&self, topic: &Topic, backlog: &Backlog) {
        #[allow(clippy::cast_precision_loss, reason = "a backlog is far below 2^52 messages")]
        let waiting = backlog.waiting as f64;
        metrics::LAG.with([self.queue.topic_name(topic).into()]).set(waiting);
    }
}

/// Returns whether a failed publish counts as an error of the broker. A full topic and a message over the limit are
/// refused before anything is sent.
fn is_broker_error(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Configuration => true,
        ErrorKind::Full | ErrorKind::TooLarge | ErrorKind::Closed => false,
    }
}

fn count(messages: usize) -> u64 {
    u64::try_from(messages).unwrap_or(u64::MAX)
}

#[async_trait]
impl<Q: BrokerQueue> Queue for Metered<Q> {
    #[tracing::instrument(level = "debug", skip_all, fields(%topic, messages = messages.len()))]
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let published = count(messages.len());
        #[allow(clippy::disallowed_methods, reason = "the duration is only a metric")]
        let begun = Instant::now();
        let result = self.queue.publish(topic, messages).await;
        if result.as_ref().err().is_none_or(is_broker_error) {
            metrics::PUBLISH_DURATION.record(begun.elapsed().as_secs_f64());
        }
        match &result {
            Ok(()) => metrics::PUBLISHED.with([self.queue.topic_name(topic).into()]).increment(published),
            Err(error) if is_broker_error(error) => metrics::PUBLISH_ERRORS.increment(1),
            Err(_) => {}
        }
        result
    }

    #[tracing::instrument(level = "debug", skip_all, fields(%topic))]
    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let consumer = self.queue.consume(topic).await?;
        let name = Arc::from(self.queue.topic_name(topic));
        Ok(Box::new(MeteredConsumer { consumer, name, has_failed: false }))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        let backlog = self.queue.backlog(topic).await?;
        self.record_lag(topic, &backlog);
        Ok(backlog)
    }

    async fn depth(&self, topic: &Topic) -> Result<Backlog, Error> {
        let backlog = self.queue.depth(topic).await?;
        self.record_lag(topic, &backlog);
        Ok(backlog)
    }

    async fn prepare(&self, topic: &Topic) -> Result<(), Error> {
        self.queue.prepare(topic).await
    }

    async fn has_consumer(&self, topic: &Topic) -> Result<bool, Error> {
        self.queue.has_consumer(topic).await
    }

    fn system(&self) -> &'static str {
        self.queue.system()
    }

    fn is_durable(&self) -> bool {
        self.queue.is_durable()
    }

    async fn check(&self) -> Result<(), Error> {
        self.queue.check().await
    }
}

/// A consumer that records its metrics.
#[derive(Debug)]
struct MeteredConsumer {
    consumer: Box<dyn Consumer>,
    name: Arc<str>,
    /// A consumer that failed returns the same error again: it counts once.
    has_failed: bool,
}

#[async_trait]
impl Consumer for MeteredConsumer {
    async fn receive(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let received = self.consumer.receive(max).await;
        match &received {
            Ok(deliveries) if deliveries.is_empty() => {}
            Ok(deliveries) => {
                metrics::RECEIVED.with([Arc::clone(&self.name).into()]).increment(count(deliveries.len()));
            }
            Err(_) if self.has_failed => {}
            Err(_) => {
                self.has_failed = true;
                metrics::CONSUMER_ERRORS.increment(1);
            }
        }
        received
    }

    #[tracing::instrument(level = "debug", skip_all, fields(topic = &*self.name, messages = deliveries.len()))]
    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        self.consumer.acknowledge(deliveries).await
    }

    async fn ready(&mut self) -> Result<(), Error> {
        self.consumer.ready().await
    }

    async fn close(self: Box<Self>) {
        self.consumer.close().await;
    }
}
