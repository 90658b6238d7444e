//! Many messages, several publishers, several consumers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::expect::{Bench, ensure, message, number, same, tags, unexpected};
use super::{Factory, Verdict};
use crate::{Consumer, ErrorKind, Message, Queue, Topic};

const MESSAGES: usize = 100_000;
const PUBLISHERS: usize = 2;
const CONSUMERS: usize = 4;
const KEYS: usize = 500;
const BATCH: usize = 100;

/// How long a consumer waits before it looks whether all is done.
const LOOK: Duration = Duration::from_millis(20);

/// What a consumer was given.
#[derive(Default)]
struct Came {
    /// And acknowledged.
    sure: Vec<u64>,
    /// And could not say whether it acknowledged it.
    doubtful: BTreeSet<u64>,
}

pub(super) async fn exactly_once(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    let came = Arc::new(AtomicUsize::new(0));
    let mut publishers = JoinSet::new();
    let mut consumers = JoinSet::new();
    for _ in 0..CONSUMERS {
        let consumer = bench.consumer(&topic).await?;
        let again = factory.is_log().then(|| (Arc::clone(&bench.queue), topic.clone()));
        consumers.spawn(consume(consumer, again, Arc::clone(&came), bench.patience));
    }
    for first in 0..PUBLISHERS {
        publishers.spawn(publish(Arc::clone(&bench.queue), topic.clone(), first));
    }
    let mut all = Vec::with_capacity(MESSAGES);
    let mut doubtful = BTreeSet::new();
    while let Some(ended) = consumers.join_next().await {
        let came = ended.map_err(|error| format!("a consumer ended: {error}"))??;
        all.extend(came.sure);
        doubtful.extend(came.doubtful);
    }
    // Without consumers a publisher may wait for ever; on the way out of here it is stopped.
    while let Ok(Some(ended)) = tokio::time::timeout(bench.patience, publishers.join_next()).await {
        ended.map_err(|error| format!("a publisher ended: {error}"))??;
    }
    all.sort_unstable();
    let doubles = all.windows(2).filter(|pair| pair.first() == pair.last()).count();
    ensure(doubles == 0, || format!("{doubles} of {MESSAGES} messages came twice"))?;
    all.extend(doubtful);
    all.sort_unstable();
    all.dedup();
    ensure(all.len() == MESSAGES, || format!("{} of {MESSAGES} messages came", all.len()))?;
    let backlog = bench.queue.backlog(&topic).await.map_err(unexpected("backlog"))?;
    same("what still waits", &[backlog.waiting], &[0])
}

/// Publishes every number of its own, and waits where the topic is full.
async fn publish(queue: Arc<dyn Queue>, topic: Topic, first: usize) -> Verdict {
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
                Err(error) if error.kind() == ErrorKind::Full => tokio::time::sleep(LOOK / 20).await,
                Err(error) => return Err(unexpected("publish")(error)),
            }
        }
    }
    Ok(())
}

/// Takes until everybody together has taken all, or nothing has come for too long. Where an acknowledgement
/// may fail, as parts of a log move, it goes on as a new consumer then: `again` says of what.
async fn consume(
    mut consumer: Box<dyn Consumer>,
    again: Option<(Arc<dyn Queue>, Topic)>,
    came: Arc<AtomicUsize>,
    patience: Duration,
) -> Result<Came, String> {
    let mut own = Came::default();
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    let mut idle = Duration::ZERO;
    let mut seen = 0;
    loop {
        let total = came.load(Ordering::Relaxed);
        if total >= MESSAGES || idle >= patience {
            return Ok(own);
        }
        // Safe to cancel, which is another case.
        let Ok(taken) = tokio::time::timeout(LOOK, consumer.take(BATCH)).await else {
            idle = if total == seen { idle + LOOK } else { Duration::ZERO };
            seen = total;
            continue;
        };
        let taken = taken.map_err(unexpected("take"))?;
        let acknowledged = consumer.acknowledge(&tags(&taken)).await;
        let failed = acknowledged.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable);
        if let (true, Some((queue, topic))) = (failed, &again) {
            // Nobody can say whether it was acknowledged: it may come again, or not.
            consumer = queue.consume(topic).await.map_err(unexpected("consume"))?;
            newest.clear();
            for delivery in &taken {
                own.doubtful.insert(number(delivery)?);
            }
            continue;
        }
        let gone = acknowledged.map_err(unexpected("acknowledge"))?;
        if !gone.is_empty() {
            newest.clear();
        }
        for delivery in &taken {
            let number = number(delivery)?;
            if gone.contains(&delivery.tag) {
                // It is another's, unless an acknowledgement that was tried before did get through.
                own.doubtful.insert(number);
                continue;
            }
            own.sure.push(number);
            // A broker that moves a partition may step back.
            if delivery.redelivered {
                continue;
            }
            let before = newest.insert(delivery.message.key.clone(), number);
            let rises = before.is_none_or(|before| before < number);
            ensure(rises, || format!("{} came {number} after {before:?}", delivery.message.key))?;
        }
        came.fetch_add(taken.len() - gone.len(), Ordering::Relaxed);
    }
}
