//! What is kept, and what is removed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::{Status, Timestamp};

use super::bench::{
    Bench, Flow, Given, NAMESPACE, at, done, ensure, keyed, order, refused, said, same, undone, unexpected,
    unkeyed,
};
use super::lists::all;
use super::{Factory, Verdict};
use crate::{Comparison, Count, Field, Filter, FilterValue, MaintenanceRequest, Write, WriteOutcome};

/// How long the cases keep what has ended.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// A part of an upkeep is no more than this, in workflows.
const PARTS: usize = 64;

/// All that there is to do at a time; how many were removed.
async fn kept_up(bench: &Bench, now: Timestamp, keep: Option<Duration>) -> Result<u64, String> {
    let mut removed = 0;
    for _ in 0..PARTS {
        let request = MaintenanceRequest { now, retention: keep };
        let part = bench.store.maintain(&request).await.map_err(unexpected("upkeep"))?;
        removed += part.removed;
        if !part.more {
            return Ok(removed);
        }
    }
    Err(format!("an upkeep is not through after {PARTS} parts"))
}

/// A workflow that was started with a key, and ended at that second.
async fn ended(bench: &Bench, key: &str, second: i64) -> Result<Flow, String> {
    let plan = order()?;
    let (mut flow, start) = Flow::start(&plan, Given::default())?;
    bench.write(vec![keyed(start, key, "digest")]).await?;
    for step in 0..3 {
        bench.news(&mut flow, &done(step), at(second)).await?;
    }
    same("how it ended", &flow.state.status(), &Status::Completed)?;
    Ok(flow)
}

pub(super) async fn kept(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let early = ended(&bench, "early", 10).await?;
    let late = ended(&bench, "late", 1000).await?;
    let mut open = bench.begin(&order()?).await?;
    let over = at(10).after(KEEP);
    let just_before = Timestamp(over.0 - 1);
    for (now, keep) in [(at(0), Some(KEEP)), (just_before, Some(KEEP)), (over.after(KEEP * 1000), None)] {
        same("what is removed before its time", &kept_up(&bench, now, keep).await?, &0)?;
        bench.whole(&early).await?;
    }
    let (_, again) = Flow::start(&early.plan, Given::default())?;
    let outcome = said(&bench.outcome(keyed(again, "early", "digest")).await?);
    same("a repeat", &outcome, &format!("replayed {} at {}", early.id(), early.state.seq))?;
    kept_up(&bench, over, Some(KEEP)).await?;
    bench.whole(&late).await?;
    // Whatever its age, what has not ended stays, and goes on.
    kept_up(&bench, at(1000).after(KEEP * 1000), Some(KEEP)).await?;
    bench.whole(&open).await?;
    bench.news(&mut open, &done(0), at(2000)).await?;
    bench.whole(&open).await
}

pub(super) async fn removed(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let gone = ended(&bench, "key", 10).await?;
    let mut undone_one = bench.begin(&order()?).await?;
    for input in [done(0), refused(1), undone(0)] {
        bench.news(&mut undone_one, &input, at(20)).await?;
    }
    let open = bench.begin(&order()?).await?;
    let stays = counts(&bench, Some(Status::Completed)).await?;
    same("how many have completed", &stays, &BTreeMap::from([("COMPLETED".to_owned(), 1)]))?;
    kept_up(&bench, at(10).after(KEEP), Some(KEEP)).await?;
    ensure(bench.load(gone.id()).await?.is_none(), || "it is still there".to_owned())?;
    let history = bench.store.history(gone.id(), 0, 100).await.map_err(unexpected("history"))?;
    same("the history of one that was removed", &history, &Vec::new())?;
    let seen = bench.store.heads(&[gone.id()]).await.map_err(unexpected("seen"))?;
    same("who is seen of those that were removed", &seen, &Vec::new())?;
    let ids = bench.store.ids(None, 100).await.map_err(unexpected("ids"))?;
    same("who is left", &ids, &vec![undone_one.id(), open.id()])?;
    let page = bench.store.list(&all(NAMESPACE)).await.map_err(unexpected("list"))?;
    let listed: Vec<_> = page.workflows.iter().map(|each| each.id).collect();
    same("who is listed", &listed, &vec![open.id(), undone_one.id()])?;
    same(
        "how many have completed and are left",
        &counts(&bench, Some(Status::Completed)).await?,
        &BTreeMap::new(),
    )?;
    let total: u64 = counts(&bench, None).await?.values().sum();
    same("how many are left", &total, &2)?;
    // Its key is another's now, and its news are nobody's.
    let (next, start) = Flow::start(&gone.plan, Given::default())?;
    bench.write(vec![keyed(start, "key", "another digest")]).await?;
    bench.whole(&next).await?;
    let (late, _) = Flow::start(&gone.plan, Given { id: Some(gone.id()), ..Given::default() })?;
    let (_, late) = late.next(&done(0), at(30))?;
    let outcome = bench.outcome(Write::Transition(late)).await?;
    ensure(matches!(outcome, WriteOutcome::Missing), || {
        format!("news of one that is gone: {}", said(&outcome))
    })?;
    for flow in [&open, &undone_one, &next] {
        bench.whole(flow).await?;
    }
    Ok(())
}

pub(super) async fn in_parts(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let (mut flows, mut starts) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        let (flow, start) = Flow::start(&plan, Given::default())?;
        flows.push(flow);
        starts.push(unkeyed(start));
    }
    bench.write(starts).await?;
    for step in 0..3 {
        let mut writes = Vec::new();
        // Every tenth never ends.
        for (_, flow) in (0..).zip(&mut flows).filter(|(number, _)| step < 2 || number % 10 != 0) {
            let (next, write) = flow.next(&done(step), at(10))?;
            *flow = next;
            writes.push(Write::Transition(write));
        }
        bench.write(writes).await?;
    }
    let removed = kept_up(&bench, at(10).after(KEEP), Some(KEEP)).await?;
    same("how many were removed", &removed, &450)?;
    let left = BTreeMap::from([("IN_PROGRESS".to_owned(), 50)]);
    same("how many are left", &counts(&bench, None).await?, &left)?;
    for flow in flows.iter().step_by(10) {
        bench.whole(flow).await?;
    }
    Ok(())
}

/// How many there are of each status, of one or of all.
async fn counts(bench: &Bench, status: Option<Status>) -> Result<BTreeMap<String, u64>, String> {
    let filter = status.map(|status| {
        Filter::Compare(Field::Status, Comparison::Equal, FilterValue::Text(status.as_str().to_owned()))
    });
    let counts = bench.store.counts(NAMESPACE, Field::Status, filter.as_ref()).await;
    let counts = counts.map_err(unexpected("counts"))?;
    Ok(counts.into_iter().map(|Count { value, count, .. }| (value, count)).collect())
}
