//! The cases with two in-process queues as one, and migrations from one to the other, which neither lose nor duplicate
//! messages.

use async_trait::async_trait;
use goconductor_queue::conformance::{CASES, Factory};
use goconductor_queue::memory::{Limits, MemoryQueue};
use goconductor_queue::switching::{LOST_AFTER, NamedQueue, Route, SecondaryBacklog, SwitchingQueue};
use goconductor_queue::{Backlog, Consumer, Error, Message, Queue, Topic};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The phase of a migration in which the cases run.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// No migration: the route has a single queue.
    Single,
    /// The route has a secondary queue.
    Both,
    /// The route gets a secondary queue while consumers exist.
    Attaching,
}

fn named(name: &str, queue: Arc<dyn Queue>) -> NamedQueue {
    NamedQueue { name: name.into(), queue }
}

#[derive(Debug)]
struct Switching(Phase);

impl Switching {
    fn queue(&self, limits: Limits) -> Arc<dyn Queue> {
        let create = |name| named(name, Arc::new(MemoryQueue::new(limits)));
        let queue = SwitchingQueue::new(false);
        let (primary, secondary) = (create("new"), Some(create("old")));
        let both = Route { primary: primary.clone(), secondary, secondary_is_empty: false };
        match self.0 {
            Phase::Single => queue.set_route(Route::single(primary)),
            Phase::Both => queue.set_route(both),
            Phase::Attaching => {
                queue.set_route(Route::single(primary));
                let attaching = queue.clone();
                drop(tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    attaching.set_route(both);
                    attaching.attach_consumers().await.unwrap();
                }));
            }
        }
        Arc::new(queue)
    }
}

#[async_trait]
impl Factory for Switching {
    async fn open(&self) -> Result<Arc<dyn Queue>, String> {
        Ok(self.queue(Limits::default()))
    }

