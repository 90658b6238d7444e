//! A consumer: a channel of its own, to which the broker sends so many messages ahead and no more.

use super::ANSWER;
use super::link::{Link, failed};
use super::progress::{Report, Speaker};
use super::record;
use crate::settings::rabbitmq::Settings;
use crate::{Consumer, Delivery, DeliveryTag, Error};
use async_trait::async_trait;
use futures::StreamExt;
use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

/// How often it is said how far it is, while something changes, and otherwise.
const SAY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// How long the broker is waited for to hear that a consumer leaves.
const LEAVE: Duration = Duration::from_secs(3);
/// A tag holds the consumer's number above so many bits, and the broker's tag below.
const TAG_BITS: u32 = 40;

/// The next consumer's number, in this process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Takes messages of one topic.
pub(super) struct RabbitConsumer {
    name: String,
    channel: Channel,
    shared: Arc<Shared>,
    /// Rings when everything was given back.
    left: Option<oneshot::Receiver<()>>,
}

impl std::fmt::Debug for RabbitConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RabbitConsumer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the task and the consumer's owner share.
#[derive(Debug)]
struct Shared {
    number: u64,
    state: Mutex<State>,
    came: Notify,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    /// Came, and was not given to the owner yet.
    fetched: VecDeque<Delivery>,
    /// All that was not acknowledged, with its publish time.
    held: BTreeMap<DeliveryTag, i64>,
    /// How many were acknowledged, and when the last of them was published.
    taken: u64,
    last_ms: Option<i64>,
    /// Why there will be no more.
    failed: Option<String>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, why: String) {
        metrics::counter!("goconductor_queue_consumer_errors_total").increment(1);
        self.state().failed = Some(why);
        self.came.notify_waiters();
    }

    fn fetch(&self, delivery: lapin::message::Delivery) {
        let tag = DeliveryTag::new((self.number << TAG_BITS) | delivery.delivery_tag);
        let redelivered = delivery.redelivered;
        let message = record::message(&delivery.properties, delivery.data);
        let mut state = self.state();
        state.held.insert(tag, message.published_at_ms);
        state.fetched.push_back(Delivery { tag, message, redelivered });
        drop(state);
        self.came.notify_waiters();
    }

    fn report(&self, consumer: &str) -> Report {
        let state = self.state();
        Report {
            consumer: consumer.to_owned(),
            taken: state.taken,
            held: u64::try_from(state.fetched.len()).unwrap_or(u64::MAX),
            oldest_ms: state.held.values().min().copied().or(state.last_ms),
        }
    }
}

impl RabbitConsumer {
    /// Begins on a queue that is there.
    pub(super) async fn begin(
        link: &Link,
        speaker: Arc<Speaker>,
        settings: &Settings,
        name: String,
    ) -> Result<Self, Error> {
        let channel = link.channel().await?;
        let beginning = async {
            channel.basic_qos(settings.prefetch, BasicQosOptions::default()).await?;
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            channel.basic_consume(name.as_str().into(), "".into(), options, arguments).await
        };
        let begun = tokio::time::timeout(ANSWER, beginning).await;
        let silent = || Error::Unavailable { reason: "no answer to a consumer".to_owned() };
        let consumer = begun.map_err(|_| silent())?.map_err(|error| failed(&error))?;
        let shared = Arc::new(Shared {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            state: Mutex::default(),
            came: Notify::new(),
            stop: CancellationToken::new(),
        });
        let (tell, left) = oneshot::channel();
        let (to, held, of) = (Arc::clone(&shared), channel.clone(), name.clone());
        tokio::spawn(async move {
            receive(consumer, &to, &speaker, &of).await;
            // With the channel goes what it held: the broker gives it to others, in its order.
            drop(tokio::time::timeout(LEAVE, held.close(200, "left".into())).await);
            tell.send(()).ok();
        });
        Ok(Self { name, channel, shared, left: Some(left) })
    }

    /// Has the broker know what was acknowledged. That it answers what was asked afterwards, on the same channel
    /// and of the same queue, says that it has.
    async fn settle(&self, acks: Vec<(u64, bool)>) -> Result<(), lapin::Error> {
        for (tag, multiple) in acks {
            self.channel.basic_ack(tag, BasicAckOptions { multiple }).await?;
        }
        let look = QueueDeclareOptions::durable().passive();
        self.channel.queue_declare(self.name.as_str().into(), look, FieldTable::default()).await?;
        Ok(())
    }
}

