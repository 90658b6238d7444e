//! The vocabulary of the cases: numbered messages, and expectations with a timeout.

use super::adapter::{CaseResult, Factory};
use crate::{Consumer, Delivery, DeliveryTag, Error, ErrorKind, Message, Queue, Topic};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// If no message arrives within this time, no further message is expected.
const SILENCE: Duration = Duration::from_millis(100);
/// Interval at which a condition is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// How often a request is repeated to which the broker does not respond in time.
const PUBLISH_REPEATS: u32 = 2;

/// A queue under test.
pub(super) struct Fixture {
    pub(super) queue: Arc<dyn Queue>,
    pub(super) timeout: Duration,
}

impl Fixture {
    pub(super) async fn open(factory: &Arc<dyn Factory>) -> Result<Self, String> {
        Ok(Self { queue: factory.open().await?, timeout: factory.timeout() })
    }

    pub(super) async fn bounded(factory: &Arc<dyn Factory>, messages: usize) -> Result<Option<Self>, String> {
        let queue = factory.open_bounded(messages).await?;
        Ok(queue.map(|queue| Self { queue, timeout: factory.timeout() }))
    }

    /// Publishes numbered messages with the same key. Repeats the request while the broker does not respond, as the owner of
    /// a queue does.
    pub(super) async fn publish(
        &self,
        topic: &Topic,
        key: &str,
        numbers: impl IntoIterator<Item = u64> + Send,
    ) -> CaseResult {
        let messages: Vec<Message> = numbers.into_iter().map(|number| message(key, number)).collect();
        let mut repeats = PUBLISH_REPEATS;
        loop {
            match self.queue.publish(topic, messages.clone()).await {
                Err(error) if error.kind() == ErrorKind::Unavailable && repeats > 0 => repeats -= 1,
                published => return published.map_err(unexpected("publish")),
            }
        }
    }

    pub(super) async fn consumer(&self, topic: &Topic) -> Result<Box<dyn Consumer>, String> {
        self.queue.consume(topic).await.map_err(unexpected("consume"))
    }

    /// Receives once, and expects at least one message.
    pub(super) async fn receive(
        &self,
        consumer: &mut Box<dyn Consumer>,
        max: usize,
    ) -> Result<Vec<Delivery>, String> {
        let received = tokio::time::timeout(self.timeout, consumer.receive(max)).await;
        let received =
            received.map_err(|_| "no message was delivered".to_owned())?.map_err(unexpected("receive"))?;
        ensure(!received.is_empty(), || "receive returned nothing instead of waiting".to_owned())?;
        let count = received.len();
        ensure(count <= max, || format!("receive returned {count} messages, at most {max} were expected"))?;
        Ok(received)
    }

    /// Receives `count` messages, at most `max` at a time.
    pub(super) async fn receive_all(
        &self,
        consumer: &mut Box<dyn Consumer>,
        count: usize,
        max: usize,
    ) -> Result<Vec<Delivery>, String> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let received = self.receive(consumer, max.min(count - all.len())).await;
            all.extend(received.map_err(|error| incomplete(&error, all.len(), count))?);
        }
        Ok(all)
    }

    /// Receives and acknowledges `count` messages, at most `max` at a time.
    pub(super) async fn acknowledge_all(
        &self,
        consumer: &mut Box<dyn Consumer>,
        count: usize,
        max: usize,
    ) -> Result<Vec<Delivery>, String> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let received = self.receive(consumer, max.min(count - all.len())).await;
            let received = received.map_err(|error| incomplete(&error, all.len(), count))?;
            consumer.acknowledge(&tags(&received)).await.map_err(unexpected("acknowledge"))?;
            all.extend(received);
        }
        Ok(all)
    }

    /// Expects that no further message is delivered.
    pub(super) async fn expect_silence(&self, consumer: &mut Box<dyn Consumer>) -> CaseResult {
        match tokio::time::timeout(SILENCE, consumer.receive(1)).await {
            Err(_) => Ok(()),
            Ok(Ok(received)) if received.is_empty() => {
                Err("receive returned nothing instead of waiting".to_owned())
            }
            Ok(Ok(received)) => Err(format!("unexpected message: {:?}", numbers(&received)?)),
            Ok(Err(error)) => Err(unexpected("receive")(error)),
        }
    }

    /// Expects a condition to hold, at once or within the timeout.
    pub(super) async fn eventually<F>(
        &self,
        when: &str,
        mut condition: impl FnMut() -> F + Send,
    ) -> CaseResult
    where
        F: Future<Output = CaseResult> + Send,
    {
        let mut last = Ok(());
        let polling = tokio::time::timeout(self.timeout, async {
            loop {
                last = condition().await;
                if last.is_ok() {
                    return;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
        match polling.await {
            Ok(()) => Ok(()),
            Err(_) => last.map_err(|found| format!("{when}: {found}")),
        }
    }
}

fn incomplete(error: &str, received: usize, expected: usize) -> String {
    format!("{error}: {received} of {expected} messages were delivered")
}

/// Creates a message with the payload and the publish time `number`.
pub(super) fn message(key: &str, number: u64) -> Message {
    Message {
        key: key.to_owned(),
        payload: Bytes::from(number.to_string()),
        published_at_ms: i64::try_from(number).unwrap_or(i64::MAX),
    }
}

/// Returns the number of a delivered message.
pub(super) fn number(delivery: &Delivery) -> Result<u64, String> {
    let text = std::str::from_utf8(&delivery.message.payload).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("unexpected payload: {:?}", delivery.message.payload))
}

pub(super) fn numbers(deliveries: &[Delivery]) -> Result<Vec<u64>, String> {
    deliveries.iter().map(number).collect()
}

pub(super) fn tags(deliveries: &[Delivery]) -> Vec<DeliveryTag> {
    deliveries.iter().map(|delivery| delivery.tag).collect()
}

pub(super) fn ensure(condition: bool, violation: impl FnOnce() -> String) -> CaseResult {
    if condition { Ok(()) } else { Err(violation()) }
}

/// Expects two lists to be equal, and describes the first difference.
pub(super) fn same(what: &str, found: &[u64], expected: &[u64]) -> CaseResult {
    if found == expected {
        return Ok(());
    }
    let index = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
    let at = |list: &[u64]| list.get(index).map_or_else(|| "none".to_owned(), u64::to_string);
    Err(format!(
        "{what}: found {} at index {index}, expected {}; found {} messages, expected {}",
        at(found),
        at(expected),
        found.len(),
        expected.len()
    ))
}

/// Describes an unexpected error of `call`.
pub(super) fn unexpected(call: &'static str) -> impl Fn(Error) -> String {
    move |error| format!("{call}: {}", error.report())
}
