//! What is published comes: all of it, unchanged, in order, and again if nobody said that it arrived.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::expect::{Bench, ensure, message, numbers, same, tags, unexpected};
use super::{Factory, Verdict};
use crate::{DeliveryTag, Message, Topic};

pub(super) async fn nothing_is_lost(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    for service in ["payments", "inventory"] {
        let topic = Topic::execute(service);
        for batch in 0..20 {
            bench.publish(&topic, &format!("workflow-{}", batch % 3), batch * 10..(batch + 1) * 10).await?;
        }
    }
    for service in ["payments", "inventory"] {
        let mut consumer = bench.consumer(&Topic::execute(service)).await?;
        let mut came = numbers(&bench.settle_all(&mut consumer, 200, 17).await?)?;
        came.sort_unstable();
        same(service, &came, &Vec::from_iter(0..200))?;
        bench.silence(&mut consumer).await?;
    }
    Ok(())
}

pub(super) async fn nothing_is_changed(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
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
        bench.queue.publish(&topic, vec![message.clone()]).await.map_err(unexpected("publish"))?;
    }
    let mut consumer = bench.consumer(&topic).await?;
    let deliveries = bench.settle_all(&mut consumer, published.len(), 10).await?;
    for message in published {
        let came = deliveries.iter().any(|delivery| delivery.message == message);
        ensure(came, || format!("{} bytes with key {} were changed", message.payload.len(), message.key))?;
    }
    Ok(())
}

pub(super) async fn order_of_a_key(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    let all: Vec<Message> =
        (0..1000).map(|number| message(&format!("workflow-{}", number % 5), number)).collect();
    for batch in all.chunks(7) {
        bench.queue.publish(&topic, batch.to_vec()).await.map_err(unexpected("publish"))?;
    }
    let mut consumer = bench.consumer(&topic).await?;
    let deliveries = bench.settle_all(&mut consumer, all.len(), 13).await?;
    let mut by_key: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (delivery, number) in deliveries.iter().zip(numbers(&deliveries)?) {
        by_key.entry(&delivery.message.key).or_default().push(number);
    }
    for (key, came) in by_key {
        let fall = came.iter().zip(came.iter().skip(1)).find(|(before, after)| before > after);
        if let Some((before, after)) = fall {
            return Err(format!("of {key} {after} came after {before}"));
        }
    }
    Ok(())
}

pub(super) async fn at_most_max(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    bench.publish(&topic, "workflow", 0..10).await?;
    let mut consumer = bench.consumer(&topic).await?;
    let none = tokio::time::timeout(bench.patience, consumer.take(0)).await;
    let none = none.map_err(|_| "take(0) waits".to_owned())?.map_err(unexpected("take"))?;
    ensure(none.is_empty(), || format!("take(0) gave {}", none.len()))?;
    for max in [1, 3] {
        bench.take(&mut consumer, max).await?;
    }
    Ok(())
}

pub(super) async fn comes_again(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    bench.publish(&topic, "workflow", 0..10).await?;
    let mut first = bench.consumer(&topic).await?;
    let deliveries = bench.take_all(&mut first, 10, 4).await?;
    let marked = deliveries.iter().filter(|delivery| delivery.redelivered).count();
    ensure(marked == 0, || format!("{marked} messages say that they came before"))?;
    let (settled, left): (Vec<_>, Vec<_>) = deliveries
        .into_iter()
        .enumerate()
        .partition(|(place, _)| if factory.is_log() { *place < 4 } else { place % 3 == 0 });
    let settled: Vec<DeliveryTag> = settled.into_iter().map(|(_, delivery)| delivery.tag).collect();
    first.acknowledge(&settled).await.map_err(unexpected("acknowledge"))?;
    let left = numbers(&left.into_iter().map(|(_, delivery)| delivery).collect::<Vec<_>>())?;

    let mut second = bench.consumer(&topic).await?;
    bench.silence(&mut second).await.map_err(|found| format!("while they are held: {found}"))?;
    drop(first);
    let again = bench.settle_all(&mut second, left.len(), 10).await?;
    same("after the consumer was dropped", &numbers(&again)?, &left)?;
    let marked = again.iter().filter(|delivery| delivery.redelivered).count();
    let expected = if factory.is_log() { 0 } else { left.len() };
    ensure(marked == expected, || format!("{marked} of {} say that they came before", left.len()))?;
    drop(second);
    let mut third = bench.consumer(&topic).await?;
    bench.silence(&mut third).await.map_err(|found| format!("after all was acknowledged: {found}"))
}

pub(super) async fn comes_again_in_order(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    bench.publish(&topic, "workflow", 0..10).await?;
    let mut first = bench.consumer(&topic).await?;
    bench.take_all(&mut first, 5, 5).await?;
    bench.publish(&topic, "workflow", 10..15).await?;
    drop(first);
    let mut second = bench.consumer(&topic).await?;
    let again = bench.settle_all(&mut second, 15, 4).await?;
    same("after the consumer was dropped", &numbers(&again)?, &Vec::from_iter(0..15))
}

pub(super) async fn acknowledged_twice(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    bench.publish(&topic, "workflow", 0..4).await?;
    let mut consumer = bench.consumer(&topic).await?;
    let deliveries = bench.settle_all(&mut consumer, 3, 3).await?;
    let held = bench.take_all(&mut consumer, 1, 1).await?;
    for _ in 0..2 {
        consumer.acknowledge(&tags(&deliveries)).await.map_err(unexpected("a second acknowledge"))?;
    }
    let nobodys = DeliveryTag::new(u64::MAX);
    consumer.acknowledge(&[nobodys]).await.map_err(unexpected("acknowledge of what nobody holds"))?;
    drop(consumer);
    let mut next = bench.consumer(&topic).await?;
    let again = bench.settle_all(&mut next, 1, 4).await?;
    same("what was not acknowledged", &numbers(&again)?, &numbers(&held)?)?;
    bench.silence(&mut next).await
}
