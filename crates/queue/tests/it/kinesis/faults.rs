//! Faults of Kinesis that the emulators do not simulate: throttling, partial failures, expired iterators, slow responses
//! and denied requests. Splits and merges of shards.

use super::proxy::{Mode, Proxy};
use super::{
    KINESALITE, KINESIS_LOCAL, client, leases, message, number, queue, receive, settings, stream, tags,
};
use crate::servers::variable;
use goconductor_queue::kinesis::{KinesisQueue, Leases, Settings, StreamCapacity};
use goconductor_queue::{Consumer, Delivery, ErrorKind, Queue, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

const KEYS: u64 = 40;
const CONSUMERS: usize = 3;

/// The acknowledged messages, with the logical time of their delivery.
#[derive(Debug, Default)]
struct Acknowledged {
    all: Mutex<Vec<(u64, String, u64)>>,
    clock: AtomicU64,
    distinct: AtomicUsize,
}

impl Acknowledged {
    fn add<'a>(&self, at: u64, deliveries: impl Iterator<Item = &'a Delivery>) {
        let mut all = self.all.lock().unwrap();
        all.extend(deliveries.map(|delivery| (at, delivery.message.key.clone(), number(delivery))));
        let numbers: BTreeSet<u64> = all.iter().map(|(_, _, number)| *number).collect();
        self.distinct.store(numbers.len(), Ordering::Relaxed);
    }

    /// Checks that all messages were delivered and that each key kept its order.
    fn check(&self, messages: u64) {
        let mut all = self.all.lock().unwrap().clone();
        all.sort_unstable();
        let mut newest: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (_, key, number) in &all {
            let of_key = newest.entry(key).or_default();
            // A message may be delivered again if its publisher got no response and published it again.
            if !of_key.contains(number) {
                assert!(
                    of_key.last().is_none_or(|last| last < number),
                    "{key}: {number} was delivered after {of_key:?}"
                );
                of_key.push(*number);
            }
        }
        let count: usize = newest.values().map(Vec::len).sum();
        assert_eq!(count, usize::try_from(messages).unwrap(), "the number of messages");
    }
}

async fn consume(queue: KinesisQueue, topic: Topic, acknowledged: Arc<Acknowledged>, done: Arc<AtomicBool>) {
    let mut consumer = queue.consume(&topic).await.unwrap();
    let mut batches = 0_u32;
    while !done.load(Ordering::Relaxed) {
        let received = tokio::time::timeout(Duration::from_millis(200), consumer.receive(30)).await;
        let Ok(received) = received else { continue };
        let received = received.unwrap();
        let at = acknowledged.clock.fetch_add(1, Ordering::Relaxed);
        let lost = consumer.acknowledge(&tags(&received)).await.unwrap();
        acknowledged.add(at, received.iter().filter(|delivery| !lost.contains(&delivery.tag)));
        batches += 1;
        // From time to time, a consumer is dropped with unacknowledged messages.
        if batches % 25 == 24 {
            // The last messages may have been received already, so the wait has a limit.
            drop(tokio::time::timeout(Duration::from_millis(200), consumer.receive(5)).await);
            consumer = queue.consume(&topic).await.unwrap();
        }
    }
}

