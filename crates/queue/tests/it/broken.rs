//! Queues that break one promise each: the cases have to find every one of them, or they prove nothing.

#![allow(clippy::wildcard_enum_match_arm, reason = "a fault spoils one thing and leaves the rest")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use goconductor_queue::conformance::{Breakable, CASES, Elsewhere, Factory, Verdict};
use goconductor_queue::memory::{Limits, MemoryQueue};
use goconductor_queue::{
    Backlog, Capacity, Consumer, Delivery, DeliveryTag, Error, ErrorKind, Message, Queue, Topic,
};

/// What is wrong with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    DropsEachSeventh,
    DuplicatesEachSeventh,
    ReversesBatches,
    CutsPayloads,
    IgnoresMax,
    ForgetsWhatWasHeld,
    ForgetsToMark,
    PutsBackAtTheEnd,
    ForgetsAcknowledgements,
    GivesToBoth,
    BelievesAnybody,
    SharesLanes,
    AlwaysHasConsumers,
    NeverWaits,
    NeverWakes,
    LosesWhenCancelled,
    NeverRefuses,
    RefusesInPart,
    StaysFull,
    CountsWhatIsHeld,
    SaysTheNewest,
    LosesCount,
    GivesUp,
    ForgetsTheDead,
    BelievesThePaused,
    LosesAtACrash,
}

