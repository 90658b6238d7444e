//! A consumer waits for messages, and waiting can be cancelled.

use super::adapter::{CaseResult, Factory};
use super::fixture::{Fixture, ensure, numbers, same, tags, unexpected};
use crate::{Consumer, Delivery, Topic};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time in which a consumer starts to wait.
const WAIT_TIME: Duration = Duration::from_millis(50);
/// The number of messages: enough to detect an adapter that loses one message in a hundred cancellations.
const MESSAGES: u64 = 1_000;
/// The number of cancellations before the first publish.
const CANCELLATIONS: u32 = 100;

pub(super) async fn waits_for_a_publish(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    let mut consumer = fixture.consumer(&topic).await?;
    fixture.expect_silence(&mut consumer).await?;
    for number in 0..3 {
        let publish = async {
            tokio::time::sleep(WAIT_TIME).await;
            fixture.publish(&topic, "workflow", [number]).await
        };
        let (received, published) = tokio::join!(fixture.receive(&mut consumer, 10), publish);
        published?;
        let received = received.map_err(|found| format!("waiting consumer was not woken: {found}"))?;
        same("after the publish", &numbers(&received)?, &[number])?;
        consumer.acknowledge(&tags(&received)).await.map_err(unexpected("acknowledge"))?;
    }
    Ok(())
}

pub(super) async fn cancelled(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    let mut consumer = fixture.consumer(&topic).await?;
    for _ in 0..CANCELLATIONS {
        let received = receive_or_cancel(&mut consumer).await?;
        ensure(received.is_none(), || "a message was delivered before the first publish".to_owned())?;
    }
    let publisher = publish_one_by_one(&fixture, &topic);
    let receiver = async {
        let (mut delivered, mut last) = (Vec::new(), Instant::now());
        while delivered.len() < usize::try_from(MESSAGES).unwrap_or(usize::MAX) {
            if let Some(received) = receive_or_cancel(&mut consumer).await? {
                delivered.extend(numbers(&received)?);
                consumer.acknowledge(&tags(&received)).await.map_err(unexpected("acknowledge"))?;
                last = Instant::now();
            }
            // The timeout detects lost messages. A slow server delivers each message, but not all of them within it.
            ensure(last.elapsed() < fixture.timeout, || {
                format!(
                    "messages were lost by cancelled calls of receive; {} were delivered",
                    delivered.len()
                )
            })?;
        }
        Ok(delivered)
    };
    let ((), delivered) = tokio::try_join!(publisher, receiver)?;
    same("with cancelled calls of receive", &delivered, &Vec::from_iter(0..MESSAGES))?;
    fixture.expect_silence(&mut consumer).await
}

/// Calls `receive`, and drops its future after a few polls.
async fn receive_or_cancel(consumer: &mut Box<dyn Consumer>) -> Result<Option<Vec<Delivery>>, String> {
    tokio::select! {
        biased;
        received = consumer.receive(3) => Ok(Some(received.map_err(unexpected("receive"))?)),
        // The purpose of this function is to drop the future of `receive`.
        () = tokio::task::yield_now() => Ok(None),
    }
}

async fn publish_one_by_one(fixture: &Fixture, topic: &Topic) -> CaseResult {
    for number in 0..MESSAGES {
        fixture.publish(topic, "workflow", [number]).await?;
        for _ in 0..number % 5 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
