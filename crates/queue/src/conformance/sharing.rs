//! Consumers share a topic. Topics share nothing.

use super::adapter::{CaseResult, Factory};
use super::fixture::{Fixture, ensure, message, numbers, same, tags, unexpected};
use crate::Topic;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Time in which a consumer prefetches up to its limit.
const PREFETCH_TIME: Duration = Duration::from_millis(500);

pub(super) async fn two_consumers(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    let mut first = fixture.consumer(&topic).await?;
    let mut second = fixture.consumer(&topic).await?;
    let all = (0..200).map(|number| message(&format!("workflow-{number}"), number)).collect();
    fixture.queue.publish(&topic, all).await.map_err(unexpected("publish"))?;
    // Unacknowledged messages of one consumer do not block the other.
    let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
    for max in [1, 2, 3, 4, 5, 6, 7, 8] {
        let received = fixture.receive(&mut first, max).await;
        of_first.extend(received.map_err(|found| format!("first consumer: {found}"))?);
        let received = fixture.receive(&mut second, max).await;
        of_second.extend(received.map_err(|found| format!("second consumer: {found}"))?);
    }
    let mut delivered = numbers(&of_first)?;
    delivered.extend(numbers(&of_second)?);
    if factory.prefetches() {
        // A consumer with many unacknowledged messages receives no more. A partition that moves to the other consumer
        // delivers its unacknowledged messages again.
        first.acknowledge(&tags(&of_first)).await.map_err(unexpected("acknowledge"))?;
        second.acknowledge(&tags(&of_second)).await.map_err(unexpected("acknowledge"))?;
        let mut all: BTreeSet<u64> = delivered.drain(..).collect();
        while all.len() < 200 {
            let (received, by) = tokio::select! {
                received = fixture.receive(&mut first, 50) => (received?, &mut first),
                received = fixture.receive(&mut second, 50) => (received?, &mut second),
            };
            by.acknowledge(&tags(&received)).await.map_err(unexpected("acknowledge"))?;
            all.extend(numbers(&received)?);
        }
        return same("both consumers together", &Vec::from_iter(all), &Vec::from_iter(0..200));
    }
    let rest = 200 - delivered.len();
    delivered.extend(numbers(&fixture.receive_all(&mut first, rest, 50).await?)?);
    delivered.sort_unstable();
    same("both consumers together", &delivered, &Vec::from_iter(0..200))?;
    fixture.expect_silence(&mut first).await?;
    fixture.expect_silence(&mut second).await
}

/// A consumer that prefetches pauses its partitions at a limit. A paused partition that moves to another consumer and
/// back has to be resumed.
pub(super) async fn partition_returns(factory: Arc<dyn Factory>) -> CaseResult {
    const MESSAGES: u64 = 4000;
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    let all = (0..MESSAGES).map(|number| message(&format!("workflow-{}", number % 40), number)).collect();
    fixture.queue.publish(&topic, all).await.map_err(unexpected("publish"))?;
    let mut slow = fixture.consumer(&topic).await?;
    let mut delivered = BTreeSet::new();
    delivered.extend(numbers(&fixture.receive(&mut slow, 1).await?)?);
    tokio::time::sleep(PREFETCH_TIME).await;
    let mut temporary = fixture.consumer(&topic).await?;
    let received = fixture.receive(&mut temporary, 50).await;
    received.map_err(|found| format!("temporary consumer: {found}"))?;
    temporary.close().await;
    while delivered.len() < usize::try_from(MESSAGES).unwrap_or(usize::MAX) {
        let received = fixture.receive(&mut slow, 100).await;
        let received =
            received.map_err(|found| format!("after {} of {MESSAGES} messages: {found}", delivered.len()))?;
        delivered.extend(numbers(&received)?);
        slow.acknowledge(&tags(&received)).await.map_err(unexpected("acknowledge"))?;
    }
    Ok(())
}

pub(super) async fn foreign_acknowledgement(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    fixture.publish(&topic, "workflow", 0..3).await?;
    let mut owner = fixture.consumer(&topic).await?;
    let owned = fixture.receive_all(&mut owner, 3, 3).await?;
    let mut other = fixture.consumer(&topic).await?;
    other.acknowledge(&tags(&owned)).await.map_err(unexpected("acknowledge by another consumer"))?;
    drop(owner);
    let redelivered = fixture.acknowledge_all(&mut other, 3, 3).await?;
    same("messages that their owner did not acknowledge", &numbers(&redelivered)?, &[0, 1, 2])
}

pub(super) async fn lanes(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topics = [
        Topic::execute("payments"),
        Topic::compensate("payments"),
        Topic::execute("inventory"),
        Topic::compensate("inventory"),
    ];
    for (topic, first) in topics.iter().zip((0..).step_by(10)) {
        fixture.publish(topic, "workflow", first..first + 5).await?;
    }
    for (topic, first) in topics.iter().zip((0..).step_by(10)) {
        let mut consumer = fixture.consumer(topic).await?;
        let delivered = numbers(&fixture.acknowledge_all(&mut consumer, 5, 5).await?)?;
        same(&topic.to_string(), &delivered, &Vec::from_iter(first..first + 5))?;
        fixture.expect_silence(&mut consumer).await.map_err(|found| format!("{topic}: {found}"))?;
    }
    Ok(())
}

pub(super) async fn has_consumer(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    let compensate = Topic::compensate("payments");
    let knows_consumers = factory.knows_consumers();
    let is = async |topic: &Topic, expected: bool, when: &str| -> CaseResult {
        let found = fixture.queue.has_consumer(topic).await.map_err(unexpected("has_consumer"))?;
        // An adapter that does not know its consumers always returns true.
        ensure(found == (expected || !knows_consumers), || {
            format!("{when}: has_consumer({topic}) is {found}")
        })
    };
    is(&topic, false, "at first").await?;
    let first = fixture.consumer(&topic).await?;
    let second = fixture.consumer(&topic).await?;
    is(&topic, true, "with two consumers").await?;
    is(&compensate, false, "with consumers of the other lane").await?;
    drop(first);
    is(&topic, true, "with one of two consumers").await?;
    fixture.publish(&topic, "workflow", 0..1).await?;
    drop(second);
    is(&topic, false, "after the last consumer was dropped").await?;
    let _third = fixture.consumer(&topic).await?;
    is(&topic, true, "with a new consumer").await
}
