//! A topic holds so much and no more, and says how much.

use std::sync::Arc;

use super::expect::{Bench, ensure, message, numbers, same, unexpected};
use super::{Factory, Verdict};
use crate::{Backlog, ErrorKind, Topic};

const ROOM: u64 = 10;

async fn bounded(factory: &Arc<dyn Factory>) -> Result<Option<Bench>, String> {
    Bench::bounded(factory, usize::try_from(ROOM).unwrap_or(usize::MAX)).await
}

async fn is_refused(bench: &Bench, topic: &Topic, numbers: std::ops::Range<u64>) -> Verdict {
    let messages = numbers.map(|number| message("workflow", number)).collect();
    match bench.queue.publish(topic, messages).await {
        Ok(()) => Err("a topic took more than it holds".to_owned()),
        Err(error) => {
            let kind = error.kind();
            ensure(kind == ErrorKind::Full && error.retryable(), || format!("a full topic said: {error}"))
        }
    }
}

pub(super) async fn refuses_whole(factory: Arc<dyn Factory>) -> Verdict {
    let Some(bench) = bounded(&factory).await? else { return Ok(()) };
    let topic = Topic::execute("payments");
    bench.publish(&topic, "workflow", 0..8).await?;
    is_refused(&bench, &topic, 8..11).await?;
    let eight = || async {
        let waiting = bench.queue.backlog(&topic).await.map_err(unexpected("backlog"))?.waiting;
        ensure(waiting == 8, || format!("{waiting} wait after 8 were taken in and 3 refused"))
    };
    bench.becomes("a little later", eight).await?;
    bench.publish(&topic, "workflow", 8..10).await.map_err(|found| format!("up to the limit: {found}"))?;
    is_refused(&bench, &topic, 10..11).await?;
    bench.publish(&Topic::execute("inventory"), "workflow", 0..ROOM).await?;

    let mut consumer = bench.consumer(&topic).await?;
    let came = numbers(&bench.settle_all(&mut consumer, 10, 3).await?)?;
    same("what was taken in", &came, &Vec::from_iter(0..10))?;
    // That it has room again may be heard a little later.
    let again = || bench.publish(&topic, "workflow", 10..20);
    bench.becomes("after draining", again).await?;
    let came = numbers(&bench.settle_all(&mut consumer, 10, 10).await?)?;
    same("after draining", &came, &Vec::from_iter(10..20))?;
    bench.silence(&mut consumer).await
}

pub(super) async fn undo_has_room(factory: Arc<dyn Factory>) -> Verdict {
    let Some(bench) = bounded(&factory).await? else { return Ok(()) };
    let (start, undo) = (Topic::execute("payments"), Topic::compensate("payments"));
    bench.publish(&start, "workflow", 0..ROOM).await?;
    is_refused(&bench, &start, ROOM..ROOM + 1).await?;
    bench.publish(&undo, "workflow", 0..ROOM).await.map_err(|found| format!("the lane of undo: {found}"))?;
    let mut consumer = bench.consumer(&undo).await?;
    let came = numbers(&bench.settle_all(&mut consumer, 10, 10).await?)?;
    same("the lane of undo", &came, &Vec::from_iter(0..ROOM))
}

pub(super) async fn backlog(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let topic = Topic::execute("payments");
    let other = Topic::execute("inventory");
    let is = async |waiting: u64, oldest_waiting_ms: Option<i64>, taken: u64, when: &str| -> Verdict {
        let expected = Backlog { waiting, oldest_waiting_ms, taken };
        let look = || async {
            let mut found = bench.queue.backlog(&topic).await.map_err(unexpected("backlog"))?;
            let earlier = found.oldest_waiting_ms.is_some() && found.oldest_waiting_ms < oldest_waiting_ms;
            if earlier && !factory.knows_oldest() {
                found.oldest_waiting_ms = oldest_waiting_ms;
            }
            ensure(found == expected, || format!("{found:?}, {expected:?} was expected"))?;
            let found = bench.queue.depth(&topic).await.map_err(unexpected("depth"))?;
            let agrees = (found.waiting, found.taken) == (waiting, taken);
            ensure(agrees, || format!("{found:?} was its depth, {expected:?} its backlog"))
        };
        bench.becomes(when, look).await
    };
    is(0, None, 0, "at first").await?;
    bench.publish(&topic, "workflow", [10, 20, 30]).await?;
    bench.publish(&other, "workflow", [5]).await?;
    is(3, Some(10), 0, "after three").await?;
    let mut consumer = bench.consumer(&topic).await?;
    bench.settle_all(&mut consumer, 1, 1).await?;
    is(2, Some(20), 1, "after one was taken").await?;
    bench.take_all(&mut consumer, 2, 2).await?;
    let taken = if factory.tells_taken() { (0, None) } else { (2, Some(20)) };
    is(taken.0, taken.1, 1, "after the others were taken and not acknowledged").await?;
    bench.publish(&topic, "workflow", [40]).await?;
    is(taken.0 + 1, Some(taken.1.unwrap_or(40)), 1, "after one more").await?;
    drop(consumer);
    is(3, Some(20), 1, "after they were given back").await?;
    let mut consumer = bench.consumer(&topic).await?;
    bench.settle_all(&mut consumer, 3, 3).await?;
    is(0, None, 4, "at last").await
}
