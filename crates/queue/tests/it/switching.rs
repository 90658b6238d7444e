//! Two in-process queues as one keep every promise, whichever way messages go; and a move from one to the other loses
//! and doubles nothing.

use async_trait::async_trait;
use goconductor_queue::conformance::{CASES, Factory};
use goconductor_queue::memory::{Limits, MemoryQueue};
use goconductor_queue::switching::{Beside, LOST, Named, Route, SwitchingQueue};
use goconductor_queue::{Backlog, Consumer, Error, Message, Queue, Topic};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How far a move has come.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// There is none.
    One,
    /// The second queue is consumed beside the first.
    Beside,
    /// As it was, but the consumers that there are have not heard of the second queue yet.
    Unsettled,
}

fn named(name: &str, queue: Arc<dyn Queue>) -> Named {
    Named { name: name.into(), queue }
}

#[derive(Debug)]
struct Switching(Way);

impl Switching {
    fn of(&self, limits: Limits) -> Arc<dyn Queue> {
        let of = |name| named(name, Arc::new(MemoryQueue::new(limits)));
        let queue = SwitchingQueue::new(false);
        let (to, beside) = (of("new"), Some(of("old")));
        match self.0 {
            Way::One => queue.set(Route::to(to)),
            Way::Beside => queue.set(Route { to, beside, beside_is_new: false }),
            Way::Unsettled => {
                queue.set(Route::to(to.clone()));
                let moved = queue.clone();
                drop(tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    moved.set(Route { to, beside, beside_is_new: false });
                    moved.settle().await.unwrap();
                }));
            }
        }
        Arc::new(queue)
    }
}

#[async_trait]
impl Factory for Switching {
    async fn open(&self) -> Result<Arc<dyn Queue>, String> {
        Ok(self.of(Limits::default()))
    }

