//! Queues that break one guarantee each. The cases have to detect every one of them.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a fault affects one operation and leaves the others unchanged"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use goconductor_queue::conformance::{Breakable, CASES, CaseResult, Factory, RemoteConsumer};
use goconductor_queue::memory::{Limits, MemoryQueue};
use goconductor_queue::{
    Backlog, Capacity, Consumer, Delivery, DeliveryTag, Error, ErrorKind, Message, Queue, Topic,
};

/// The fault of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    DropsEverySeventh,
    DuplicatesEverySeventh,
    ReversesBatches,
    TruncatesPayloads,
    IgnoresMax,
    DropsUnacknowledged,
    DoesNotMarkRedeliveries,
    RequeuesAtTheEnd,
    IgnoresAcknowledgements,
    DeliversToBoth,
    AcceptsForeignAcknowledgements,
    SharesLanes,
    AlwaysReportsConsumers,
    NeverWaits,
    NeverWakes,
    LosesOnCancel,
    NeverRefuses,
    AcceptsPartially,
    StaysFull,
    CountsUnacknowledged,
    ReportsTheNewest,
    ForgetsAcknowledgedCount,
    LimitsDeliveries,
    DropsMessagesOfKilled,
    AcceptsPausedAcknowledgements,
    LosesOnCrash,
    NeverEndsAcknowledgements,
}

