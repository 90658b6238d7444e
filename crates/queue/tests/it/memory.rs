//! The in-process queue keeps every promise, and some of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use goconductor_queue::conformance::{CASES, Factory};
use goconductor_queue::memory::{Limits, MemoryQueue};
use goconductor_queue::{Capacity, Consumer, Delivery, Error, Message, Queue, Topic};

#[derive(Debug)]
struct Memory;

#[async_trait]
impl Factory for Memory {
    async fn open(&self) -> Result<Arc<dyn Queue>, String> {
        Ok(Arc::new(MemoryQueue::default()))
    }

    async fn open_bounded(&self, messages: usize) -> Result<Option<Arc<dyn Queue>>, String> {
        Ok(Some(Arc::new(MemoryQueue::new(Limits { messages, ..Limits::default() }))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conformance() {
    for case in CASES {
        assert_eq!(case.check(Arc::new(Memory)).await, Ok(()), "{}", case.name);
    }
}

fn message(bytes: usize) -> Message {
    Message { key: "k".to_owned(), payload: Bytes::from(vec![0; bytes - 1]), published_at_ms: 0 }
}

/// What waits is there at once; a queue that lost it must not hold up the tests for ever.
async fn take_one(consumer: &mut dyn Consumer) -> Vec<Delivery> {
    let taken = tokio::time::timeout(Duration::from_secs(5), consumer.take(1)).await;
    taken.expect("nothing came").expect("open")
}

fn of_bytes(bytes: usize) -> MemoryQueue {
    MemoryQueue::new(Limits { bytes, ..Limits::default() })
}

#[tokio::test]
async fn bytes_are_bounded_too() {
    let queue = of_bytes(100);
    let topic = Topic::execute("payments");
    queue.publish(&topic, vec![message(60), message(30)]).await.expect("room for 90");
    let full = queue.publish(&topic, vec![message(11)]).await.expect_err("no room for 11 more");
    assert_eq!(full, Error::Full { topic: topic.clone(), capacity: Capacity::Bytes(100) });
    assert_eq!(full.to_string(), "topic payments is full: it holds no more than 100 bytes");
    queue.publish(&topic, vec![message(10)]).await.expect("room for 10 more");
    let large = queue.publish(&topic, vec![message(101)]).await.expect_err("never");
    assert!(!large.retryable());
    assert_eq!(large, Error::TooLarge { topic, bytes: 101, limit: 100 });
}

#[tokio::test]
async fn what_is_held_still_takes_up_room() {
    let queue = of_bytes(100);
    let topic = Topic::execute("payments");
    queue.publish(&topic, vec![message(100)]).await.expect("room");
    let mut consumer = queue.consume(&topic).await.expect("open");
    let taken = take_one(&mut *consumer).await;
    assert!(queue.publish(&topic, vec![message(1)]).await.is_err());
    consumer.acknowledge(&[taken[0].tag]).await.expect("open");
    queue.publish(&topic, vec![message(100)]).await.expect("room again");
}

#[tokio::test]
async fn all_topics_together_are_bounded_and_none_takes_the_room_of_another() {
    let queue = MemoryQueue::new(Limits { all_bytes: 1000, ..Limits::default() });
    let (full, other) = (Topic::execute("full"), Topic::execute("other"));
    let mut consumer = queue.consume(&full).await.expect("open");
    queue.publish(&full, (0..100).map(|_| message(10)).collect()).await.expect("room");
    let refused = queue.publish(&full, vec![message(10)]).await.expect_err("it holds all there is");
    assert_eq!(refused, Error::Full { topic: full.clone(), capacity: Capacity::Bytes(1000) });
    for _ in 0..64 {
        queue.publish(&other, vec![message(10)]).await.expect("room of its own");
    }
    assert!(queue.publish(&other, vec![message(10)]).await.is_err());
    let taken = consumer.take(100).await.expect("open");
    let tags: Vec<_> = taken.iter().map(|delivery| delivery.tag).collect();
    consumer.acknowledge(&tags).await.expect("open");
    queue.publish(&other, vec![message(10)]).await.expect("room again");
}

#[tokio::test]
async fn the_oldest_is_found_wherever_it_stands() {
    let queue = MemoryQueue::default();
    let topic = Topic::execute("payments");
    let at = |published_at_ms| Message { published_at_ms, ..message(1) };
    queue.publish(&topic, vec![at(30), at(10), at(20)]).await.expect("room");
    assert_eq!(queue.backlog(&topic).await.expect("open").oldest_waiting_ms, Some(10));
}

#[tokio::test]
async fn an_empty_topic_takes_no_memory() {
    let queue = MemoryQueue::default();
    let topic = Topic::execute("payments");
    queue.publish(&topic, Vec::new()).await.expect("nothing to do");
    queue.backlog(&topic).await.expect("open");
    assert_eq!(queue.topics(), 0);
    let mut consumer = queue.consume(&topic).await.expect("open");
    queue.publish(&topic, vec![message(1)]).await.expect("room");
    let taken = take_one(&mut *consumer).await;
    consumer.acknowledge(&[taken[0].tag]).await.expect("open");
    assert_eq!(queue.topics(), 1);
    drop(consumer);
    assert_eq!(queue.topics(), 0);
}

#[tokio::test]
async fn a_closed_queue_wakes_and_refuses_everybody() {
    let queue = MemoryQueue::default();
    let topic = Topic::execute("payments");
    let mut consumer = queue.consume(&topic).await.expect("open");
    let (taken, ()) = tokio::join!(consumer.take(1), async {
        tokio::task::yield_now().await;
        queue.close();
    });
    assert_eq!(taken, Err(Error::Closed));
    assert_eq!(consumer.acknowledge(&[]).await, Err(Error::Closed));
    assert_eq!(queue.publish(&topic, vec![message(1)]).await, Err(Error::Closed));
    assert_eq!(queue.backlog(&topic).await, Err(Error::Closed));
    assert_eq!(queue.has_consumer(&topic).await, Err(Error::Closed));
    assert_eq!(queue.consume(&topic).await.err(), Some(Error::Closed));
    drop(consumer);
    assert!(!Error::Closed.retryable());
}