    async fn open_bounded(&self, messages: usize) -> Result<Option<Arc<dyn Queue>>, String> {
        Ok(Some(self.of(Limits { messages, ..Limits::default() })))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conformance() {
    for way in [Way::One, Way::Beside, Way::Unsettled] {
        for case in CASES {
            assert_eq!(case.check(Arc::new(Switching(way))).await, Ok(()), "{way:?}: {}", case.name);
        }
    }
}

fn message(number: u64) -> Message {
    Message { key: (number % 7).to_string(), payload: number.to_string().into(), published_at_ms: 1 }
}

/// Takes and acknowledges until nothing comes for a while; how often each message came.
async fn drain(mut consumer: Box<dyn Consumer>) -> BTreeMap<u64, u32> {
    let mut found = BTreeMap::new();
    while let Ok(taken) = tokio::time::timeout(Duration::from_millis(500), consumer.take(3)).await {
        let taken = taken.unwrap();
        let tags: Vec<_> = taken.iter().map(|delivery| delivery.tag).collect();
        assert_eq!(consumer.acknowledge(&tags).await, Ok(Vec::new()));
        for delivery in taken {
            let number = String::from_utf8_lossy(&delivery.message.payload).parse().unwrap();
            *found.entry(number).or_default() += 1;
        }
    }
    consumer.leave().await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_move_under_way_loses_and_doubles_nothing() {
    let topic = Topic::execute("payments");
    let (old, new) = (Arc::new(MemoryQueue::default()), Arc::new(MemoryQueue::default()));
    let (of_old, of_new) = (named("old", Arc::clone(&old) as _), named("new", Arc::clone(&new) as _));
    let queue = SwitchingQueue::new(false);
    queue.set(Route::to(of_old.clone()));
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
    pause().await;
    queue.set(Route { to: of_old.clone(), beside: Some(of_new.clone()), beside_is_new: true });
    queue.settle().await.unwrap();
    assert_eq!(queue.lacking("new"), 0);
    pause().await;
    queue.set(Route { to: of_new.clone(), beside: Some(of_old), beside_is_new: false });
    pause().await;
    // What is still on its way to the old one by a publisher who has not heard of it.
    old.publish(&topic, vec![message(5000)]).await.unwrap();
    let topics = std::slice::from_ref(&topic);
    while queue.waiting_beside(topics).await != Some(Beside::default()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    queue.set(Route::to(of_new));
    publishing.await.unwrap();
    let mut found: BTreeMap<u64, u32> = BTreeMap::new();
    while let Some(some) = consuming.join_next().await {
        for (number, count) in some.unwrap() {
            *found.entry(number).or_default() += count;
        }
    }
    assert_eq!(found.len(), 2001);
    assert!(found.values().all(|count| *count == 1), "{found:?}");
    assert!(!old.has_consumer(&topic).await.unwrap(), "the old one is not let go");
    assert_eq!(queue.waiting_beside(topics).await, None);
}

#[tokio::test]
async fn what_is_held_of_the_old_one_can_still_be_acknowledged() {
    let topic = Topic::execute("payments");
    let (old, new) = (Arc::new(MemoryQueue::default()), Arc::new(MemoryQueue::default()));
    let (of_old, of_new) = (named("old", Arc::clone(&old) as _), named("new", Arc::clone(&new) as _));
    let queue = SwitchingQueue::new(false);
    queue.set(Route { to: of_old, beside: Some(of_new.clone()), beside_is_new: true });
    queue.publish(&topic, vec![message(1), message(2)]).await.unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    let held = consumer.take(2).await.unwrap();
    queue.set(Route::to(of_new));
    queue.publish(&topic, vec![message(3)]).await.unwrap();
    let more = consumer.take(2).await.unwrap();
    assert_eq!((held.len(), more.len()), (2, 1));
    let tags: Vec<_> = held.iter().chain(&more).map(|delivery| delivery.tag).collect();
    assert_eq!(consumer.acknowledge(&tags).await, Ok(Vec::new()));
    assert_eq!(old.backlog(&topic).await.unwrap().taken, 2);
    assert_eq!(new.backlog(&topic).await.unwrap().taken, 1);
}

/// A queue that can be lost.
#[derive(Debug, Default)]
struct Lossy {
    queue: MemoryQueue,
    lost: AtomicBool,
}

impl Lossy {
    fn there(&self) -> Result<(), Error> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(Error::Unavailable { reason: "lost".to_owned() });
        }
        Ok(())
    }
}

#[async_trait]
impl Queue for Lossy {
    async fn publish(&self, topic: &Topic, messages: Vec<Message>) -> Result<(), Error> {
        self.there()?;
        self.queue.publish(topic, messages).await
    }

    async fn consume(&self, topic: &Topic) -> Result<Box<dyn Consumer>, Error> {
        self.there()?;
        self.queue.consume(topic).await
    }

    async fn backlog(&self, topic: &Topic) -> Result<Backlog, Error> {
        self.there()?;
        self.queue.backlog(topic).await
    }

    async fn has_consumer(&self, topic: &Topic) -> Result<bool, Error> {
        self.there()?;
        self.queue.has_consumer(topic).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_lost_holds_up_nobody_for_long() {
    let topic = Topic::execute("payments");
    let (old, new) = (Arc::new(Lossy::default()), Arc::new(MemoryQueue::default()));
    let queue = SwitchingQueue::new(false);
    let of_new = named("new", Arc::clone(&new) as _);
    let beside = Some(named("old", Arc::clone(&old) as _));
    queue.set(Route { to: of_new.clone(), beside, beside_is_new: false });
    old.publish(&topic, vec![message(1)]).await.unwrap();
    new.publish(&topic, vec![message(2)]).await.unwrap();
    assert_eq!(queue.depth(&topic).await.unwrap().waiting, 2);
    old.lost.store(true, Ordering::Relaxed);
    // What it holds may still come: for a while nobody says that nothing waits there.
    assert!(queue.backlog(&topic).await.is_err());
    tokio::time::sleep(LOST / 2).await;
    assert!(queue.backlog(&topic).await.is_err());
    tokio::time::sleep(LOST / 2).await;
    assert_eq!(queue.backlog(&topic).await.unwrap().waiting, 1);
    let topics = std::slice::from_ref(&topic);
    assert_eq!(queue.waiting_beside(topics).await, Some(Beside { lost: 1, ..Beside::default() }));
    // A consumer has what there is.
    let mut consumer = queue.consume(&topic).await.unwrap();
    assert_eq!(consumer.take(9).await.unwrap().len(), 1);
    assert_eq!((queue.lacking("old"), queue.lacking("new")), (1, 0));
    assert!(queue.settle().await.is_err());
    // It comes back.
    old.lost.store(false, Ordering::Relaxed);
    assert_eq!(queue.waiting_beside(topics).await, Some(Beside { waiting: 1, ..Beside::default() }));
    queue.settle().await.unwrap();
    assert_eq!(consumer.take(9).await.unwrap().len(), 1);
    // What is lost is nothing to the next one.
    old.lost.store(true, Ordering::Relaxed);
    assert_eq!(queue.waiting_beside(topics).await, Some(Beside { unknown: 1, ..Beside::default() }));
    queue.set(Route::to(of_new));
    assert_eq!(queue.waiting_beside(topics).await, None);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_before_it_is_known_which_queue_is_used() {
    let topic = Topic::execute("payments");
    let queue = SwitchingQueue::new(true);
    assert!(queue.outlives_processes() && queue.check().await.is_err());
    let refused = queue.publish(&topic, vec![message(1)]).await.unwrap_err();
    assert!(refused.to_string().contains("is not known yet"), "{refused}");
    let waits = tokio::spawn({
        let (queue, topic) = (queue.clone(), topic.clone());
        async move { queue.publish(&topic, vec![message(1)]).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    queue.set(Route::to(named("one", Arc::new(MemoryQueue::default()))));
    assert_eq!(waits.await.unwrap(), Ok(()));
    assert!(!queue.outlives_processes() && queue.check().await.is_ok());
}
