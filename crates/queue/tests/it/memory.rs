//! The cases with the in-process queue, and its own guarantees.

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
async fn memory_queue_passes_all_cases() {
    for case in CASES {
        assert_eq!(case.check(Arc::new(Memory)).await, Ok(()), "{}", case.name);
    }
}

fn message(bytes: usize) -> Message {
    Message { key: "k".to_owned(), payload: Bytes::from(vec![0; bytes - 1]), published_at_ms: 0 }
}

/// Receives one message. The timeout detects a queue that has lost it.
async fn receive_one(consumer: &mut dyn Consumer) -> Vec<Delivery> {
    let received = tokio::time::timeout(Duration::from_secs(5), consumer.receive(1)).await;
    received.expect("a message is delivered").expect("open")
}

fn with_byte_limit(bytes: usize) -> MemoryQueue {
    MemoryQueue::new(Limits { bytes, ..Limits::default() })
}

#[tokio::test]
async fn topic_is_full_at_its_byte_limit() {
    let queue = with_byte_limit(100);
    let topic = Topic::execute("payments");
    queue.publish(&topic, vec![message(60), message(30)]).await.expect("90 bytes fit");
    let full = queue.publish(&topic, vec![message(11)]).await.expect_err("101 bytes do not fit");
    assert_eq!(full, Error::Full { topic: topic.clone(), capacity: Capacity::Bytes(100) });
    assert_eq!(full.to_string(), "topic payments is full: the limit is 100 bytes");
    queue.publish(&topic, vec![message(10)]).await.expect("100 bytes fit");
    let large =
        queue.publish(&topic, vec![message(101)]).await.expect_err("over the limit of an empty topic");
    assert!(!large.is_retryable());
    assert_eq!(large, Error::TooLarge { topic, bytes: 101, limit: 100 });
}

#[tokio::test]
async fn unacknowledged_message_counts_against_the_limit() {
    let queue = with_byte_limit(100);
    let topic = Topic::execute("payments");
    queue.publish(&topic, vec![message(100)]).await.expect("free capacity");
    let mut consumer = queue.consume(&topic).await.expect("open");
    let received = receive_one(&mut *consumer).await;
    assert!(queue.publish(&topic, vec![message(1)]).await.is_err());
    consumer.acknowledge(&[received[0].tag]).await.expect("open");
    queue.publish(&topic, vec![message(100)]).await.expect("free capacity again");
}

#[tokio::test]
async fn full_topic_leaves_capacity_for_other_topics() {
    let queue = MemoryQueue::new(Limits { all_bytes: 1000, ..Limits::default() });
    let (full, other) = (Topic::execute("full"), Topic::execute("other"));
    let mut consumer = queue.consume(&full).await.expect("open");
    queue.publish(&full, (0..100).map(|_| message(10)).collect()).await.expect("free capacity");
    let refused =
        queue.publish(&full, vec![message(10)]).await.expect_err("the topic uses the limit of all topics");
    assert_eq!(refused, Error::Full { topic: full.clone(), capacity: Capacity::Bytes(1000) });
    for _ in 0..64 {
        queue.publish(&other, vec![message(10)]).await.expect("reserved capacity");
    }
    assert!(queue.publish(&other, vec![message(10)]).await.is_err());
    let received = consumer.receive(100).await.expect("open");
    let tags: Vec<_> = received.iter().map(|delivery| delivery.tag).collect();
    consumer.acknowledge(&tags).await.expect("open");
    queue.publish(&other, vec![message(10)]).await.expect("free capacity again");
}

#[tokio::test]
async fn oldest_message_is_found_at_any_position() {
    let queue = MemoryQueue::default();
    let topic = Topic::execute("payments");
    let at = |published_at_ms| Message { published_at_ms, ..message(1) };
    queue.publish(&topic, vec![at(30), at(10), at(20)]).await.expect("free capacity");
    assert_eq!(queue.backlog(&topic).await.expect("open").oldest_waiting_ms, Some(10));
}

#[tokio::test]
async fn unused_topic_uses_no_memory() {
    let queue = MemoryQueue::default();
    let topic = Topic::execute("payments");
    queue.publish(&topic, Vec::new()).await.expect("an empty batch");
    queue.backlog(&topic).await.expect("open");
    assert_eq!(queue.topics(), 0);
    let mut consumer = queue.consume(&topic).await.expect("open");
    queue.publish(&topic, vec![message(1)]).await.expect("free capacity");
    let received = receive_one(&mut *consumer).await;
    consumer.acknowledge(&[received[0].tag]).await.expect("open");
    assert_eq!(queue.topics(), 1);
    drop(consumer);
    assert_eq!(queue.topics(), 0);
}

#[tokio::test]
async fn closed_queue_wakes_consumers_and_refuses_calls() {
    let queue = MemoryQueue::default();
    let topic = Topic::execute("payments");
    let mut consumer = queue.consume(&topic).await.expect("open");
    let (received, ()) = tokio::join!(consumer.receive(1), async {
        tokio::task::yield_now().await;
        queue.close();
    });
    assert_eq!(received, Err(Error::Closed));
    assert_eq!(consumer.acknowledge(&[]).await, Err(Error::Closed));
    assert_eq!(queue.publish(&topic, vec![message(1)]).await, Err(Error::Closed));
    assert_eq!(queue.backlog(&topic).await, Err(Error::Closed));
    assert_eq!(queue.has_consumer(&topic).await, Err(Error::Closed));
    assert_eq!(queue.consume(&topic).await.err(), Some(Error::Closed));
    drop(consumer);
    assert!(!Error::Closed.is_retryable());
}