/// Receives until it is told to end or there is no more, and says now and then how far it is.
async fn receive(mut consumer: lapin::Consumer, shared: &Shared, speaker: &Speaker, name: &str) {
    let tag = consumer.tag().as_str().to_owned();
    let mut said = shared.report(&tag);
    speaker.say(name, &said).await;
    let mut at = now();
    let mut tick = tokio::time::interval(SAY[0]);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // All are safe to cancel: none has anything in hand before it is ready.
        tokio::select! {
            () = shared.stop.cancelled() => break,
            came = consumer.next() => match came {
                Some(Ok(delivery)) => shared.fetch(delivery),
                Some(Err(error)) => {
                    shared.fail(error.to_string());
                    break;
                }
                None => {
                    shared.fail("the queue was deleted, or moved".to_owned());
                    break;
                }
            },
            _ = tick.tick() => {
                let report = shared.report(&tag);
                if report != said || at.elapsed() > SAY[1] {
                    speaker.say(name, &report).await;
                    (said, at) = (report, now());
                }
            }
        }
    }
    let last = Report { held: 0, oldest_ms: None, ..shared.report(&tag) };
    speaker.say(name, &last).await;
}

#[allow(clippy::disallowed_methods, reason = "what was said is said again by the monotonic clock")]
fn now() -> Instant {
    Instant::now()
}

/// How some of what is held is acknowledged: at once, if it is all up to some place.
fn acks(held: &BTreeMap<DeliveryTag, i64>, tags: &BTreeSet<DeliveryTag>) -> Vec<(u64, bool)> {
    let of_broker = |tag: &DeliveryTag| tag.get() & ((1 << TAG_BITS) - 1);
    let Some(last) = tags.last() else { return Vec::new() };
    if held.range(..=*last).all(|(tag, _)| tags.contains(tag)) {
        return vec![(of_broker(last), true)];
    }
    tags.iter().map(|tag| (of_broker(tag), false)).collect()
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn take(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        loop {
            let came = self.shared.came.notified();
            tokio::pin!(came);
            // From here on no message is missed.
            came.as_mut().enable();
            let given: Vec<Delivery> = {
                let mut state = self.shared.state();
                // What its channel held is another's by now.
                if let Some(reason) = &state.failed {
                    return Err(Error::Unavailable { reason: reason.clone() });
                }
                let count = max.min(state.fetched.len());
                state.fetched.drain(..count).collect()
            };
            if !given.is_empty() {
                let count = u64::try_from(given.len()).unwrap_or(u64::MAX);
                metrics::counter!("goconductor_queue_taken_total", "topic" => self.name.clone())
                    .increment(count);
                return Ok(given);
            }
            came.await;
        }
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        let (acks, count, last_ms) = {
            let mut state = self.shared.state();
            let tags: BTreeSet<_> =
                deliveries.iter().filter(|tag| state.held.contains_key(tag)).copied().collect();
            let acks = acks(&state.held, &tags);
            // From here on it is not known to us: to acknowledge it twice would end the channel.
            let last_ms = tags.iter().filter_map(|tag| state.held.remove(tag)).last();
            (acks, u64::try_from(tags.len()).unwrap_or(u64::MAX), last_ms)
        };
        if acks.is_empty() {
            return Ok(Vec::new());
        }
        let unavailable = |why: String| {
            let reason = format!("no answer to an acknowledgement: {why}");
            Error::Unavailable { reason }
        };
        let settled = tokio::time::timeout(ANSWER, self.settle(acks)).await;
        settled
            .map_err(|_| unavailable("in time".to_owned()))?
            .map_err(|error| unavailable(error.to_string()))?;
        let mut state = self.shared.state();
        state.taken += count;
        state.last_ms = last_ms.or(state.last_ms);
        // Nothing is taken from who holds it, but all of it with the channel: then there was no answer.
        Ok(Vec::new())
    }

    async fn leave(mut self: Box<Self>) {
        let left = self.left.take();
        drop(self);
        if let Some(left) = left {
            drop(tokio::time::timeout(LEAVE, left).await);
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
    fn what_is_held_up_to_a_place_is_acknowledged_at_once() {
        let tag = |number: u64| DeliveryTag::new((7 << TAG_BITS) | number);
        let held: BTreeMap<_, _> = (3..8).map(|number| (tag(number), 0)).collect();
        let of = |numbers: &[u64]| acks(&held, &numbers.iter().map(|number| tag(*number)).collect());
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[3, 4, 5]), [(5, true)]);
        assert_eq!(of(&[3, 5]), [(3, false), (5, false)]);
    }
}
