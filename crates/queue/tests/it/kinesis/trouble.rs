//! What Kinesis does and its emulators do not: it throttles, refuses parts, lets iterators expire, is slow, and
//! denies. And what both do: shards are split and merged.

use super::proxy::{Mood, Proxy};
use super::{QUICK, WHOLE, client, leases, message, number, queue, settings, stream, tags, take};
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

/// What came and was acknowledged, with when it was taken.
#[derive(Debug, Default)]
struct Came {
    all: Mutex<Vec<(u64, String, u64)>>,
    clock: AtomicU64,
    distinct: AtomicUsize,
}

impl Came {
    fn add<'a>(&self, at: u64, kept: impl Iterator<Item = &'a Delivery>) {
        let mut all = self.all.lock().unwrap();
        all.extend(kept.map(|delivery| (at, delivery.message.key.clone(), number(delivery))));
        let numbers: BTreeSet<u64> = all.iter().map(|(_, _, number)| *number).collect();
        self.distinct.store(numbers.len(), Ordering::Relaxed);
    }

    /// What is missing, and what came after something later of its key.
    fn check(&self, messages: u64) {
        let mut all = self.all.lock().unwrap().clone();
        all.sort_unstable();
        let mut newest: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for (_, key, number) in &all {
            let of_key = newest.entry(key).or_default();
            // A publisher that was told nothing has published it again.
            if !of_key.contains(number) {
                assert!(
                    of_key.last().is_none_or(|last| last < number),
                    "{key}: {number} came after {of_key:?}"
                );
                of_key.push(*number);
            }
        }
        let count: usize = newest.values().map(Vec::len).sum();
        assert_eq!(count, usize::try_from(messages).unwrap(), "so many came");
    }
}

async fn consume(queue: KinesisQueue, topic: Topic, came: Arc<Came>, done: Arc<AtomicBool>) {
    let mut consumer = queue.consume(&topic).await.unwrap();
    let mut taken_in = 0_u32;
    while !done.load(Ordering::Relaxed) {
        let Ok(taken) = tokio::time::timeout(Duration::from_millis(200), consumer.take(30)).await else {
            continue;
        };
        let taken = taken.unwrap();
        let at = came.clock.fetch_add(1, Ordering::Relaxed);
        let gone = consumer.acknowledge(&tags(&taken)).await.unwrap();
        came.add(at, taken.iter().filter(|delivery| !gone.contains(&delivery.tag)));
        taken_in += 1;
        // One dies now and then, with what it holds.
        if taken_in % 25 == 24 {
            drop(consumer.take(5).await);
            consumer = queue.consume(&topic).await.unwrap();
        }
    }
}

/// Publishes all numbers of its own in their order, each batch until somebody has acknowledged it.
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

/// Splits the first shard and merges two of the others; and later one of the new ones.
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
        let asked = client.split_shard().stream_name(stream).shard_to_split(shard.shard_id());
        asked.new_starting_hash_key(middle).send().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    after(2).await;
    split(&open().await[0]).await;
    after(4).await;
    let shards = open().await;
    let asked = client.merge_shards().stream_name(stream).shard_to_merge(shards[3].shard_id());
    asked.adjacent_shard_to_merge(shards[4].shard_id()).send().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    after(6).await;
    split(&open().await[0]).await;
}