/// Each fault, a case that has to find it, and a part of what the case has to say.
const FAULTS: &[(Fault, &str, &str)] = &[
    (Fault::DropsEachSeventh, "nothing_published_is_lost", "172 of 200 messages came"),
    (Fault::DropsEachSeventh, "many_messages_come_exactly_once", "of 100000 messages came"),
    (Fault::DuplicatesEachSeventh, "nothing_published_is_lost", "6 came at place 7"),
    (Fault::DuplicatesEachSeventh, "many_messages_come_exactly_once", " after Some("),
    (Fault::ReversesBatches, "a_key_keeps_its_order", "0 came after 5"),
    (Fault::CutsPayloads, "a_message_comes_as_it_was_published", "65536 bytes"),
    (Fault::IgnoresMax, "no_more_is_taken_than_asked_for", "gave 2 where 1"),
    (Fault::ForgetsWhatWasHeld, "what_is_unacknowledged_comes_again", "0 of 6 messages came"),
    (Fault::ForgetsToMark, "what_is_unacknowledged_comes_again", "0 of 6 say"),
    (Fault::PutsBackAtTheEnd, "what_comes_again_keeps_its_order", "5 came at place 0"),
    (Fault::ForgetsAcknowledgements, "what_is_unacknowledged_comes_again", "0 came at place 0 where 1"),
    (Fault::ForgetsAcknowledgements, "an_acknowledgement_may_be_repeated", "0 came at place 0 where 3"),
    (Fault::GivesToBoth, "consumers_share_a_topic", "both consumers together"),
    (Fault::ForgetsWhatWasHeld, "what_is_given_up_and_got_back_goes_on", "after 3950 of 4000: "),
    (Fault::BelievesAnybody, "only_the_holder_acknowledges", "0 of 3 messages came"),
    (Fault::SharesLanes, "lanes_and_services_are_independent", "too many came: [10]"),
    (Fault::SharesLanes, "a_full_lane_leaves_room_for_undo", "the lane of undo: "),
    (Fault::AlwaysHasConsumers, "consumers_are_known", "at first: has a consumer: true"),
    (Fault::NeverWaits, "take_waits_for_a_publish", "nothing instead of waiting"),
    (Fault::NeverWakes, "take_waits_for_a_publish", "was not woken"),
    (Fault::LosesWhenCancelled, "take_can_be_cancelled", "were dropped"),
    (Fault::NeverRefuses, "a_full_topic_refuses_whole", "took more than it holds"),
    (Fault::RefusesInPart, "a_full_topic_refuses_whole", "10 wait after 8"),
    (Fault::StaysFull, "a_full_topic_refuses_whole", "up to the limit"),
    (Fault::CountsWhatIsHeld, "the_backlog_is_what_waits", "taken and not acknowledged"),
    (Fault::SaysTheNewest, "the_backlog_is_what_waits", "after three: "),
    (Fault::LosesCount, "the_backlog_is_what_waits", "after one was taken: "),
    (
        Fault::GivesUp,
        "what_kills_its_consumers_comes_until_it_is_acknowledged",
        "after 20 deaths: nothing came",
    ),
    (Fault::ForgetsTheDead, "what_a_killed_consumer_held_comes_again", "0 of 6 messages came"),
    (Fault::BelievesThePaused, "one_who_was_paused_for_too_long_is_told", "that Some(0) of its 3"),
    (Fault::LosesAtACrash, "nothing_is_lost_by_the_kill_of_a_server", "are lost, as Some(100)"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_fault_is_found() {
    for (fault, name, said) in FAULTS {
        let case = CASES.iter().find(|case| case.name == *name).expect("the table names cases");
        let verdict = case.check(Arc::new(*fault)).await;
        let found = verdict.expect_err(&format!("{name} did not find {fault:?}"));
        assert!(found.contains(said), "{name} said of {fault:?}: {found}");
    }
}

#[test]
fn every_case_finds_a_fault() {
    let finders: BTreeSet<&str> = FAULTS.iter().map(|(_, name, _)| *name).collect();
    let all: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(finders, all);
    assert_eq!(all.len(), CASES.len(), "two cases share a name");
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

    fn patience(&self) -> Duration {
        Duration::from_millis(500)
    }

    async fn breakable(&self) -> Result<Option<Arc<dyn Breakable>>, String> {
        Ok(Some(Arc::new(Broken::new(*self, Limits::default()))))
    }
}

/// Killed and paused as the real ones are, but for its fault.
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

    async fn crash(&self) -> Verdict {
        if self.fault == Fault::LosesAtACrash {
            let mut consumer = self.inner.consume(&Topic::execute("payments")).await.expect("open");
            let lost = ready(consumer.take(1000)).expect("something waits").expect("open");
            let tags: Vec<_> = lost.iter().map(|delivery| delivery.tag).collect();
            consumer.acknowledge(&tags).await.expect("open");
        }
        Ok(())
    }

    async fn elsewhere(&self, topic: &Topic) -> Result<Box<dyn Elsewhere>, String> {
        let consumer = Some(self.inner.consume(topic).await.map_err(|error| error.to_string())?);
        Ok(Box::new(Other { fault: self.fault, consumer, taken: Vec::new() }))
    }
}

#[derive(Debug)]
struct Other {
    fault: Fault,
    consumer: Option<Box<dyn Consumer>>,
    taken: Vec<DeliveryTag>,
}

#[async_trait]
impl Elsewhere for Other {
    async fn take(&mut self, count: usize) -> Result<Vec<u64>, String> {
        let taken = self.consumer.as_mut().expect("not paused").take(count).await.expect("open");
        self.taken = taken.iter().map(|delivery| delivery.tag).collect();
        let number = |each: &Delivery| String::from_utf8_lossy(&each.message.payload).parse();
        Ok(taken.iter().map(|each| number(each).expect("a number")).collect())
    }

    async fn acknowledge(&mut self) -> Result<Option<usize>, String> {
        Ok(Some(if self.fault == Fault::BelievesThePaused { 0 } else { self.taken.len() }))
    }

    async fn pause(&mut self) -> Verdict {
        self.consumer = None;
        Ok(())
    }

    async fn resume(&mut self) -> Verdict {
        Ok(())
    }

    async fn kill(mut self: Box<Self>) -> Verdict {
        if self.fault == Fault::ForgetsTheDead {
            let consumer = self.consumer.as_mut().expect("not paused");
            consumer.acknowledge(&self.taken).await.expect("open");
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

/// What the consumers of a broken queue should not know of one another.
#[derive(Debug, Default)]
struct Shared {
    /// What a consumer was given, and its number.
    given: Mutex<Vec<(u64, Delivery)>>,
    consumers: AtomicU64,
    acknowledged: Mutex<BTreeSet<DeliveryTag>>,
    held: AtomicU64,
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

    fn spoil(&self, messages: Vec<Message>) -> Vec<Message> {
        let mut spoilt = Vec::new();
        for mut message in messages {
            let seventh = self.published.fetch_add(1, Ordering::Relaxed) % 7 == 6;
            match self.fault {
                Fault::DropsEachSeventh if seventh => continue,
                Fault::DuplicatesEachSeventh if seventh => spoilt.push(message.clone()),
                Fault::CutsPayloads => message.payload.truncate(32 * 1024),
                _ => {}
            }
            spoilt.push(message);
        }
        if self.fault == Fault::ReversesBatches {
            spoilt.reverse();
        }
        spoilt
    }

    async fn publish_in_part(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
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
        let messages = self.spoil(messages);
        let published = match self.fault {
            Fault::RefusesInPart => self.publish_in_part(topic, messages).await,
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
            held: Vec::new(),
        }))
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        let mut backlog = self.inner.backlog(&self.topic(topic)).await?;
        match self.fault {
            Fault::CountsWhatIsHeld => backlog.waiting += self.shared.held.load(Ordering::Relaxed),
            Fault::SaysTheNewest => backlog.oldest_waiting_ms = backlog.oldest_waiting_ms.map(|_| 30),
            Fault::LosesCount => backlog.taken = 0,
            _ => {}
        }
        Ok(backlog)
    }

    async fn has_consumer(&self, topic: &Topic) -> Result<bool, Error> {
        Ok(self.fault == Fault::AlwaysHasConsumers || self.inner.has_consumer(&self.topic(topic)).await?)
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
    held: Vec<Delivery>,
}

impl BrokenConsumer {
    fn inner(&mut self) -> &mut Box<dyn Consumer> {
        self.inner.as_mut().expect("present until the drop")
    }

    /// What another consumer was given and this one was not.
    fn of_others(&self) -> Vec<Delivery> {
        let mut given = self.shared.given.lock().expect("no panic under the lock");
        let (others, rest) = given.drain(..).partition(|(consumer, _)| *consumer != self.number);
        *given = rest;
        let others: Vec<(u64, Delivery)> = others;
        others.into_iter().map(|(_, delivery)| delivery).take(1).collect()
    }

    async fn take_inner(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        let fault = self.fault;
        match fault {
            Fault::IgnoresMax if max > 0 => self.inner().take(max + 1).await,
            Fault::NeverWaits => Ok(ready(self.inner().take(max)).unwrap_or(Ok(Vec::new()))?),
            Fault::NeverWakes => match ready(self.inner().take(max)) {
                Some(taken) => taken,
                None => std::future::pending().await,
            },
            Fault::LosesWhenCancelled => {
                let taken = self.inner().take(max).await;
                tokio::task::yield_now().await;
                taken
            }
            _ => self.inner().take(max).await,
        }
    }
}

/// What a future gives at once, if it does.
fn ready<F: Future>(future: F) -> Option<F::Output> {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[async_trait]
impl Consumer for BrokenConsumer {
    async fn take(&mut self, max: usize) -> Result<Vec<Delivery>, Error> {
        if self.fault == Fault::GivesToBoth && max > 0 {
            let others = self.of_others();
            if !others.is_empty() {
                return Ok(others);
            }
        }
        let mut taken = self.take_inner(max).await?;
        for delivery in &mut taken {
            delivery.redelivered &= self.fault != Fault::ForgetsToMark;
        }
        let count = u64::try_from(taken.len()).expect("fits");
        self.shared.held.fetch_add(count, Ordering::Relaxed);
        self.held.extend(taken.iter().cloned());
        let given = taken.iter().map(|delivery| (self.number, delivery.clone()));
        self.shared.given.lock().expect("no panic under the lock").extend(given);
        Ok(taken)
    }

    async fn acknowledge(&mut self, deliveries: &[DeliveryTag]) -> Result<Vec<DeliveryTag>, Error> {
        self.shared.acknowledged.lock().expect("no panic under the lock").extend(deliveries);
        if self.fault == Fault::ForgetsAcknowledgements {
            return Ok(Vec::new());
        }
        let before = self.held.len();
        self.held.retain(|delivery| !deliveries.contains(&delivery.tag));
        let settled = u64::try_from(before - self.held.len()).expect("fits");
        self.shared.held.fetch_sub(settled, Ordering::Relaxed);
        self.inner().acknowledge(deliveries).await
    }
}

impl Drop for BrokenConsumer {
    fn drop(&mut self) {
        let held: Vec<DeliveryTag> = self.held.iter().map(|delivery| delivery.tag).collect();
        self.shared.held.fetch_sub(u64::try_from(held.len()).expect("fits"), Ordering::Relaxed);
        let acknowledged = self.shared.acknowledged.lock().expect("no panic under the lock").clone();
        let mut inner = self.inner.take().expect("present until the drop");
        match self.fault {
            Fault::ForgetsWhatWasHeld => drop(ready(inner.acknowledge(&held))),
            Fault::GivesUp if self.number >= 19 => drop(ready(inner.acknowledge(&held))),
            Fault::BelievesAnybody => drop(ready(inner.acknowledge(&Vec::from_iter(acknowledged)))),
            Fault::PutsBackAtTheEnd => {
                drop(ready(inner.acknowledge(&held)));
                let messages = self.held.drain(..).map(|delivery| delivery.message).collect();
                drop(ready(self.queue.publish(&self.topic, messages)));
            }
            _ => {}
        }
    }
}
