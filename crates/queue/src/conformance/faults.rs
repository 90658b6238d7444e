//! Killed and paused servers and consumers cause neither lost nor duplicate messages.

use super::adapter::{Breakable, CaseResult, Factory};
use super::fixture::{Fixture, ensure, message, number, numbers, same, tags, unexpected};
use crate::{Consumer, Delivery, Queue, Topic};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// The number of consumers that a poison message kills. It is more than the default delivery limit of any broker.
const DELIVERIES: usize = 21;
/// The same for a log, which does not count deliveries.
const DELIVERIES_OF_A_LOG: usize = 3;
/// Delay before a failed call is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(50);

fn fixture(factory: &Arc<dyn Factory>, breakable: &Arc<dyn Breakable>) -> Fixture {
    Fixture { queue: breakable.queue(), timeout: factory.timeout() }
}

/// Expects redelivered messages to be marked, if the adapter supports that.
fn expect_marks(factory: &Arc<dyn Factory>, redelivered: &[Delivery]) -> CaseResult {
    let marked = redelivered.iter().filter(|delivery| delivery.redelivered).count();
    let (all, expected) = (redelivered.len(), if factory.is_log() { 0 } else { redelivered.len() });
    ensure(marked == expected, || format!("{marked} of {all} messages are marked as redelivered"))
}

pub(super) async fn poison_message(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    fixture.publish(&topic, "poison", [0]).await?;
    let deliveries = if factory.is_log() { DELIVERIES_OF_A_LOG } else { DELIVERIES };
    for delivery in 0..deliveries {
        let mut consumer = fixture.consumer(&topic).await?;
        let received = fixture.receive(&mut consumer, 1).await;
        let received = received.map_err(|found| format!("after {delivery} deliveries: {found}"))?;
        same("poison message", &numbers(&received)?, &[0])?;
        consumer.close().await;
    }
    // It does not block other messages.
    fixture.publish(&topic, "other", [1]).await?;
    let mut consumer = fixture.consumer(&topic).await?;
    let mut delivered = numbers(&fixture.acknowledge_all(&mut consumer, 2, 2).await?)?;
    delivered.sort_unstable();
    same("after the last delivery", &delivered, &[0, 1])?;
    fixture.expect_silence(&mut consumer).await
}

pub(super) async fn killed_consumer(factory: Arc<dyn Factory>) -> CaseResult {
    let Some(breakable) = factory.breakable().await? else { return Ok(()) };
    let fixture = fixture(&factory, &breakable);
    let topic = Topic::execute("payments");
    let mut remote = breakable.remote_consumer(&topic).await?;
    fixture.publish(&topic, "workflow", 0..6).await?;
    same("remote consumer", &remote.receive(6).await?, &Vec::from_iter(0..6))?;
    remote.kill().await?;
    let mut consumer = fixture.consumer(&topic).await?;
    let redelivered = fixture.acknowledge_all(&mut consumer, 6, 4).await?;
    same("after the consumer was killed", &numbers(&redelivered)?, &Vec::from_iter(0..6))?;
    expect_marks(&factory, &redelivered)?;
    fixture.expect_silence(&mut consumer).await
}

pub(super) async fn paused_consumer(factory: Arc<dyn Factory>) -> CaseResult {
    let Some(breakable) = factory.breakable().await? else { return Ok(()) };
    let fixture = fixture(&factory, &breakable);
    let topic = Topic::execute("payments");
    let mut remote = breakable.remote_consumer(&topic).await?;
    fixture.publish(&topic, "workflow", 0..3).await?;
    same("remote consumer", &remote.receive(3).await?, &[0, 1, 2])?;
    remote.pause().await?;
    let mut consumer = fixture.consumer(&topic).await?;
    let redelivered = fixture.acknowledge_all(&mut consumer, 3, 3).await?;
    same("while the owner was paused", &numbers(&redelivered)?, &[0, 1, 2])?;
    expect_marks(&factory, &redelivered)?;
    remote.resume().await?;
    let lost = remote.acknowledge().await?;
    ensure(lost.is_none_or(|lost| lost == 3), || {
        format!("the paused consumer learned that {lost:?} of 3 messages are lost")
    })?;
    remote.kill().await?;
    drop(consumer);
    let mut last = fixture.consumer(&topic).await?;
    let silence = fixture.expect_silence(&mut last).await;
    silence.map_err(|found| format!("after all messages were acknowledged: {found}"))
}

