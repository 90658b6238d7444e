//! A topic enforces its limit and reports its backlog.

use super::adapter::{CaseResult, Factory};
use super::fixture::{Fixture, ensure, message, numbers, same, unexpected};
use crate::{Backlog, ErrorKind, Topic};
use std::sync::Arc;

/// The limit of a topic.
const LIMIT: u64 = 10;

async fn bounded(factory: &Arc<dyn Factory>) -> Result<Option<Fixture>, String> {
    Fixture::bounded(factory, usize::try_from(LIMIT).unwrap_or(usize::MAX)).await
}

async fn expect_refusal(fixture: &Fixture, topic: &Topic, numbers: std::ops::Range<u64>) -> CaseResult {
    let messages = numbers.map(|number| message("workflow", number)).collect();
    match fixture.queue.publish(topic, messages).await {
        Ok(()) => Err("topic accepted more than its limit".to_owned()),
        Err(error) => {
            let is_full = error.kind() == ErrorKind::Full && error.is_retryable();
            ensure(is_full, || format!("full topic returned another error: {error}"))
        }
    }
}

pub(super) async fn refuses_whole_batch(factory: Arc<dyn Factory>) -> CaseResult {
    let Some(fixture) = bounded(&factory).await? else { return Ok(()) };
    let topic = Topic::execute("payments");
    fixture.publish(&topic, "workflow", 0..8).await?;
    expect_refusal(&fixture, &topic, 8..11).await?;
    let eight_wait = || async {
        let waiting = fixture.queue.backlog(&topic).await.map_err(unexpected("backlog"))?.waiting;
        ensure(waiting == 8, || format!("{waiting} messages wait after 8 were accepted and 3 refused"))
    };
    fixture.eventually("after a refusal", eight_wait).await?;
    let accepted = fixture.publish(&topic, "workflow", 8..10).await;
    accepted.map_err(|found| format!("up to the limit: {found}"))?;
    expect_refusal(&fixture, &topic, 10..11).await?;
    fixture.publish(&Topic::execute("inventory"), "workflow", 0..LIMIT).await?;

    let mut consumer = fixture.consumer(&topic).await?;
    let delivered = numbers(&fixture.acknowledge_all(&mut consumer, 10, 3).await?)?;
    same("accepted messages", &delivered, &Vec::from_iter(0..10))?;
    // The adapter may find out with a delay that the topic has capacity again.
    let publish_again = || fixture.publish(&topic, "workflow", 10..20);
    fixture.eventually("after draining", publish_again).await?;
    let delivered = numbers(&fixture.acknowledge_all(&mut consumer, 10, 10).await?)?;
    same("after draining", &delivered, &Vec::from_iter(10..20))?;
    fixture.expect_silence(&mut consumer).await
}

pub(super) async fn compensate_has_capacity(factory: Arc<dyn Factory>) -> CaseResult {
    let Some(fixture) = bounded(&factory).await? else { return Ok(()) };
    let (execute, compensate) = (Topic::execute("payments"), Topic::compensate("payments"));
    fixture.publish(&execute, "workflow", 0..LIMIT).await?;
    expect_refusal(&fixture, &execute, LIMIT..LIMIT + 1).await?;
    let accepted = fixture.publish(&compensate, "workflow", 0..LIMIT).await;
    accepted.map_err(|found| format!("compensate lane: {found}"))?;
    let mut consumer = fixture.consumer(&compensate).await?;
    let delivered = numbers(&fixture.acknowledge_all(&mut consumer, 10, 10).await?)?;
    same("compensate lane", &delivered, &Vec::from_iter(0..LIMIT))
}

pub(super) async fn backlog(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    let other = Topic::execute("inventory");
    let is = async |waiting: u64, oldest_waiting_ms: Option<i64>, acknowledged: u64, when: &str| {
        let expected = Backlog { waiting, oldest_waiting_ms, acknowledged };
        let check = || async {
            let mut found = fixture.queue.backlog(&topic).await.map_err(unexpected("backlog"))?;
            let is_earlier = found.oldest_waiting_ms.is_some() && found.oldest_waiting_ms < oldest_waiting_ms;
            if is_earlier && !factory.knows_oldest() {
                found.oldest_waiting_ms = oldest_waiting_ms;
            }
            ensure(found == expected, || format!("backlog is {found:?}, expected {expected:?}"))?;
            let found = fixture.queue.depth(&topic).await.map_err(unexpected("depth"))?;
            let agrees = (found.waiting, found.acknowledged) == (waiting, acknowledged);
            ensure(agrees, || format!("depth is {found:?}, expected {expected:?}"))
        };
        fixture.eventually(when, check).await
    };
    is(0, None, 0, "at first").await?;
    fixture.publish(&topic, "workflow", [10, 20, 30]).await?;
    fixture.publish(&other, "workflow", [5]).await?;
    is(3, Some(10), 0, "after three publishes").await?;
    let mut consumer = fixture.consumer(&topic).await?;
    fixture.acknowledge_all(&mut consumer, 1, 1).await?;
    is(2, Some(20), 1, "after one acknowledgement").await?;
    fixture.receive_all(&mut consumer, 2, 2).await?;
    let (waiting, oldest) = if factory.excludes_unacknowledged() { (0, None) } else { (2, Some(20)) };
    is(waiting, oldest, 1, "with two unacknowledged messages").await?;
    fixture.publish(&topic, "workflow", [40]).await?;
    is(waiting + 1, Some(oldest.unwrap_or(40)), 1, "after another publish").await?;
    drop(consumer);
    is(3, Some(20), 1, "after the consumer was dropped").await?;
    let mut consumer = fixture.consumer(&topic).await?;
    fixture.acknowledge_all(&mut consumer, 3, 3).await?;
    is(0, None, 4, "after all acknowledgements").await
}