/// Each fault, a case that has to detect it, and a part of the description of the violation.
const FAULTS: &[(Fault, &str, &str)] = &[
    (Fault::DropsEverySeventh, "published_messages_are_all_delivered", "172 of 200 messages were delivered"),
    (
        Fault::DropsEverySeventh,
        "many_messages_are_delivered_exactly_once",
        "of 100000 messages were delivered",
    ),
    (Fault::DuplicatesEverySeventh, "published_messages_are_all_delivered", "found 6 at index 7"),
    (Fault::DuplicatesEverySeventh, "many_messages_are_delivered_exactly_once", " after Some("),
    (Fault::ReversesBatches, "messages_of_a_key_keep_their_order", "0 was delivered after 5"),
    (Fault::TruncatesPayloads, "delivered_message_equals_the_published_one", "65536 bytes"),
    (Fault::IgnoresMax, "receive_returns_at_most_max_messages", "returned 2 messages, at most 1"),
    (Fault::DropsUnacknowledged, "unacknowledged_messages_are_redelivered", "0 of 6 messages were delivered"),
    (Fault::DoesNotMarkRedeliveries, "unacknowledged_messages_are_redelivered", "0 of 6 messages are marked"),
    (Fault::RequeuesAtTheEnd, "redelivered_messages_keep_their_order", "found 5 at index 0"),
    (
        Fault::IgnoresAcknowledgements,
        "unacknowledged_messages_are_redelivered",
        "found 0 at index 0, expected 1",
    ),
    (Fault::IgnoresAcknowledgements, "acknowledgement_can_be_repeated", "found 0 at index 0, expected 3"),
    (Fault::DeliversToBoth, "consumers_share_a_topic", "both consumers together"),
    (
        Fault::DropsUnacknowledged,
        "partition_that_moves_away_and_back_is_still_consumed",
        "after 3950 of 4000 messages: ",
    ),
    (
        Fault::AcceptsForeignAcknowledgements,
        "only_the_owner_acknowledges_a_message",
        "0 of 3 messages were delivered",
    ),
    (Fault::SharesLanes, "lanes_and_services_are_independent", "unexpected message: [10]"),
    (Fault::SharesLanes, "full_execute_lane_leaves_capacity_for_compensations", "compensate lane: "),
    (
        Fault::AlwaysReportsConsumers,
        "topic_reports_whether_it_has_a_consumer",
        "at first: has_consumer(payments) is true",
    ),
    (Fault::NeverWaits, "receive_waits_for_a_publish", "nothing instead of waiting"),
    (Fault::NeverWakes, "receive_waits_for_a_publish", "was not woken"),
    (Fault::LosesOnCancel, "cancelled_receive_loses_nothing", "were lost by cancelled calls"),
    (Fault::NeverRefuses, "full_topic_refuses_the_whole_batch", "accepted more than its limit"),
    (Fault::AcceptsPartially, "full_topic_refuses_the_whole_batch", "10 messages wait after 8"),
    (Fault::StaysFull, "full_topic_refuses_the_whole_batch", "up to the limit"),
    (Fault::CountsUnacknowledged, "backlog_counts_waiting_messages", "with two unacknowledged messages"),
    (Fault::ReportsTheNewest, "backlog_counts_waiting_messages", "after three publishes: "),
    (Fault::ForgetsAcknowledgedCount, "backlog_counts_waiting_messages", "after one acknowledgement: "),
    (
        Fault::LimitsDeliveries,
        "poison_message_is_delivered_until_it_is_acknowledged",
        "after 20 deliveries: no message was delivered",
    ),
    (
        Fault::DropsMessagesOfKilled,
        "messages_of_a_killed_consumer_are_redelivered",
        "0 of 6 messages were delivered",
    ),
    (
        Fault::AcceptsPausedAcknowledgements,
        "paused_consumer_is_notified_of_lost_messages",
        "that Some(0) of 3",
    ),
    (Fault::LosesOnCrash, "killed_server_loses_nothing", "messages are lost; the first is Some(100)"),
    (Fault::NeverEndsAcknowledgements, "killed_server_loses_nothing", "without servers does not end"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_fault_is_detected() {
    for (fault, name, expected) in FAULTS {
        let case = CASES.iter().find(|case| case.name == *name).expect("the table contains names of cases");
        let result = case.check(Arc::new(*fault)).await;
        let violation = result.expect_err(&format!("{name} did not detect {fault:?}"));
        assert!(violation.contains(expected), "{name} reported {fault:?} as: {violation}");
    }
}

#[test]
fn every_case_detects_a_fault() {
    let detecting: BTreeSet<&str> = FAULTS.iter().map(|(_, name, _)| *name).collect();
    let all: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(detecting, all);
    assert_eq!(all.len(), CASES.len(), "two cases have the same name");
}

#[async_trait]
impl Factory for Fault {
    async fn open(&self) -> Result<Arc<dyn Queue>, String> {
        Ok(Arc::new(Broken::new(*self, Limits::default())))
    }

    async fn open_bounded(&self, messages: usize) -> Result<Option<Arc<dyn Queue>>, String> {
        let messages = if *self == Fault::NeverRefuses { 1_000 } else { messages };
        Ok(Some(Arc::new(Broken::new(*self, Limits { messages, ..Limits::default() }))))
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(500)
    }

    async fn breakable(&self) -> Result<Option<Arc<dyn Breakable>>, String> {
        Ok(Some(Arc::new(Broken::new(*self, Limits::default()))))
    }
}

/// Simulates the kill of a server and of consumers, with the fault.
#[async_trait]
impl Breakable for Broken {
    fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(Self {
            fault: self.fault,
            inner: self.inner.clone(),
            published: AtomicU64::new(0),
            was_full: AtomicBool::new(false),
            shared: Arc::clone(&self.shared),
        })
    }

    async fn crash(&self) -> CaseResult {
        if self.fault == Fault::LosesOnCrash {
            let mut consumer = self.inner.consume(&Topic::execute("payments")).await.expect("open");
            let lost = ready(consumer.receive(1000)).expect("messages wait").expect("open");
            let tags: Vec<_> = lost.iter().map(|delivery| delivery.tag).collect();
            consumer.acknowledge(&tags).await.expect("open");
        }
        Ok(())
    }

    async fn stop(&self) -> CaseResult {
        self.shared.has_stopped.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn remote_consumer(&self, topic: &Topic) -> Result<Box<dyn RemoteConsumer>, String> {
        let consumer = Some(self.inner.consume(topic).await.map_err(|error| error.to_string())?);
        Ok(Box::new(SimulatedProcess { fault: self.fault, consumer, received: Vec::new() }))
    }
}

/// A consumer of this process that is paused and killed like one of another process.
#[derive(Debug)]
struct SimulatedProcess {
    fault: Fault,
    consumer: Option<Box<dyn Consumer>>,
    received: Vec<DeliveryTag>,
}

#[async_trait]
impl RemoteConsumer for SimulatedProcess {
    async fn receive(&mut self, count: usize) -> Result<Vec<u64>, String> {
        let received = self.consumer.as_mut().expect("not paused").receive(count).await.expect("open");
        self.received = received.iter().map(|delivery| delivery.tag).collect();
        let number = |each: &Delivery| String::from_utf8_lossy(&each.message.payload).parse();
        Ok(received.iter().map(|each| number(each).expect("a number")).collect())
    }

    async fn acknowledge(&mut self) -> Result<Option<usize>, String> {
        Ok(Some(if self.fault == Fault::AcceptsPausedAcknowledgements { 0 } else { self.received.len() }))
    }

    async fn pause(&mut self) -> CaseResult {
        self.consumer = None;
        Ok(())
    }

    async fn resume(&mut self) -> CaseResult {
        Ok(())
    }

    async fn kill(mut self: Box<Self>) -> CaseResult {
        if self.fault == Fault::DropsMessagesOfKilled {
            let consumer = self.consumer.as_mut().expect("not paused");
            consumer.acknowledge(&self.received).await.expect("open");
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Broken {
    fault: Fault,
    inner: MemoryQueue,
    published: AtomicU64,
    was_full: AtomicBool,
    shared: Arc<Shared>,
}

/// The state that the consumers of a broken queue share, and those of a correct queue do not.
#[derive(Debug, Default)]
struct Shared {
    /// All deliveries, with the number of their consumer.
    delivered: Mutex<Vec<(u64, Delivery)>>,
    consumers: AtomicU64,
    acknowledged: Mutex<BTreeSet<DeliveryTag>>,
    unacknowledged: AtomicU64,
    has_stopped: AtomicBool,
}

impl Broken {
    fn new(fault: Fault, limits: Limits) -> Self {
        Self {
            fault,
            inner: MemoryQueue::new(limits),
            published: AtomicU64::new(0),
            was_full: AtomicBool::new(false),
            shared: Arc::default(),
        }
    }

    fn topic(&self, topic: &Topic) -> Topic {
        if self.fault == Fault::SharesLanes { Topic::execute(topic.service.clone()) } else { topic.clone() }
    }

    fn corrupt(&self, messages: Vec<Message>) -> Vec<Message> {
        let mut corrupted = Vec::new();
        for mut message in messages {
            let seventh = self.published.fetch_add(1, Ordering::Relaxed) % 7 == 6;
            match self.fault {
                Fault::DropsEverySeventh if seventh => continue,
                Fault::DuplicatesEverySeventh if seventh => corrupted.push(message.clone()),
                Fault::TruncatesPayloads => message.payload.truncate(32 * 1024),
                _ => {}
            }
            corrupted.push(message);
        }
        if self.fault == Fault::ReversesBatches {
            corrupted.reverse();
        }
        corrupted
    }

    async fn publish_partially(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        for message in messages {
            self.inner.publish(topic, vec![message]).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Queue for Broken {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        let topic = &self.topic(topic);
        if self.fault == Fault::StaysFull && self.was_full.load(Ordering::Relaxed) {
            return Err(Error::Full { topic: topic.clone(), capacity: Capacity::Messages(0) });
        }
        let messages = self.corrupt(messages);
        let published = match self.fault {
            Fault::AcceptsPartially => self.publish_partially(topic, messages).await,
            _ => self.inner.publish(topic, messages).await,
        };
        if published.as_ref().is_err_and(|error| error.kind() == ErrorKind::Full) {
            self.was_full.store(true, Ordering::Relaxed);
        }
        published
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        let topic = self.topic(topic);
        let inner = self.inner.consume(&topic).await?;
        Ok(Box::new(BrokenConsumer {
            fault: self.fault,
            number: self.shared.consumers.fetch_add(1, Ordering::Relaxed),
            queue: self.inner.clone(),
            topic,
            inner: Some(inner),
            shared: Arc::clone(&self.shared),
            unacknowledged: Vec::new(),
        }))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        let mut backlog = self.inner.backlog(&self.topic(topic)).await?;
        match self.fault {
            Fault::CountsUnacknowledged => {
                backlog.waiting += self.shared.unacknowledged.load(Ordering::Relaxed)
            }
            Fault::ReportsTheNewest => backlog.oldest_waiting_ms = backlog.oldest_waiting_ms.map(|_| 30),
            Fault::ForgetsAcknowledgedCount => backlog.acknowledged = 0,
            _ => {}
        }
        Ok(backlog)
    }

    async fn has_consumer(&self, topic: &Topic) -> Result<bool, Error> {
        Ok(self.fault == Fault::AlwaysReportsConsumers || self.inner.has_consumer(&self.topic(topic)).await?)
    }
}

#[derive(Debug)]
struct BrokenConsumer {
    fault: Fault,
    number: u64,
    queue: MemoryQueue,
    topic: Topic,
    inner: Option<Box<dyn Consumer>>,
    shared: Arc<Shared>,
    unacknowledged: Vec<Delivery>,
}

impl BrokenConsumer {
    fn inner(&mut self) -> &mut Box<dyn Consumer> {
        self.inner.as_mut().expect("present until the drop")
    }

    /// Returns a message that was delivered to another consumer.
    fn of_others(&self) -> Vec<Delivery> {
        let mut delivered = self.shared.delivered.lock().expect("no panic under the lock");
        let (others, rest) = delivered.drain(..).partition(|(consumer, _)| *consumer != self.number);
        *delivered = rest;
        let others: Vec<(u64, Delivery)> = others;
        others.into_iter().map(|(_, delivery)| delivery).take(1).collect()
    }

    async fn receive_inner(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let fault = self.fault;
        match fault {
            Fault::IgnoresMax if max > 0 => self.inner().receive(max + 1).await,
            Fault::NeverWaits => Ok(ready(self.inner().receive(max)).unwrap_or(Ok(Vec::new()))?),
            Fault::NeverWakes => match ready(self.inner().receive(max)) {
                Some(received) => received,
                None => std::future::pending().await,
            },
            Fault::LosesOnCancel => {
                let received = self.inner().receive(max).await;
                tokio::task::yield_now().await;
                received
            }
            _ => self.inner().receive(max).await,
        }
    }
}

/// Polls a future once, and returns its output if it is ready.
fn ready<F: Future>(future: F) -> Option<F::Output> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[async_trait]
impl Consumer for BrokenConsumer {
    async fn receive(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        if self.fault == Fault::DeliversToBoth && max > 0 {
            let others = self.of_others();
            if !others.is_empty() {
                return Ok(others);
            }
        }
        let mut received = self.receive_inner(max).await?;
        for delivery in &mut received {
            delivery.redelivered &= self.fault != Fault::DoesNotMarkRedeliveries;
        }
        let count = u64::try_from(received.len()).expect("a small number");
        self.shared.unacknowledged.fetch_add(count, Ordering::Relaxed);
        self.unacknowledged.extend(received.iter().cloned());
        let delivered = received.iter().map(|delivery| (self.number, delivery.clone()));
        self.shared.delivered.lock().expect("no panic under the lock").extend(delivered);
        Ok(received)
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        self.shared.acknowledged.lock().expect("no panic under the lock").extend(deliveries);
        if self.fault == Fault::IgnoresAcknowledgements {
            return Ok(Vec::new());
        }
        if self.fault == Fault::NeverEndsAcknowledgements && self.shared.has_stopped.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let before = self.unacknowledged.len();
        self.unacknowledged.retain(|delivery| !deliveries.contains(&delivery.tag));
        let removed = u64::try_from(before - self.unacknowledged.len()).expect("a small number");
        self.shared.unacknowledged.fetch_sub(removed, Ordering::Relaxed);
        self.inner().acknowledge(deliveries).await
    }
}

impl Drop for BrokenConsumer {
    fn drop(&mut self) {
        let tags: Vec<DeliveryTag> = self.unacknowledged.iter().map(|delivery| delivery.tag).collect();
        let count = u64::try_from(tags.len()).expect("a small number");
        self.shared.unacknowledged.fetch_sub(count, Ordering::Relaxed);
        let acknowledged = self.shared.acknowledged.lock().expect("no panic under the lock").clone();
        let mut inner = self.inner.take().expect("present until the drop");
        match self.fault {
            Fault::DropsUnacknowledged => drop(ready(inner.acknowledge(&tags))),
            Fault::LimitsDeliveries if self.number >= 19 => drop(ready(inner.acknowledge(&tags))),
            Fault::AcceptsForeignAcknowledgements => {
                drop(ready(inner.acknowledge(&Vec::from_iter(acknowledged))))
            }
            Fault::RequeuesAtTheEnd => {
                drop(ready(inner.acknowledge(&tags)));
                let messages = self.unacknowledged.drain(..).map(|delivery| delivery.message).collect();
                drop(ready(self.queue.publish(&self.topic, messages)));
            }
            _ => {}
        }
    }
}
