//! A consumer: a channel of its own, with a limited prefetch.

use super::connector::RabbitConnector;
use super::errors::failed;
use super::limits::REQUEST_TIMEOUT;
use super::progress::{ProgressReporter, Report};
use super::record;
use crate::settings::rabbitmq::Settings;
use crate::{Consumer, Delivery, DeliveryTag, Error};
use async_trait::async_trait;
use futures::StreamExt;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

/// Interval of progress reports while the progress changes, and otherwise.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);
const IDLE_REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// How long closing a consumer waits for the broker.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// A delivery tag holds the number of the consumer above this many bits, and the tag of the broker below.
const TAG_BITS: u32 = 40;

/// The number of the next consumer of this process.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

/// A consumer of one topic.
pub(super) struct RabbitConsumer {
    name: String,
    channel: Channel,
    shared: Arc<Shared>,
    /// Resolves when the channel is closed.
    closed: Option<oneshot::Receiver<()>>,
}

impl std::fmt::Debug for RabbitConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitConsumer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The state that the task and the owner of the consumer share.
#[derive(Debug)]
struct Shared {
    number: u64,
    state: Mutex<State>,
    arrived: Notify,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    /// Messages that the owner has not received yet.
    prefetched: VecDeque<Delivery>,
    /// All unacknowledged messages, with their publish times.
    unacknowledged: BTreeMap<DeliveryTag, i64>,
    /// The number of acknowledged messages, and the publish time of the last one.
    acknowledged: u64,
    last_acknowledged_ms: Option<i64>,
    /// The error that ended the consumer.
    failed: Option<Error>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Ends the consumer with an error.
    fn fail(&self, error: Error) {
        self.state().failed = Some(error);
        self.arrived.notify_waiters();
    }

    fn prefetch(&self, delivery: lapin::message::Delivery) {
        let tag = DeliveryTag::new((self.number << TAG_BITS) | delivery.delivery_tag);
        let redelivered = delivery.redelivered;
        let message = record::message(&delivery.properties, delivery.data);
        let mut state = self.state();
        state.unacknowledged.insert(tag, message.published_at_ms);
        state.prefetched.push_back(Delivery { tag, message, redelivered });
        drop(state);
        self.arrived.notify_waiters();
    }

    fn report(&self, consumer: &str) -> Report {
        let state = self.state();
        Report {
            consumer: consumer.to_owned(),
            acknowledged: state.acknowledged,
            prefetched: u64::try_from(state.prefetched.len()).unwrap_or(u64::MAX),
            oldest_ms: state.unacknowledged.values().min().copied().or(state.last_acknowledged_ms),
        }
    }
}

impl RabbitConsumer {
    /// Starts a consumer of a queue that exists.
    pub(super) async fn start(
        connector: &RabbitConnector,
        reporter: Arc<ProgressReporter>,
        settings: &Settings,
        name: String,
    ) -> Result<Self, Error> {
        let channel = connector.channel().await?;
        let consuming = async {
            channel.basic_qos(settings.prefetch, BasicQosOptions::default()).await?;
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            channel.basic_consume(name.as_str().into(), "".into(), options, arguments).await
        };
        let consumer = tokio::time::timeout(REQUEST_TIMEOUT, consuming)
            .await
            .map_err(|_| Error::unavailable("start of a consumer timed out"))?
            .map_err(|error| failed(&format!("failed to consume queue {name}"), error))?;
        let shared = Arc::new(Shared {
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            state: Mutex::default(),
            arrived: Notify::new(),
            stop: CancellationToken::new(),
        });
        let (notify_closed, closed) = oneshot::channel();
        let (received, received_channel) = (Arc::clone(&shared), channel.clone());
        let received_name = name.clone();
        goconductor_supervisor::spawn("rabbitmq-consumer", async move {
            receive(consumer, &received, &reporter, &received_name).await;
            // Closing the channel returns unacknowledged messages to the queue, in order.
            drop(tokio::time::timeout(CLOSE_TIMEOUT, received_channel.close(200, "closed".into())).await);
            notify_closed.send(()).ok();
        });
        Ok(Self { name, channel, shared, closed: Some(closed) })
    }

    /// Sends acknowledgements and waits until the broker has processed them. AMQP does not confirm an acknowledgement,
    /// but the response to a later request for the same queue, on the same channel, implies that it was processed.
    async fn send_acknowledgements(&self, acks: Vec<(u64, bool)>) -> Result<(), lapin::Error> {
        for (tag, multiple) in acks {
            self.channel.basic_ack(tag, BasicAckOptions { multiple }).await?;
        }
        let passive = QueueDeclareOptions::durable().passive();
        self.channel.queue_declare(self.name.as_str().into(), passive, FieldTable::default()).await?;
        Ok(())
    }
}

