//! A consumer waits for what is to come, and may give up waiting at any time.

use std::sync::Arc;
use std::time::Duration;

use super::expect::{Bench, ensure, numbers, same, tags, unexpected};
use super::{Factory, Verdict};
use crate::{Consumer, Delivery, Queue, Topic};

/// Long enough for a consumer to be waiting.
const SETTLED: Duration = Duration::from_millis(50);

pub(super) async fn for_a_publish(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    let mut consumer = bench.consumer(&topic).await?;
    bench.silence(&mut consumer).await?;
    for number in 0..3 {
        let publish = async {
            tokio::time::sleep(SETTLED).await;
            bench.publish(&topic, "workflow", [number]).await
        };
        let (taken, published) = tokio::join!(bench.take(&mut consumer, 10), publish);
        published?;
        let taken = taken.map_err(|found| format!("a consumer that waits was not woken: {found}"))?;
        same("after the wait", &numbers(&taken)?, &[number])?;
        consumer.acknowledge(&tags(&taken)).await.map_err(unexpected("acknowledge"))?;
    }
    Ok(())
}

/// As many as a future that loses one in a hundred can't hide in.
const CANCELLED_AT: u64 = 1_000;

pub(super) async fn cancelled(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    let mut consumer = bench.consumer(&topic).await?;
    let mut cancelled = 0_u32;
    while cancelled < 100 {
        let early = take_or_leave(&mut consumer).await?;
        ensure(early.is_none(), || "something came before anything was published".to_owned())?;
        cancelled += 1;
    }
    let publisher = publish_one_by_one(Arc::clone(&bench.queue), topic.clone());
    let taker = async {
        let mut came = Vec::new();
        while came.len() < usize::try_from(CANCELLED_AT).unwrap_or(usize::MAX) {
            match take_or_leave(&mut consumer).await? {
                Some(taken) => {
                    came.extend(numbers(&taken)?);
                    consumer.acknowledge(&tags(&taken)).await.map_err(unexpected("acknowledge"))?;
                }
                None => cancelled += 1,
            }
        }
        Ok::<_, String>(came)
    };
    // Both arms have an end; the limit is for messages that were lost.
    let both = async { tokio::join!(publisher, taker) };
    let limit = bench.patience * 2;
    let (published, came) = tokio::time::timeout(limit, both)
        .await
        .map_err(|_| "messages were lost when the futures that waited for them were dropped".to_owned())?;
    published?;
    same("with futures dropped in between", &came?, &Vec::from_iter(0..CANCELLED_AT))?;
    bench.silence(&mut consumer).await
}

/// A take that is dropped after being polled a few times.
async fn take_or_leave(consumer: &mut Box<dyn Consumer>) -> Result<Option<Vec<Delivery>>, String> {
    tokio::select! {
        biased;
        taken = consumer.take(3) => Ok(Some(taken.map_err(unexpected("take"))?)),
        // Dropping the take is what this is for.
        () = tokio::task::yield_now() => Ok(None),
    }
}

async fn publish_one_by_one(queue: Arc<dyn Queue>, topic: Topic) -> Verdict {
    for number in 0..CANCELLED_AT {
        let message = super::expect::message("workflow", number);
        queue.publish(&topic, vec![message]).await.map_err(unexpected("publish"))?;
        for _ in 0..number % 5 {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}
