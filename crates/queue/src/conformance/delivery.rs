//! Published messages are delivered: all of them, unchanged, in order, and again until they are acknowledged.

use super::adapter::{CaseResult, Factory};
use super::fixture::{Fixture, ensure, message, numbers, same, tags, unexpected};
use crate::{DeliveryTag, Message, Topic};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) async fn all_are_delivered(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    for service in ["payments", "inventory"] {
        let topic = Topic::execute(service);
        for batch in 0..20 {
            let numbers = batch * 10..(batch + 1) * 10;
            fixture.publish(&topic, &format!("workflow-{}", batch % 3), numbers).await?;
        }
    }
    for service in ["payments", "inventory"] {
        let mut consumer = fixture.consumer(&Topic::execute(service)).await?;
        let mut delivered = numbers(&fixture.acknowledge_all(&mut consumer, 200, 17).await?)?;
        delivered.sort_unstable();
        same(service, &delivered, &Vec::from_iter(0..200))?;
        fixture.expect_silence(&mut consumer).await?;
    }
    Ok(())
}

pub(super) async fn unchanged(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    let published: Vec<Message> = [
        ("k", Bytes::new(), 0),
        ("k", Bytes::from_static(&[0, 255, 10, 13, 0]), 1_790_000_000_000),
        ("ключ/🔑", Bytes::from_static(b"{}"), 1),
        ("k", Bytes::from(vec![7; 64 * 1024]), -1),
    ]
    .into_iter()
    .map(|(key, payload, published_at_ms)| Message { key: key.to_owned(), payload, published_at_ms })
    .collect();
    for message in &published {
        fixture.queue.publish(&topic, vec![message.clone()]).await.map_err(unexpected("publish"))?;
    }
    let mut consumer = fixture.consumer(&topic).await?;
    let deliveries = fixture.acknowledge_all(&mut consumer, published.len(), 10).await?;
    for message in published {
        let is_delivered = deliveries.iter().any(|delivery| delivery.message == message);
        ensure(is_delivered, || {
            format!("message of {} bytes with key {} was changed", message.payload.len(), message.key)
        })?;
    }
    Ok(())
}

pub(super) async fn order_of_a_key(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    let all: Vec<Message> =
        (0..1000).map(|number| message(&format!("workflow-{}", number % 5), number)).collect();
    for batch in all.chunks(7) {
        fixture.queue.publish(&topic, batch.to_vec()).await.map_err(unexpected("publish"))?;
    }
    let mut consumer = fixture.consumer(&topic).await?;
    let deliveries = fixture.acknowledge_all(&mut consumer, all.len(), 13).await?;
    let mut by_key: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (delivery, number) in deliveries.iter().zip(numbers(&deliveries)?) {
        by_key.entry(&delivery.message.key).or_default().push(number);
    }
    for (key, delivered) in by_key {
        let mut pairs = delivered.iter().zip(delivered.iter().skip(1));
        if let Some((before, after)) = pairs.find(|(before, after)| before > after) {
            return Err(format!("{key}: {after} was delivered after {before}"));
        }
    }
    Ok(())
}

pub(super) async fn at_most_max(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    fixture.publish(&topic, "workflow", 0..10).await?;
    let mut consumer = fixture.consumer(&topic).await?;
    let none = tokio::time::timeout(fixture.timeout, consumer.receive(0)).await;
    let none = none.map_err(|_| "receive(0) waited".to_owned())?.map_err(unexpected("receive"))?;
    ensure(none.is_empty(), || format!("receive(0) returned {} messages", none.len()))?;
    for max in [1, 3] {
        fixture.receive(&mut consumer, max).await?;
    }
    Ok(())
}

pub(super) async fn redelivery(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    fixture.publish(&topic, "workflow", 0..10).await?;
    let mut first = fixture.consumer(&topic).await?;
    let deliveries = fixture.receive_all(&mut first, 10, 4).await?;
    let marked = deliveries.iter().filter(|delivery| delivery.redelivered).count();
    ensure(marked == 0, || format!("{marked} messages are marked as redelivered at first"))?;
    let (acknowledged, rest): (Vec<_>, Vec<_>) = deliveries
        .into_iter()
        .enumerate()
        .partition(|(index, _)| if factory.is_log() { *index < 4 } else { index % 3 == 0 });
    let acknowledged: Vec<DeliveryTag> = acknowledged.into_iter().map(|(_, delivery)| delivery.tag).collect();
    first.acknowledge(&acknowledged).await.map_err(unexpected("acknowledge"))?;
    let rest = numbers(&rest.into_iter().map(|(_, delivery)| delivery).collect::<Vec<_>>())?;

    let mut second = fixture.consumer(&topic).await?;
    let silence = fixture.expect_silence(&mut second).await;
    silence.map_err(|found| format!("before the first consumer was dropped: {found}"))?;
    drop(first);
    let redelivered = fixture.acknowledge_all(&mut second, rest.len(), 10).await?;
    same("after the first consumer was dropped", &numbers(&redelivered)?, &rest)?;
    let marked = redelivered.iter().filter(|delivery| delivery.redelivered).count();
    let expected = if factory.is_log() { 0 } else { rest.len() };
    ensure(marked == expected, || format!("{marked} of {} messages are marked as redelivered", rest.len()))?;
    drop(second);
    let mut third = fixture.consumer(&topic).await?;
    let silence = fixture.expect_silence(&mut third).await;
    silence.map_err(|found| format!("after all messages were acknowledged: {found}"))
}

pub(super) async fn redelivery_order(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    fixture.publish(&topic, "workflow", 0..10).await?;
    let mut first = fixture.consumer(&topic).await?;
    fixture.receive_all(&mut first, 5, 5).await?;
    fixture.publish(&topic, "workflow", 10..15).await?;
    drop(first);
    let mut second = fixture.consumer(&topic).await?;
    let redelivered = fixture.acknowledge_all(&mut second, 15, 4).await?;
    same("after the consumer was dropped", &numbers(&redelivered)?, &Vec::from_iter(0..15))
}

pub(super) async fn repeated_acknowledgement(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let topic = Topic::execute("payments");
    fixture.publish(&topic, "workflow", 0..4).await?;
    let mut consumer = fixture.consumer(&topic).await?;
    let acknowledged = fixture.acknowledge_all(&mut consumer, 3, 3).await?;
    let unacknowledged = fixture.receive_all(&mut consumer, 1, 1).await?;
    for _ in 0..2 {
        consumer.acknowledge(&tags(&acknowledged)).await.map_err(unexpected("repeated acknowledge"))?;
    }
    let unknown = DeliveryTag::new(u64::MAX);
    consumer.acknowledge(&[unknown]).await.map_err(unexpected("acknowledge of an unknown tag"))?;
    drop(consumer);
    let mut next = fixture.consumer(&topic).await?;
    let redelivered = fixture.acknowledge_all(&mut next, 1, 4).await?;
    same("unacknowledged message", &numbers(&redelivered)?, &numbers(&unacknowledged)?)?;
    fixture.expect_silence(&mut next).await
}
