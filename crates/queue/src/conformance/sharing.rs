//! Consumers share a topic; topics share nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::expect::{Bench, ensure, message, numbers, same, tags, unexpected};
use super::{Factory, Verdict};
use crate::Topic;

/// Long enough for a consumer that fetches ahead to have enough.
const FETCHES_AHEAD: Duration = Duration::from_millis(500);

pub(super) async fn two_consumers(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    let mut left = bench.consumer(&topic).await?;
    let mut right = bench.consumer(&topic).await?;
    let all = (0..200).map(|number| message(&format!("workflow-{number}"), number)).collect();
    bench.queue.publish(&topic, all).await.map_err(unexpected("publish"))?;
    // Neither acknowledges, and neither keeps the other from taking.
    let (mut of_left, mut of_right) = (Vec::new(), Vec::new());
    for max in [1, 2, 3, 4, 5, 6, 7, 8] {
        let taken = bench.take(&mut left, max).await.map_err(|found| format!("the one consumer: {found}"))?;
        of_left.extend(taken);
        let taken =
            bench.take(&mut right, max).await.map_err(|found| format!("the other consumer: {found}"))?;
        of_right.extend(taken);
    }
    let mut came = numbers(&of_left)?;
    came.extend(numbers(&of_right)?);
    if factory.fetches_ahead() {
        // One that holds much is given no more before it acknowledges some of it. A part of a log that moves to
        // the other consumer brings again what was taken of it.
        left.acknowledge(&tags(&of_left)).await.map_err(unexpected("acknowledge"))?;
        right.acknowledge(&tags(&of_right)).await.map_err(unexpected("acknowledge"))?;
        let mut all: BTreeSet<u64> = came.drain(..).collect();
        while all.len() < 200 {
            let (taken, by) = tokio::select! {
                taken = bench.take(&mut left, 50) => (taken?, &mut left),
                taken = bench.take(&mut right, 50) => (taken?, &mut right),
            };
            by.acknowledge(&tags(&taken)).await.map_err(unexpected("acknowledge"))?;
            all.extend(numbers(&taken)?);
        }
        return same("both consumers together", &Vec::from_iter(all), &Vec::from_iter(0..200));
    }
    came.extend(numbers(&bench.take_all(&mut left, 200 - came.len(), 50).await?)?);
    came.sort_unstable();
    same("both consumers together", &came, &Vec::from_iter(0..200))?;
    bench.silence(&mut left).await?;
    bench.silence(&mut right).await
}

/// One that fetches ahead stops when it has enough; what it gives up then, and gets back, has to go on.
pub(super) async fn given_up_and_got_back(factory: Arc<dyn Factory>) -> Verdict {
    const MESSAGES: u64 = 4000;
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    let all = (0..MESSAGES).map(|number| message(&format!("workflow-{}", number % 40), number)).collect();
    bench.queue.publish(&topic, all).await.map_err(unexpected("publish"))?;
    let mut behind = bench.consumer(&topic).await?;
    let mut came = BTreeSet::new();
    came.extend(numbers(&bench.take(&mut behind, 1).await?)?);
    tokio::time::sleep(FETCHES_AHEAD).await;
    let mut guest = bench.consumer(&topic).await?;
    bench.take(&mut guest, 50).await.map_err(|found| format!("the guest: {found}"))?;
    guest.leave().await;
    while came.len() < usize::try_from(MESSAGES).unwrap_or(usize::MAX) {
        let taken = bench.take(&mut behind, 100).await;
        let taken = taken.map_err(|found| format!("after {} of {MESSAGES}: {found}", came.len()))?;
        came.extend(numbers(&taken)?);
        behind.acknowledge(&tags(&taken)).await.map_err(unexpected("acknowledge"))?;
    }
    Ok(())
}

pub(super) async fn of_another(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    bench.publish(&topic, "workflow", 0..3).await?;
    let mut holder = bench.consumer(&topic).await?;
    let held = bench.take_all(&mut holder, 3, 3).await?;
    let mut other = bench.consumer(&topic).await?;
    other.acknowledge(&tags(&held)).await.map_err(unexpected("acknowledge of what another holds"))?;
    drop(holder);
    let again = bench.settle_all(&mut other, 3, 3).await?;
    same("what its holder did not acknowledge", &numbers(&again)?, &[0, 1, 2])
}

pub(super) async fn lanes(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topics = [
        Topic::execute("payments"),
        Topic::compensate("payments"),
        Topic::execute("inventory"),
        Topic::compensate("inventory"),
    ];
    for (topic, first) in topics.iter().zip((0..).step_by(10)) {
        bench.publish(topic, "workflow", first..first + 5).await?;
    }
    for (topic, first) in topics.iter().zip((0..).step_by(10)) {
        let mut consumer = bench.consumer(topic).await?;
        let came = numbers(&bench.settle_all(&mut consumer, 5, 5).await?)?;
        same(&topic.to_string(), &came, &Vec::from_iter(first..first + 5))?;
        bench.silence(&mut consumer).await.map_err(|found| format!("{topic}: {found}"))?;
    }
    Ok(())
}

pub(super) async fn has_consumer(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    let undo = Topic::compensate("payments");
    let knows = factory.knows_consumers();
    let is = async |topic: &Topic, expected: bool, when: &str| -> Verdict {
        let found = bench.queue.has_consumer(topic).await.map_err(unexpected("has_consumer"))?;
        // An adapter that can't tell says that somebody consumes.
        ensure(found == (expected || !knows), || format!("{topic} {when}: has a consumer: {found}"))
    };
    is(&topic, false, "at first").await?;
    let first = bench.consumer(&topic).await?;
    let second = bench.consumer(&topic).await?;
    is(&topic, true, "with two").await?;
    is(&undo, false, "while the other lane has").await?;
    drop(first);
    is(&topic, true, "with one of two").await?;
    bench.publish(&topic, "workflow", 0..1).await?;
    drop(second);
    is(&topic, false, "after the last").await?;
    let _third = bench.consumer(&topic).await?;
    is(&topic, true, "with a new one").await
}