pub(super) async fn killed_server(factory: Arc<dyn Factory>) -> CaseResult {
    const ACKNOWLEDGED: u64 = 100;
    const PUBLISHED: u64 = 200;
    const ALL: u64 = 1200;
    let Some(breakable) = factory.breakable().await? else { return Ok(()) };
    let fixture = fixture(&factory, &breakable);
    let topic = Topic::execute("payments");
    fixture.publish(&topic, "workflow", 0..PUBLISHED).await?;
    let mut consumer = fixture.consumer(&topic).await?;
    let acknowledged = usize::try_from(ACKNOWLEDGED).unwrap_or(usize::MAX);
    fixture.acknowledge_all(&mut consumer, acknowledged, 50).await?;
    let queue = Arc::clone(&fixture.queue);
    let publisher = tokio::spawn(publish_with_retries(queue, topic.clone(), PUBLISHED..ALL));
    tokio::time::sleep(RETRY_DELAY).await;
    breakable.crash().await?;
    let published = tokio::time::timeout(fixture.timeout * 2, publisher).await;
    published
        .map_err(|_| "publishes do not succeed after the crash".to_owned())?
        .map_err(|error| error.to_string())??;
    let mut missing = BTreeSet::from_iter(ACKNOWLEDGED..ALL);
    let mut consumer = Some(consumer);
    while !missing.is_empty() {
        let receiving = receive_with_retries(&fixture.queue, &topic, &mut consumer);
        let received = tokio::time::timeout(fixture.timeout, receiving).await;
        let received = received.map_err(|_| {
            format!("{} of {ALL} messages are lost; the first is {:?}", missing.len(), missing.first())
        })??;
        for number in received {
            ensure(number >= ACKNOWLEDGED, || format!("acknowledged message {number} was redelivered"))?;
            missing.remove(&number);
        }
    }
    drop(consumer);
    expect_acknowledgement_ends(&fixture, &*breakable, &topic).await
}

/// A consumer whose acknowledgement never ends receives nothing more, not even from another queue.
async fn expect_acknowledgement_ends(
    fixture: &Fixture,
    breakable: &dyn Breakable,
    topic: &Topic,
) -> CaseResult {
    fixture.publish(topic, "workflow", 0..1).await?;
    let mut consumer = fixture.consumer(topic).await?;
    let received = fixture.receive_all(&mut consumer, 1, 1).await?;
    breakable.stop().await?;
    // Whether it succeeds depends on the adapter.
    let ended = tokio::time::timeout(fixture.timeout, consumer.acknowledge(&tags(&received))).await;
    ended.map(drop).map_err(|_| "an acknowledgement without servers does not end".to_owned())
}

/// Publishes numbered messages, and repeats failed publishes like the ledger.
async fn publish_with_retries(
    queue: Arc<dyn Queue>,
    topic: Topic,
    numbers: std::ops::Range<u64>,
) -> CaseResult {
    let all: Vec<_> = numbers.map(|number| message("workflow", number)).collect();
    for batch in all.chunks(20) {
        loop {
            match queue.publish(&topic, batch.to_vec()).await {
                Ok(()) => break,
                Err(error) if error.is_retryable() => tokio::time::sleep(RETRY_DELAY).await,
                Err(error) => return Err(unexpected("publish")(error)),
            }
        }
    }
    Ok(())
}

/// Receives and acknowledges messages. Replaces a consumer that fails.
async fn receive_with_retries(
    queue: &Arc<dyn Queue>,
    topic: &Topic,
    consumer: &mut Option<Box<dyn Consumer>>,
) -> Result<Vec<u64>, String> {
    loop {
        if let Some(current) = consumer {
            if let Ok(received) = current.receive(100).await
                && let Ok(lost) = current.acknowledge(&tags(&received)).await
            {
                return received.iter().filter(|each| !lost.contains(&each.tag)).map(number).collect();
            }
            *consumer = None;
        }
        tokio::time::sleep(RETRY_DELAY).await;
        match queue.consume(topic).await {
            Ok(replacement) => *consumer = Some(replacement),
            Err(error) if error.is_retryable() => {}
            Err(error) => return Err(unexpected("consume")(error)),
        }
    }
}