    async fn open_bounded(&self, messages: usize) -> Result<Option<Arc<dyn Queue>>, String> {
        Ok(Some(self.queue(Limits { messages, ..Limits::default() })))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn switching_queue_passes_all_cases_in_every_phase() {
    for phase in [Phase::Single, Phase::Both, Phase::Attaching] {
        for case in CASES {
            assert_eq!(case.check(Arc::new(Switching(phase))).await, Ok(()), "{phase:?}: {}", case.name);
        }
    }
}

fn message(number: u64) -> Message {
    Message { key: (number % 7).to_string(), payload: number.to_string().into(), published_at_ms: 1 }
}

/// Receives and acknowledges until no message arrives for a while. Returns how often each message was delivered.
async fn drain(mut consumer: Box<dyn Consumer>) -> BTreeMap<u64, u32> {
    let mut found = BTreeMap::new();
    while let Ok(received) = tokio::time::timeout(Duration::from_millis(500), consumer.receive(3)).await {
        let received = received.unwrap();
        let tags: Vec<_> = received.iter().map(|delivery| delivery.tag).collect();
        assert_eq!(consumer.acknowledge(&tags).await, Ok(Vec::new()));
        for delivery in received {
            let number = String::from_utf8_lossy(&delivery.message.payload).parse().unwrap();
            *found.entry(number).or_default() += 1;
        }
    }
    consumer.close().await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn migration_neither_loses_nor_duplicates_messages() {
    let topic = Topic::execute("payments");
    let (old, new) = (Arc::new(MemoryQueue::default()), Arc::new(MemoryQueue::default()));
    let (named_old, named_new) = (named("old", Arc::clone(&old) as _), named("new", Arc::clone(&new) as _));
    let queue = SwitchingQueue::new(false);
    queue.set_route(Route::single(named_old.clone()));
    let mut consuming = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let consumer = queue.consume(&topic).await.unwrap();
        consuming.spawn(drain(consumer));
    }
    let publishing = tokio::spawn({
        let (queue, topic) = (queue.clone(), topic.clone());
        async move {
            for number in 0..2000 {
                queue.publish(&topic, vec![message(number)]).await.unwrap();
                if number % 20 == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    });
    let pause = || tokio::time::sleep(Duration::from_millis(20));
    let route = |primary: &NamedQueue, secondary: &NamedQueue, secondary_is_empty| Route {
        primary: primary.clone(),
        secondary: Some(secondary.clone()),
        secondary_is_empty,
    };
    pause().await;
    queue.set_route(route(&named_old, &named_new, true));
    queue.attach_consumers().await.unwrap();
    assert_eq!(queue.consumers_without("new"), 0);
    pause().await;
    queue.set_route(route(&named_new, &named_old, false));
    pause().await;
    // A publisher that does not know the new route yet.
    old.publish(&topic, vec![message(5000)]).await.unwrap();
    let topics = std::slice::from_ref(&topic);
    while queue.secondary_backlog(topics).await != Some(SecondaryBacklog::default()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    queue.set_route(Route::single(named_new));
    publishing.await.unwrap();
    let mut found: BTreeMap<u64, u32> = BTreeMap::new();
    while let Some(some) = consuming.join_next().await {
        for (number, count) in some.unwrap() {
            *found.entry(number).or_default() += count;
        }
    }
    assert_eq!(found.len(), 2001);
    assert!(found.values().all(|count| *count == 1), "{found:?}");
    assert!(!old.has_consumer(&topic).await.unwrap(), "consumers are still attached to the old queue");
    assert_eq!(queue.secondary_backlog(topics).await, None);
}

#[tokio::test]
async fn message_of_the_old_queue_can_be_acknowledged_after_the_migration() {
    let topic = Topic::execute("payments");
    let (old, new) = (Arc::new(MemoryQueue::default()), Arc::new(MemoryQueue::default()));
    let (named_old, named_new) = (named("old", Arc::clone(&old) as _), named("new", Arc::clone(&new) as _));
    let queue = SwitchingQueue::new(false);
    queue.set_route(Route {
        primary: named_old,
        secondary: Some(named_new.clone()),
        secondary_is_empty: true,
    });
    queue.publish(&topic, vec![message(1), message(2)]).await.unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    let of_old = consumer.receive(2).await.unwrap();
    queue.set_route(Route::single(named_new));
    queue.publish(&topic, vec![message(3)]).await.unwrap();
    let of_new = consumer.receive(2).await.unwrap();
    assert_eq!((of_old.len(), of_new.len()), (2, 1));
    let tags: Vec<_> = of_old.iter().chain(&of_new).map(|delivery| delivery.tag).collect();
    assert_eq!(consumer.acknowledge(&tags).await, Ok(Vec::new()));
    assert_eq!(old.backlog(&topic).await.unwrap().acknowledged, 2);
    assert_eq!(new.backlog(&topic).await.unwrap().acknowledged, 1);
}

/// A queue that can become unreachable.
#[derive(Debug, Default)]
struct Unreachable {
    queue: MemoryQueue,
    is_unreachable: AtomicBool,
}

impl Unreachable {
    fn check_reachable(&self) -> Result<(), Error> {
        if self.is_unreachable.load(Ordering::Relaxed) {
            return Err(Error::unavailable("unreachable"));
        }
        Ok(())
    }
}

#[async_trait]
impl Queue for Unreachable {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        self.check_reachable()?;
        self.queue.publish(topic, messages).await
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        self.check_reachable()?;
        self.queue.consume(topic).await
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.check_reachable()?;
        self.queue.backlog(topic).await
    }

    async fn has_consumer(&self, topic: &Topic) -> Result<bool, Error> {
        self.check_reachable()?;
        self.queue.has_consumer(topic).await
    }
}

#[tokio::test(start_paused = true)]
async fn unreachable_secondary_queue_counts_as_empty_after_a_while() {
    let topic = Topic::execute("payments");
    let (old, new) = (Arc::new(Unreachable::default()), Arc::new(MemoryQueue::default()));
    let queue = SwitchingQueue::new(false);
    let primary = named("new", Arc::clone(&new) as _);
    let secondary = Some(named("old", Arc::clone(&old) as _));
    queue.set_route(Route { primary: primary.clone(), secondary, secondary_is_empty: false });
    old.publish(&topic, vec![message(1)]).await.unwrap();
    new.publish(&topic, vec![message(2)]).await.unwrap();
    assert_eq!(queue.depth(&topic).await.unwrap().waiting, 2);
    old.is_unreachable.store(true, Ordering::Relaxed);
    // Its messages may still be delivered, so for a while the backlog is unknown.
    assert!(queue.backlog(&topic).await.is_err());
    tokio::time::sleep(LOST_AFTER / 2).await;
    assert!(queue.backlog(&topic).await.is_err());
    tokio::time::sleep(LOST_AFTER / 2).await;
    assert_eq!(queue.backlog(&topic).await.unwrap().waiting, 1);
    let topics = std::slice::from_ref(&topic);
    assert_eq!(
        queue.secondary_backlog(topics).await,
        Some(SecondaryBacklog { lost: 1, ..SecondaryBacklog::default() })
    );
    // A new consumer uses the reachable queue only.
    let mut consumer = queue.consume(&topic).await.unwrap();
    assert_eq!(consumer.receive(9).await.unwrap().len(), 1);
    assert_eq!((queue.consumers_without("old"), queue.consumers_without("new")), (1, 0));
    assert!(queue.attach_consumers().await.is_err());
    // The queue becomes reachable again.
    old.is_unreachable.store(false, Ordering::Relaxed);
    assert_eq!(
        queue.secondary_backlog(topics).await,
        Some(SecondaryBacklog { waiting: 1, ..SecondaryBacklog::default() })
    );
    queue.attach_consumers().await.unwrap();
    assert_eq!(consumer.receive(9).await.unwrap().len(), 1);
    // The time until it counts as lost begins again.
    old.is_unreachable.store(true, Ordering::Relaxed);
    assert_eq!(
        queue.secondary_backlog(topics).await,
        Some(SecondaryBacklog { unknown: 1, ..SecondaryBacklog::default() })
    );
    queue.set_route(Route::single(primary));
    assert_eq!(queue.secondary_backlog(topics).await, None);
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_the_first_route() {
    let topic = Topic::execute("payments");
    let queue = SwitchingQueue::new(true);
    assert!(queue.is_durable() && queue.check().await.is_err());
    let refused = queue.publish(&topic, vec![message(1)]).await.unwrap_err();
    assert!(refused.to_string().contains("is not known yet"), "{refused}");
    let waiting = tokio::spawn({
        let (queue, topic) = (queue.clone(), topic.clone());
        async move { queue.publish(&topic, vec![message(1)]).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    queue.set_route(Route::single(named("single", Arc::new(MemoryQueue::default()))));
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert!(!queue.is_durable() && queue.check().await.is_ok());
}
