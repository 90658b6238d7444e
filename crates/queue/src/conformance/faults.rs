//! Servers and consumers are killed and paused, and nothing is lost or done twice by it.

use super::expect::{Bench, ensure, message, number, numbers, same, tags, unexpected};
use super::{Breakable, Factory, Verdict};
use crate::{Consumer, Delivery, Queue, Topic};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// More often than any broker delivers a message that nobody acknowledges by itself before it gives up.
const DEATHS: usize = 21;
/// A log does not count them.
const DEATHS_AT_A_LOG: usize = 3;
/// Between tries of what failed.
const PAUSE: Duration = Duration::from_millis(50);

fn bench(factory: &Arc<dyn Factory>, breakable: &Arc<dyn Breakable>) -> Bench {
    Bench { queue: breakable.queue(), patience: factory.patience() }
}

/// A message that comes again has to say so, where the adapter can tell.
fn marked(factory: &Arc<dyn Factory>, again: &[Delivery]) -> Verdict {
    let marked = again.iter().filter(|delivery| delivery.redelivered).count();
    let expected = if factory.is_log() { 0 } else { again.len() };
    ensure(marked == expected, || format!("{marked} of {} say that they came before", again.len()))
}

pub(super) async fn poison(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    bench.publish(&topic, "poison", [0]).await?;
    let deaths = if factory.is_log() { DEATHS_AT_A_LOG } else { DEATHS };
    for death in 0..deaths {
        let mut consumer = bench.consumer(&topic).await?;
        let taken = bench.take(&mut consumer, 1).await;
        let taken = taken.map_err(|found| format!("after {death} deaths: {found}"))?;
        same("what kills", &numbers(&taken)?, &[0])?;
        consumer.leave().await;
    }
    // It holds up nothing.
    bench.publish(&topic, "other", [1]).await?;
    let mut consumer = bench.consumer(&topic).await?;
    let mut came = numbers(&bench.settle_all(&mut consumer, 2, 2).await?)?;
    came.sort_unstable();
    same("at last", &came, &[0, 1])?;
    bench.silence(&mut consumer).await
}

pub(super) async fn killed_consumer(factory: Arc<dyn Factory>) -> Verdict {
    let Some(breakable) = factory.breakable().await? else { return Ok(()) };
    let bench = bench(&factory, &breakable);
    let topic = Topic::execute("payments");
    let mut elsewhere = breakable.elsewhere(&topic).await?;
    bench.publish(&topic, "workflow", 0..6).await?;
    same("the other process", &elsewhere.take(6).await?, &Vec::from_iter(0..6))?;
    elsewhere.kill().await?;
    let mut consumer = bench.consumer(&topic).await?;
    let again = bench.settle_all(&mut consumer, 6, 4).await?;
    same("after the consumer was killed", &numbers(&again)?, &Vec::from_iter(0..6))?;
    marked(&factory, &again)?;
    bench.silence(&mut consumer).await
}

pub(super) async fn paused_consumer(factory: Arc<dyn Factory>) -> Verdict {
    let Some(breakable) = factory.breakable().await? else { return Ok(()) };
    let bench = bench(&factory, &breakable);
    let topic = Topic::execute("payments");
    let mut elsewhere = breakable.elsewhere(&topic).await?;
    bench.publish(&topic, "workflow", 0..3).await?;
    same("the other process", &elsewhere.take(3).await?, &[0, 1, 2])?;
    elsewhere.pause().await?;
    let mut consumer = bench.consumer(&topic).await?;
    let again = bench.settle_all(&mut consumer, 3, 3).await?;
    same("while its holder was paused", &numbers(&again)?, &[0, 1, 2])?;
    marked(&factory, &again)?;
    elsewhere.resume().await?;
    let gone = elsewhere.acknowledge().await?;
    ensure(gone.is_none_or(|gone| gone == 3), || {
        format!("one who was paused was told that {gone:?} of its 3 are another's")
    })?;
    elsewhere.kill().await?;
    drop(consumer);
    let mut last = bench.consumer(&topic).await?;
    bench.silence(&mut last).await.map_err(|found| format!("after all was acknowledged: {found}"))
}

pub(super) async fn killed_server(factory: Arc<dyn Factory>) -> Verdict {
    const SETTLED: u64 = 100;
    const BEFORE: u64 = 200;
    const ALL: u64 = 1200;
    let Some(breakable) = factory.breakable().await? else { return Ok(()) };
    let bench = bench(&factory, &breakable);
    let topic = Topic::execute("payments");
    bench.publish(&topic, "workflow", 0..BEFORE).await?;
    let mut consumer = bench.consumer(&topic).await?;
    bench.settle_all(&mut consumer, usize::try_from(SETTLED).unwrap_or(usize::MAX), 50).await?;
    let publisher =
        tokio::spawn(publish_until_taken_in(Arc::clone(&bench.queue), topic.clone(), BEFORE..ALL));
    tokio::time::sleep(PAUSE).await;
    breakable.crash().await?;
    let published = tokio::time::timeout(bench.patience * 2, publisher).await;
    published
        .map_err(|_| "what was published is not taken in any more".to_owned())?
        .map_err(|e| e.to_string())??;
    let mut left = BTreeSet::from_iter(SETTLED..ALL);
    let mut consumer = Some(consumer);
    while !left.is_empty() {
        let came =
            tokio::time::timeout(bench.patience, take_anyhow(&bench.queue, &topic, &mut consumer)).await;
        let came =
            came.map_err(|_| format!("{} of {} are lost, as {:?}", left.len(), ALL, left.first()))??;
        for number in came {
            ensure(number >= SETTLED, || format!("{number} came again, though it was acknowledged"))?;
            left.remove(&number);
        }
    }
    Ok(())
}

/// Publishes numbers, again where it failed, as the ledger would.
async fn publish_until_taken_in(queue: Arc<dyn Queue>, topic: Topic, all: std::ops::Range<u64>) -> Verdict {
    let all: Vec<_> = all.map(|number| message("workflow", number)).collect();
    for some in all.chunks(20) {
        loop {
            match queue.publish(&topic, some.to_vec()).await {
                Ok(()) => break,
                Err(error) if error.retryable() => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(unexpected("publish")(error)),
            }
        }
    }
    Ok(())
}

/// Takes and acknowledges some, as a new consumer where the old one fails.
async fn take_anyhow(
    queue: &Arc<dyn Queue>,
    topic: &Topic,
    consumer: &mut Option<Box<dyn Consumer>>,
) -> Result<Vec<u64>, String> {
    loop {
        if let Some(current) = consumer {
            if let Ok(taken) = current.take(100).await
                && let Ok(gone) = current.acknowledge(&tags(&taken)).await
            {
                return taken.iter().filter(|each| !gone.contains(&each.tag)).map(number).collect();
            }
            *consumer = None;
        }
        tokio::time::sleep(PAUSE).await;
        match queue.consume(topic).await {
            Ok(another) => *consumer = Some(another),
            Err(error) if error.retryable() => {}
            Err(error) => return Err(unexpected("consume")(error)),
        }
    }
}
