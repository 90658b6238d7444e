//! What the cases are written in: numbered messages, and expectations with a limit in time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Factory, Verdict};
use crate::{Consumer, Delivery, DeliveryTag, Error, Message, Queue, Topic};

/// How long nothing has to come for nothing to be expected any more.
const SILENCE: Duration = Duration::from_millis(100);

/// A queue under test.
pub(super) struct Bench {
    pub(super) queue: Arc<dyn Queue>,
    pub(super) patience: Duration,
}

impl Bench {
    pub(super) async fn open(factory: &Arc<dyn Factory>) -> Result<Self, String> {
        Ok(Self { queue: factory.open().await?, patience: factory.patience() })
    }

    pub(super) async fn bounded(factory: &Arc<dyn Factory>, messages: usize) -> Result<Option<Self>, String> {
        let queue = factory.open_bounded(messages).await?;
        Ok(queue.map(|queue| Self { queue, patience: factory.patience() }))
    }

    /// Publishes numbers under one key.
    pub(super) async fn publish(
        &self,
        topic: &Topic,
        key: &str,
        numbers: impl IntoIterator<Item = u64> + Send,
    ) -> Verdict {
        let messages = numbers.into_iter().map(|number| message(key, number)).collect();
        self.queue.publish(topic, messages).await.map_err(unexpected("publish"))
    }

    pub(super) async fn consumer(&self, topic: &Topic) -> Result<Box<dyn Consumer>, String> {
        self.queue.consume(topic).await.map_err(unexpected("consume"))
    }

    /// One take, which has to give something.
    pub(super) async fn take(
        &self,
        consumer: &mut Box<dyn Consumer>,
        max: usize,
    ) -> Result<Vec<Delivery>, String> {
        let taken = tokio::time::timeout(self.patience, consumer.take(max)).await;
        let taken = taken.map_err(|_| "nothing came".to_owned())?.map_err(unexpected("take"))?;
        ensure(!taken.is_empty(), || "take gave nothing instead of waiting".to_owned())?;
        ensure(taken.len() <= max, || format!("take gave {} where {max} were asked for", taken.len()))?;
        Ok(taken)
    }

    /// Takes until there are `count`; `max` at a time.
    pub(super) async fn take_all(
        &self,
        consumer: &mut Box<dyn Consumer>,
        count: usize,
        max: usize,
    ) -> Result<Vec<Delivery>, String> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let wanted = max.min(count - all.len());
            let taken = self.take(consumer, wanted).await;
            all.extend(taken.map_err(|error| format!("{error}: {} of {count} messages came", all.len()))?);
        }
        Ok(all)
    }

    /// The same, and acknowledges them as they come.
    pub(super) async fn settle_all(
        &self,
        consumer: &mut Box<dyn Consumer>,
        count: usize,
        max: usize,
    ) -> Result<Vec<Delivery>, String> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let taken = self.take(consumer, max.min(count - all.len())).await;
            let taken = taken.map_err(|error| format!("{error}: {} of {count} messages came", all.len()))?;
            consumer.acknowledge(&tags(&taken)).await.map_err(unexpected("acknowledge"))?;
            all.extend(taken);
        }
        Ok(all)
    }

    /// Nothing more is to come.
    pub(super) async fn silence(&self, consumer: &mut Box<dyn Consumer>) -> Verdict {
        match tokio::time::timeout(SILENCE, consumer.take(1)).await {
            Err(_) => Ok(()),
            Ok(Ok(taken)) if taken.is_empty() => Err("take gave nothing instead of waiting".to_owned()),
            Ok(Ok(taken)) => Err(format!("a message too many came: {:?}", numbers(&taken)?)),
            Ok(Err(error)) => Err(unexpected("take")(error)),
        }
    }

    /// Something has to become so, at once or a little later.
    pub(super) async fn becomes<F>(&self, what: &str, mut is_so: impl FnMut() -> F + Send) -> Verdict
    where
        F: Future<Output = Verdict> + Send,
    {
        let mut last = Ok(());
        let tried = tokio::time::timeout(self.patience, async {
            loop {
                last = is_so().await;
                if last.is_ok() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        match tried.await {
            Ok(()) => Ok(()),
            Err(_) => last.map_err(|found| format!("{what}: {found}")),
        }
    }
}

/// A message that is its number, and was published at that time.
pub(super) fn message(key: &str, number: u64) -> Message {
    Message {
        key: key.to_owned(),
        payload: Bytes::from(number.to_string()),
        published_at_ms: i64::try_from(number).unwrap_or(i64::MAX),
    }
}

pub(super) fn number(delivery: &Delivery) -> Result<u64, String> {
    let text = std::str::from_utf8(&delivery.message.payload).ok();
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("a payload is not what was published: {:?}", delivery.message.payload))
}

pub(super) fn numbers(deliveries: &[Delivery]) -> Result<Vec<u64>, String> {
    deliveries.iter().map(number).collect()
}

pub(super) fn tags(deliveries: &[Delivery]) -> Vec<DeliveryTag> {
    deliveries.iter().map(|delivery| delivery.tag).collect()
}

pub(super) fn ensure(holds: bool, found: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(found()) }
}

/// Two lists have to be the same; of long ones the first difference says enough.
pub(super) fn same(what: &str, found: &[u64], expected: &[u64]) -> Verdict {
    if found == expected {
        return Ok(());
    }
    let place = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
    let at = |list: &[u64]| list.get(place).map_or_else(|| "none".to_owned(), u64::to_string);
    let (came, wanted) = (at(found), at(expected));
    Err(format!(
        "{what}: {came} came at place {place} where {wanted} was expected, {} of {}",
        found.len(),
        expected.len()
    ))
}

pub(super) fn unexpected(call: &'static str) -> impl Fn(Error) -> String {
    move |error| format!("{call}: {error}")
}