/// Publishes the share of one publisher in order, and repeats each batch until the publish succeeds.
async fn publish(queue: KinesisQueue, topic: Topic, messages: u64, first: u64, published: Arc<AtomicU64>) {
    let own: Vec<_> = (0..messages)
        .filter(|number| number % KEYS % 2 == first)
        .map(|number| message(&key(number), number))
        .collect();
    for batch in own.chunks(25) {
        while queue.publish(&topic, batch.to_vec()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        published.fetch_add(u64::try_from(batch.len()).unwrap(), Ordering::Relaxed);
    }
}

fn key(number: u64) -> String {
    format!("workflow-{}", number % KEYS)
}

/// Splits the first shard, merges two others, and splits one of the new shards.
async fn reshape(endpoint: &str, stream: &str, published: &AtomicU64, messages: u64) {
    let client = client(endpoint).await;
    let after = async |part: u64| {
        while published.load(Ordering::Relaxed) < messages * part / 10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let open = async || {
        let listed = client.list_shards().stream_name(stream).send().await.unwrap();
        let shards = listed.shards.unwrap();
        let is_open = |shard: &&aws_sdk_kinesis::types::Shard| {
            shard.sequence_number_range().is_some_and(|range| range.ending_sequence_number().is_none())
        };
        let mut open: Vec<_> = shards.iter().filter(is_open).cloned().collect();
        let start = |shard: &aws_sdk_kinesis::types::Shard| -> u128 {
            shard.hash_key_range().unwrap().starting_hash_key().parse().unwrap()
        };
        open.sort_by_key(start);
        open
    };
    let split = async |shard: &aws_sdk_kinesis::types::Shard| {
        let range = shard.hash_key_range().unwrap();
        let (from, to): (u128, u128) =
            (range.starting_hash_key().parse().unwrap(), range.ending_hash_key().parse().unwrap());
        let middle = (from + (to - from) / 2).to_string();
        let request = client.split_shard().stream_name(stream).shard_to_split(shard.shard_id());
        request.new_starting_hash_key(middle).send().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    after(2).await;
    split(&open().await[0]).await;
    after(4).await;
    let shards = open().await;
    let request = client.merge_shards().stream_name(stream).shard_to_merge(shards[3].shard_id());
    request.adjacent_shard_to_merge(shards[4].shard_id()).send().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    after(6).await;
    split(&open().await[0]).await;
}

/// Publishes and consumes through a flaky proxy, while shards are split and merged.
async fn run(endpoint: &str, messages: u64) {
    let proxy = Proxy::start(endpoint, Mode::Flaky).await;
    let (leases, topic) = (leases(), Topic::execute("payments"));
    let settings = Settings { lease: Duration::from_secs(3), ..settings(&proxy.url) };
    let with_identity = |identity: &str, leases: &Arc<dyn Leases>| {
        KinesisQueue::new(settings.clone(), identity, Arc::clone(leases)).unwrap()
    };
    let publisher = with_identity("publisher", &leases);
    let (acknowledged, done, published) =
        (Arc::<Acknowledged>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let (mut publishers, mut consumers) = (JoinSet::new(), JoinSet::new());
    for number in 0..CONSUMERS {
        let queue = with_identity(&format!("consumer-{number}"), &leases);
        consumers.spawn(consume(queue, topic.clone(), Arc::clone(&acknowledged), Arc::clone(&done)));
    }
    for number in 0..2 {
        publishers.spawn(publish(publisher.clone(), topic.clone(), messages, number, Arc::clone(&published)));
    }
    // The first publish or consumer creates the stream.
    while published.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reshape(endpoint, &stream(&settings, &topic), &published, messages).await;
    while let Some(ended) = publishers.join_next().await {
        ended.unwrap();
    }
    let mut idle = 0;
    let mut before = 0;
    while acknowledged.distinct.load(Ordering::Relaxed) < usize::try_from(messages).unwrap() && idle < 120 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = acknowledged.distinct.load(Ordering::Relaxed);
        idle = if now == before { idle + 1 } else { 0 };
        before = now;
    }
    done.store(true, Ordering::Relaxed);
    while let Some(ended) = consumers.join_next().await {
        ended.unwrap();
    }
    acknowledged.check(messages);
    for fault in ["throttled", "expired", "slow", "refused in part"] {
        assert!(proxy.faults(fault) > 0, "no request was {fault}");
        println!("{fault}: {}", proxy.faults(fault));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn flaky_kinesalite_with_splits_and_merges_loses_and_reorders_nothing() {
    let Some(endpoint) = variable(KINESALITE) else { return };
    run(&endpoint, 4000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn flaky_kinesis_local_with_splits_and_merges_loses_and_reorders_nothing() {
    let Some(endpoint) = variable(KINESIS_LOCAL) else { return };
    run(&endpoint, 2000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn consumer_prefetches_up_to_its_limit() {
    const MESSAGES: usize = 5000;
    let Some(endpoint) = variable(KINESALITE) else { return };
    let proxy = Proxy::start(&endpoint, Mode::Transparent).await;
    let settings = Settings { capacity: StreamCapacity::Shards(1), ..settings(&proxy.url) };
    let (queue, topic) = (queue(settings, &leases()), Topic::execute("payments"));
    let all: Vec<_> = (0..5000).map(|number| message(&format!("workflow-{number}"), number)).collect();
    queue.publish(&topic, all).await.unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    let mut received = receive(&mut consumer, 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let prefetched = proxy.records();
    assert!(prefetched <= 2000, "{prefetched} records were prefetched");
    received.extend(receive(&mut consumer, MESSAGES - 1).await);
    assert_eq!(consumer.acknowledge(&tags(&received)).await, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn publish_throttled_for_too_long_is_a_retryable_error() {
    let Some(endpoint) = variable(KINESALITE) else { return };
    let proxy = Proxy::start(&endpoint, Mode::Transparent).await;
    let (queue, topic) = (queue(settings(&proxy.url), &leases()), Topic::execute("payments"));
    queue.publish(&topic, vec![message("k", 1)]).await.unwrap();
    proxy.set(Mode::WritesThrottled);
    let error = queue.publish(&topic, vec![message("k", 2)]).await.unwrap_err();
    assert!(error.is_retryable() && error.report().contains("ProvisionedThroughput"), "{error}");
    proxy.set(Mode::Transparent);
    queue.publish(&topic, vec![message("k", 3)]).await.unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    assert_eq!(receive(&mut consumer, 2).await.iter().map(number).collect::<Vec<_>>(), [1, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn denied_request_error_names_the_missing_permission() {
    let Some(endpoint) = variable(KINESALITE) else { return };
    let proxy = Proxy::start(&endpoint, Mode::Denied).await;
    let (queue, topic) = (queue(settings(&proxy.url), &leases()), Topic::execute("payments"));
    let error = queue.publish(&topic, vec![message("k", 1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("kinesis:ListShards"), "{error}");
    assert!(queue.check().await.unwrap_err().to_string().contains("kinesis:ListStreams"));
    proxy.set(Mode::Transparent);
    queue.publish(&topic, vec![message("k", 1)]).await.unwrap();
    assert_eq!(queue.check().await, Ok(()));
    let mut consumer: Box<dyn Consumer> = queue.consume(&topic).await.unwrap();
    assert_eq!(receive(&mut consumer, 1).await.len(), 1);
    proxy.set(Mode::Denied);
    // A waiting consumer fails as well.
    let received = tokio::time::timeout(Duration::from_secs(30), consumer.receive(1)).await.unwrap();
    let error = received.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}

#[tokio::test]
async fn unreachable_endpoint_is_a_retryable_error() {
    let (queue, topic) = (queue(settings("http://127.0.0.1:1"), &leases()), Topic::execute("payments"));
    assert!(queue.check().await.is_err());
    let error = queue.publish(&topic, vec![message("k", 1)]).await.unwrap_err();
    let report = error.report();
    assert!(error.is_retryable() && report.contains("refused"), "{report}");
}
