//! Consumers share a topic; topics share nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::expect::{Bench, ensure, message, numbers, same, tags, unexpected};
use super::{Factory, Verdict};
use crate::Topic;

pub(super) async fn two_consumers(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    let mut left = bench.consumer(&topic).await?;
    let mut right = bench.consumer(&topic).await?;
    let all = (0..200).map(|number| message(&format!("workflow-{number}"), number)).collect();
    bench.queue.publish(&topic, all).await.map_err(unexpected("publish"))?;
    // Neither acknowledges, and neither keeps the other from taking.
    let mut came = Vec::new();
    for max in [1, 2, 3, 4, 5, 6, 7, 8] {
        let taken = bench.take(&mut left, max).await.map_err(|found| format!("the one consumer: {found}"))?;
        came.extend(numbers(&taken)?);
        let taken =
            bench.take(&mut right, max).await.map_err(|found| format!("the other consumer: {found}"))?;
        came.extend(numbers(&taken)?);
    }
    if factory.is_log() {
        // A part that moves to the other consumer brings again what was taken of it.
        let mut all: BTreeSet<u64> = came.drain(..).collect();
        while all.len() < 200 {
            let taken = tokio::select! {
                taken = bench.take(&mut left, 50) => taken?,
                taken = bench.take(&mut right, 50) => taken?,
            };
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