/// A run through a moody proxy, with shards that split and merge meanwhile.
async fn run(endpoint: &str, messages: u64) {
    let proxy = Proxy::start(endpoint, Mood::Moody).await;
    let (leases, topic) = (leases(), Topic::execute("payments"));
    let settings = Settings { lease: Duration::from_secs(3), ..settings(&proxy.url) };
    let of = |identity: &str, leases: &Arc<dyn Leases>| {
        KinesisQueue::new(settings.clone(), identity, Arc::clone(leases)).unwrap()
    };
    let first = of("publisher", &leases);
    let (came, done, published) =
        (Arc::<Came>::default(), Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let (mut publishers, mut consumers) = (JoinSet::new(), JoinSet::new());
    for number in 0..CONSUMERS {
        let queue = of(&format!("consumer-{number}"), &leases);
        consumers.spawn(consume(queue, topic.clone(), Arc::clone(&came), Arc::clone(&done)));
    }
    for number in 0..2 {
        publishers.spawn(publish(first.clone(), topic.clone(), messages, number, Arc::clone(&published)));
    }
    // Made by whoever came first.
    while published.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reshape(endpoint, &stream(&settings, &topic), &published, messages).await;
    while let Some(ended) = publishers.join_next().await {
        ended.unwrap();
    }
    let mut idle = 0;
    let mut before = 0;
    while came.distinct.load(Ordering::Relaxed) < usize::try_from(messages).unwrap() && idle < 120 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = came.distinct.load(Ordering::Relaxed);
        idle = if now == before { idle + 1 } else { 0 };
        before = now;
    }
    done.store(true, Ordering::Relaxed);
    while let Some(ended) = consumers.join_next().await {
        ended.unwrap();
    }
    came.check(messages);
    for what in ["throttled", "expired", "slow", "refused in part"] {
        assert!(proxy.did(what) > 0, "nothing was {what}");
        println!("{what}: {}", proxy.did(what));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_and_keys_keep_their_order_over_splits_merges_and_moods() {
    let Some(endpoint) = variable(QUICK) else { return };
    run(&endpoint, 4000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_with_the_whole_emulator() {
    let Some(endpoint) = variable(WHOLE) else { return };
    run(&endpoint, 2000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_is_read_ahead_than_there_is_room_for() {
    const MESSAGES: usize = 5000;
    let Some(endpoint) = variable(QUICK) else { return };
    let proxy = Proxy::start(&endpoint, Mood::Kind).await;
    let settings = Settings { capacity: StreamCapacity::Shards(1), ..settings(&proxy.url) };
    let (queue, topic) = (queue(settings, &leases()), Topic::execute("payments"));
    let all: Vec<_> = (0..5000).map(|number| message(&format!("workflow-{number}"), number)).collect();
    queue.publish(&topic, all).await.unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    let mut came = take(&mut consumer, 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let ahead = proxy.records();
    assert!(ahead <= 2000, "{ahead} were read though nobody takes them");
    came.extend(take(&mut consumer, MESSAGES - 1).await);
    assert_eq!(consumer.acknowledge(&tags(&came)).await, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_publisher_that_is_throttled_for_too_long_is_told_why() {
    let Some(endpoint) = variable(QUICK) else { return };
    let proxy = Proxy::start(&endpoint, Mood::Kind).await;
    let (queue, topic) = (queue(settings(&proxy.url), &leases()), Topic::execute("payments"));
    queue.publish(&topic, vec![message("k", 1)]).await.unwrap();
    proxy.set(Mood::Full);
    let error = queue.publish(&topic, vec![message("k", 2)]).await.unwrap_err();
    assert!(error.retryable() && error.to_string().contains("ProvisionedThroughput"), "{error}");
    proxy.set(Mood::Kind);
    queue.publish(&topic, vec![message("k", 3)]).await.unwrap();
    let mut consumer = queue.consume(&topic).await.unwrap();
    assert_eq!(take(&mut consumer, 2).await.iter().map(number).collect::<Vec<_>>(), [1, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_who_may_not_is_told_which_right_is_missing() {
    let Some(endpoint) = variable(QUICK) else { return };
    let proxy = Proxy::start(&endpoint, Mood::Closed).await;
    let (queue, topic) = (queue(settings(&proxy.url), &leases()), Topic::execute("payments"));
    let error = queue.publish(&topic, vec![message("k", 1)]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("kinesis:ListShards"), "{error}");
    assert!(queue.check().await.unwrap_err().to_string().contains("kinesis:ListStreams"));
    proxy.set(Mood::Kind);
    queue.publish(&topic, vec![message("k", 1)]).await.unwrap();
    assert_eq!(queue.check().await, Ok(()));
    let mut consumer: Box<dyn Consumer> = queue.consume(&topic).await.unwrap();
    assert_eq!(take(&mut consumer, 1).await.len(), 1);
    proxy.set(Mood::Closed);
    // Whoever waits hears of it.
    let error = tokio::time::timeout(Duration::from_secs(30), consumer.take(1)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
}

#[tokio::test]
async fn a_kinesis_that_is_not_there_is_said_to_be_out_of_reach() {
    let (queue, topic) = (queue(settings("http://127.0.0.1:1"), &leases()), Topic::execute("payments"));
    assert!(queue.check().await.is_err());
    let error = queue.publish(&topic, vec![message("k", 1)]).await.unwrap_err();
    assert!(error.retryable() && error.to_string().contains("refused"), "{error}");
}
