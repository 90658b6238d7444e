//! What is kept, and what is removed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::{Status, Timestamp};

use super::fixture::{
    Fixture, Flow, NAMESPACE, StartOptions, at, compensated, describe, done, ensure, expect_eq, keyed, order,
    refused, unexpected, unkeyed,
};
use super::lists::all;
use super::{CaseResult, Factory};
use crate::{Comparison, Count, Field, Filter, FilterValue, MaintenanceRequest, Write, WriteOutcome};

/// How long the cases keep what has ended.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// A part of an upkeep is no more than this, in workflows.
const PARTS: usize = 64;

/// All that there is to do at a time; how many were removed.
async fn kept_up(fixture: &Fixture, now: Timestamp, keep: Option<Duration>) -> Result<u64, String> {
    let mut removed = 0;
    for _ in 0..PARTS {
        let request = MaintenanceRequest { now, retention: keep };
        let part = fixture.store.maintain(&request).await.map_err(unexpected("maintain"))?;
        removed += part.removed;
        if !part.more {
            return Ok(removed);
        }
    }
    Err(format!("an upkeep is not through after {PARTS} parts"))
}

/// A workflow that was started with a key, and ended at that second.
async fn ended(fixture: &Fixture, key: &str, second: i64) -> Result<Flow, String> {
    let plan = order()?;
    let (mut flow, start) = Flow::start(&plan, StartOptions::default())?;
    fixture.write(vec![keyed(start, key, "digest")]).await?;
    for step in 0..3 {
        fixture.apply(&mut flow, &done(step), at(second)).await?;
    }
    expect_eq("how it ended", &flow.state.status(), &Status::Completed)?;
    Ok(flow)
}

pub(super) async fn kept(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let early = ended(&fixture, "early", 10).await?;
    let late = ended(&fixture, "late", 1000).await?;
    let mut open = fixture.start(&order()?).await?;
    let over = at(10).after(KEEP);
    let just_before = Timestamp(over.0 - 1);
    for (now, keep) in [(at(0), Some(KEEP)), (just_before, Some(KEEP)), (over.after(KEEP * 1000), None)] {
        expect_eq("what is removed before its time", &kept_up(&fixture, now, keep).await?, &0)?;
        fixture.check_consistency(&early).await?;
    }
    let (_, again) = Flow::start(&early.plan, StartOptions::default())?;
    let outcome = describe(&fixture.outcome(keyed(again, "early", "digest")).await?);
    expect_eq("a repeat", &outcome, &format!("replayed {} at {}", early.id(), early.state.seq))?;
    kept_up(&fixture, over, Some(KEEP)).await?;
    fixture.check_consistency(&late).await?;
    // Whatever its age, what has not ended stays, and goes on.
    kept_up(&fixture, at(1000).after(KEEP * 1000), Some(KEEP)).await?;
    fixture.check_consistency(&open).await?;
    fixture.apply(&mut open, &done(0), at(2000)).await?;
    fixture.check_consistency(&open).await
}

pub(super) async fn removed(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let gone = ended(&fixture, "key", 10).await?;
    let mut undone_one = fixture.start(&order()?).await?;
    for input in [done(0), refused(1), compensated(0)] {
        fixture.apply(&mut undone_one, &input, at(20)).await?;
    }
    let open = fixture.start(&order()?).await?;
    let stays = counts(&fixture, Some(Status::Completed)).await?;
    expect_eq("how many have completed", &stays, &BTreeMap::from([("COMPLETED".to_owned(), 1)]))?;
    kept_up(&fixture, at(10).after(KEEP), Some(KEEP)).await?;
    ensure(fixture.load(gone.id()).await?.is_none(), || "it is still there".to_owned())?;
    let history = fixture.store.history(gone.id(), 0, 100).await.map_err(unexpected("history"))?;
    expect_eq("the history of one that was removed", &history, &Vec::new())?;
    let seen = fixture.store.heads(&[gone.id()]).await.map_err(unexpected("heads"))?;
    expect_eq("who is seen of those that were removed", &seen, &Vec::new())?;
    let ids = fixture.store.ids(None, 100).await.map_err(unexpected("ids"))?;
    expect_eq("who is left", &ids, &vec![undone_one.id(), open.id()])?;
    let page = fixture.store.list(&all(NAMESPACE)).await.map_err(unexpected("list"))?;
    let listed: Vec<_> = page.workflows.iter().map(|each| each.id).collect();
    expect_eq("who is listed", &listed, &vec![open.id(), undone_one.id()])?;
    expect_eq(
        "how many have completed and are left",
        &counts(&fixture, Some(Status::Completed)).await?,
        &BTreeMap::new(),
    )?;
    let total: u64 = counts(&fixture, None).await?.values().sum();
    expect_eq("how many are left", &total, &2)?;
    // Its key is another's now, and its news are nobody's.
    let (next, start) = Flow::start(&gone.plan, StartOptions::default())?;
    fixture.write(vec![keyed(start, "key", "another digest")]).await?;
    fixture.check_consistency(&next).await?;
    let (late, _) = Flow::start(&gone.plan, StartOptions { id: Some(gone.id()), ..StartOptions::default() })?;
    let (_, late) = late.next(&done(0), at(30))?;
    let outcome = fixture.outcome(Write::Transition(late)).await?;
    ensure(matches!(outcome, WriteOutcome::Missing), || {
        format!("news of one that is gone: {}", describe(&outcome))
    })?;
    for flow in [&open, &undone_one, &next] {
        fixture.check_consistency(flow).await?;
    }
    Ok(())
}

pub(super) async fn in_parts(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (mut flows, mut starts) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        let (flow, start) = Flow::start(&plan, StartOptions::default())?;
        flows.push(flow);
        starts.push(unkeyed(start));
    }
    fixture.write(starts).await?;
    for step in 0..3 {
        let mut writes = Vec::new();
        // Every tenth never ends.
        for (_, flow) in (0..).zip(&mut flows).filter(|(number, _)| step < 2 || number % 10 != 0) {
            let (next, write) = flow.next(&done(step), at(10))?;
            *flow = next;
            writes.push(Write::Transition(write));
        }
        fixture.write(writes).await?;
    }
    let removed = kept_up(&fixture, at(10).after(KEEP), Some(KEEP)).await?;
    expect_eq("how many were removed", &removed, &450)?;
    let left = BTreeMap::from([("IN_PROGRESS".to_owned(), 50)]);
    expect_eq("how many are left", &counts(&fixture, None).await?, &left)?;
    for flow in flows.iter().step_by(10) {
        fixture.check_consistency(flow).await?;
    }
    Ok(())
}

/// How many there are of each status, of one or of all.
async fn counts(fixture: &Fixture, status: Option<Status>) -> Result<BTreeMap<String, u64>, String> {
    let filter = status.map(|status| {
        Filter::Compare(Field::Status, Comparison::Equal, FilterValue::Text(status.as_str().to_owned()))
    });
    let counts = fixture.store.counts(NAMESPACE, Field::Status, filter.as_ref()).await;
    let counts = counts.map_err(unexpected("counts"))?;
    Ok(counts.into_iter().map(|Count { value, count, .. }| (value, count)).collect())
}