/// Receives messages until the consumer is stopped or fails, and publishes progress reports.
async fn receive(mut consumer: lapin::Consumer, shared: &Shared, reporter: &ProgressReporter, name: &str) {
    let tag = consumer.tag().as_str().to_owned();
    let mut last = shared.report(&tag);
    reporter.publish(name, &last).await;
    let mut reported_at = now();
    let mut tick = tokio::time::interval(REPORT_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // All arms are cancel safe: none owns a message before it completes.
        tokio::select! {
            () = shared.stop.cancelled() => break,
            delivery = consumer.next() => match delivery {
                Some(Ok(delivery)) => shared.prefetch(delivery),
                Some(Err(error)) => {
                    shared.fail(failed("channel of a consumer failed", error));
                    break;
                }
                None => {
                    shared.fail(Error::unavailable("queue was deleted or moved"));
                    break;
                }
            },
            _ = tick.tick() => {
                let report = shared.report(&tag);
                if report != last || reported_at.elapsed() > IDLE_REPORT_INTERVAL {
                    reporter.publish(name, &report).await;
                    (last, reported_at) = (report, now());
                }
            }
        }
    }
    let closing = Report { prefetched: 0, oldest_ms: None, ..shared.report(&tag) };
    reporter.publish(name, &closing).await;
}

#[allow(clippy::disallowed_methods, reason = "the interval of reports, by the monotonic clock")]
fn now() -> Instant {
    Instant::now()
}

/// Returns the acknowledgements of `tags`: a single one for multiple messages, if `tags` are the oldest unacknowledged
/// messages.
fn acknowledgements(
    unacknowledged: &BTreeMap<DeliveryTag, i64>,
    tags: &BTreeSet<DeliveryTag>,
) -> Vec<(u64, bool)> {
    let broker_tag = |tag: &DeliveryTag| tag.get() & ((1 << TAG_BITS) - 1);
    let Some(last) = tags.last() else { return Vec::new() };
    if unacknowledged.range(..=*last).all(|(tag, _)| tags.contains(tag)) {
        return vec![(broker_tag(last), true)];
    }
    tags.iter().map(|tag| (broker_tag(tag), false)).collect()
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn receive(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        loop {
            let arrived = self.shared.arrived.notified();
            tokio::pin!(arrived);
            // Registered before the state is read, so that no message is missed.
            arrived.as_mut().enable();
            let received: Vec<Delivery> = {
                let mut state = self.shared.state();
                // The broker has returned the messages of a closed channel to the queue.
                if let Some(error) = &state.failed {
                    return Err(error.clone());
                }
                let count = max.min(state.prefetched.len());
                state.prefetched.drain(..count).collect()
            };
            if !received.is_empty() {
                return Ok(received);
            }
            arrived.await;
        }
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        let (acks, count, last_ms) = {
            let mut state = self.shared.state();
            let is_known = |tag: &&DeliveryTag| state.unacknowledged.contains_key(tag);
            let tags: BTreeSet<_> = deliveries.iter().filter(is_known).copied().collect();
            let acks = acknowledgements(&state.unacknowledged, &tags);
            // Removed before the request: the broker closes the channel if a tag is acknowledged twice.
            let last_ms = tags.iter().filter_map(|tag| state.unacknowledged.remove(tag)).last();
            (acks, u64::try_from(tags.len()).unwrap_or(u64::MAX), last_ms)
        };
        if acks.is_empty() {
            return Ok(Vec::new());
        }
        tokio::time::timeout(REQUEST_TIMEOUT, self.send_acknowledgements(acks))
            .await
            .map_err(|_| Error::unavailable("acknowledgement timed out"))?
            .map_err(|error| Error::unavailable("failed to acknowledge").with_source(error))?;
        let mut state = self.shared.state();
        state.acknowledged += count;
        state.last_acknowledged_ms = last_ms.or(state.last_acknowledged_ms);
        // Single messages are never lost to another consumer. All are lost with the channel, which is an error above.
        Ok(Vec::new())
    }

    async fn close(mut self: Box<Self>) {
        let closed = self.closed.take();
        drop(self);
        if let Some(closed) = closed {
            drop(tokio::time::timeout(CLOSE_TIMEOUT, closed).await);
        }
    }
}

impl Drop for RabbitConsumer {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oldest_messages_are_acknowledged_by_one_frame() {
        let tag = |number: u64| DeliveryTag::new((7 << TAG_BITS) | number);
        let unacknowledged: BTreeMap<_, _> = (3..8).map(|number| (tag(number), 0)).collect();
        let of = |numbers: &[u64]| {
            acknowledgements(&unacknowledged, &numbers.iter().map(|number| tag(*number)).collect())
        };
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[3, 4, 5]), [(5, true)]);
        assert_eq!(of(&[3, 5]), [(3, false), (5, false)]);
    }
}
