//! Many messages, with several publishers and several consumers.

use super::adapter::{CaseResult, Factory};
use super::fixture::{Fixture, ensure, message, number, same, tags, unexpected};
use crate::{Consumer, ErrorKind, Message, Queue, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const MESSAGES: usize = 100_000;
const PUBLISHERS: usize = 2;
const CONSUMERS: usize = 4;
const KEYS: usize = 500;
const BATCH: usize = 100;

/// Interval at which a consumer without messages checks whether the case is done.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Delay before a publisher retries a full topic.
const RETRY_DELAY: Duration = Duration::from_millis(1);

/// The messages that a consumer received.
#[derive(Default)]
struct ReceivedMessages {
    /// The acknowledged messages.
    acknowledged: Vec<u64>,
    /// The messages whose acknowledgement has an unknown outcome.
    unknown: BTreeSet<u64>,
}

pub(super) async fn exactly_once(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    let total = Arc::new(AtomicUsize::new(0));
    let mut publishers = JoinSet::new();
    let mut consumers = JoinSet::new();
    for _ in 0..CONSUMERS {
        let consumer = fixture.consumer(&topic).await?;
        let replacement = factory.is_log().then(|| (Arc::clone(&fixture.queue), topic.clone()));
        consumers.spawn(consume(consumer, replacement, Arc::clone(&total), fixture.timeout));
    }
    for first in 0..PUBLISHERS {
        publishers.spawn(publish(Arc::clone(&fixture.queue), topic.clone(), first));
    }
    let mut all = Vec::with_capacity(MESSAGES);
    let mut unknown = BTreeSet::new();
    while let Some(ended) = consumers.join_next().await {
        let received = ended.map_err(|error| format!("consumer task failed: {error}"))??;
        all.extend(received.acknowledged);
        unknown.extend(received.unknown);
    }
    // Without consumers, a publisher may wait indefinitely. Dropping the set aborts it.
    while let Ok(Some(ended)) = tokio::time::timeout(fixture.timeout, publishers.join_next()).await {
        ended.map_err(|error| format!("publisher task failed: {error}"))??;
    }
    all.sort_unstable();
    let duplicates = all.windows(2).filter(|pair| pair.first() == pair.last()).count();
    ensure(duplicates == 0, || format!("{duplicates} of {MESSAGES} messages were delivered twice"))?;
    all.extend(unknown);
    all.sort_unstable();
    all.dedup();
    ensure(all.len() == MESSAGES, || format!("{} of {MESSAGES} messages were delivered", all.len()))?;
    let backlog = fixture.queue.backlog(&topic).await.map_err(unexpected("backlog"))?;
    same("backlog at the end", &[backlog.waiting], &[0])
}

/// Publishes the share of one publisher, and waits while the topic is full.
async fn publish(queue: Arc<dyn Queue>, topic: Topic, first: usize) -> CaseResult {
    let own: Vec<Message> = (first..MESSAGES)
        .step_by(PUBLISHERS)
        .map(|number| {
            message(&format!("workflow-{}", number % KEYS), u64::try_from(number).unwrap_or(u64::MAX))
        })
        .collect();
    for batch in own.chunks(BATCH) {
        loop {
            match queue.publish(&topic, batch.to_vec()).await {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::Full => tokio::time::sleep(RETRY_DELAY).await,
                Err(error) => return Err(unexpected("publish")(error)),
            }
        }
    }
    Ok(())
}

/// Receives until all consumers together have received all messages, or none arrives within `timeout`. With a log, an
/// acknowledgement may fail while partitions move; the consumer is then replaced by one of the queue in `replacement`.
async fn consume(
    mut consumer: Box<dyn Consumer>,
    replacement: Option<(Arc<dyn Queue>, Topic)>,
    total: Arc<AtomicUsize>,
    timeout: Duration,
) -> Result<ReceivedMessages, String> {
    let mut own = ReceivedMessages::default();
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let mut idle = Duration::ZERO;
    let mut last_total = 0;
    loop {
        let current_total = total.load(Ordering::Relaxed);
        if current_total >= MESSAGES || idle >= timeout {
            return Ok(own);
        }
        // Another case checks that `receive` is cancel safe.
        let Ok(received) = tokio::time::timeout(POLL_INTERVAL, consumer.receive(BATCH)).await else {
            idle = if current_total == last_total { idle + POLL_INTERVAL } else { Duration::ZERO };
            last_total = current_total;
            continue;
        };
        let received = received.map_err(unexpected("receive"))?;
        let acknowledged = consumer.acknowledge(&tags(&received)).await;
        let has_failed = acknowledged.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable);
        if let (true, Some((queue, topic))) = (has_failed, &replacement) {
            // The outcome is unknown: these messages may be delivered again, or not.
            consumer = queue.consume(topic).await.map_err(unexpected("consume"))?;
            newest.clear();
            for delivery in &received {
                own.unknown.insert(number(delivery)?);
            }
            continue;
        }
        let lost = acknowledged.map_err(unexpected("acknowledge"))?;
        if !lost.is_empty() {
            newest.clear();
        }
        for delivery in &received {
            let number = number(delivery)?;
            if lost.contains(&delivery.tag) {
                // Another consumer receives it, unless an earlier attempt to acknowledge it succeeded.
                own.unknown.insert(number);
                continue;
            }
            own.acknowledged.push(number);
            // A partition that moves may be read from an earlier offset.
            if delivery.redelivered {
                continue;
            }
            let before = newest.insert(delivery.message.key.clone(), number);
            let is_ordered = before.is_none_or(|before| before < number);
            let key = &delivery.message.key;
            ensure(is_ordered, || format!("{key}: {number} was delivered after {before:?}"))?;
        }
        total.fetch_add(received.len() - lost.len(), Ordering::Relaxed);
    }
}
