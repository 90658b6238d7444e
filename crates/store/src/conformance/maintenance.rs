//! Maintenance: the retention and the removal of ended workflows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::{Input, Status, Timestamp};

use super::fixture::{
    Fixture, Flow, NAMESPACE, StartOptions, at, compensated, describe, done, ensure, expect_eq, keyed, order,
    refused, unexpected, unkeyed,
};
use super::lists::all;
use super::{CaseResult, Factory};
use crate::{
    Comparison, Count, Field, Filter, FilterValue, MaintenanceRequest, Retention, Write, WriteOutcome,
};

/// Retention of ended workflows in the cases.
const RETENTION: Duration = Duration::from_secs(24 * 3600);
/// The maximum number of calls that a maintenance of a case may take.
const MAX_CALLS: usize = 64;

/// Runs the maintenance until nothing is left to do. Returns the number of removed workflows.
async fn maintain_all(fixture: &Fixture, now: Timestamp, retention: Option<Duration>) -> Result<u64, String> {
    let mut removed = 0;
    for _ in 0..MAX_CALLS {
        let request = MaintenanceRequest { now, retention: retention.into() };
        let part = fixture.store.maintain(&request).await.map_err(unexpected("maintain"))?;
        removed += part.removed;
        if !part.more {
            return Ok(removed);
        }
    }
    Err(format!("the maintenance did not finish after {MAX_CALLS} calls"))
}

/// Writes a workflow with an idempotency key that completes at `second`.
async fn completed(fixture: &Fixture, key: &str, second: i64) -> Result<Flow, String> {
    let plan = order()?;
    let (mut flow, start) = Flow::start(&plan, StartOptions::default())?;
    fixture.write(vec![keyed(start, key, "digest")]).await?;
    for step in 0..3 {
        fixture.apply(&mut flow, &done(step), at(second)).await?;
    }
    expect_eq("the final status", &flow.state.status(), &Status::Completed)?;
    Ok(flow)
}

pub(super) async fn kept(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let early = completed(&fixture, "early", 10).await?;
    let late = completed(&fixture, "late", 1000).await?;
    let mut open = fixture.start(&order()?).await?;
    let retention_end = at(10).after(RETENTION);
    let just_before = Timestamp(retention_end.0 - 1);
    for (now, retention) in [
        (at(0), Some(RETENTION)),
        (just_before, Some(RETENTION)),
        (retention_end.after(RETENTION * 1000), None),
    ] {
        expect_eq(
            "the number of workflows removed before the end of their retention",
            &maintain_all(&fixture, now, retention).await?,
            &0,
        )?;
        fixture.check_consistency(&early).await?;
    }
    let (_, again) = Flow::start(&early.plan, StartOptions::default())?;
    let outcome = describe(&fixture.outcome(keyed(again, "early", "digest")).await?);
    expect_eq("a duplicate start", &outcome, &format!("replayed {} at {}", early.id(), early.state.seq))?;
    maintain_all(&fixture, retention_end, Some(RETENTION)).await?;
    fixture.check_consistency(&late).await?;
    // A workflow that has not ended is kept at any age and can continue.
    maintain_all(&fixture, at(1000).after(RETENTION * 1000), Some(RETENTION)).await?;
    fixture.check_consistency(&open).await?;
    fixture.apply(&mut open, &done(0), at(2000)).await?;
    fixture.check_consistency(&open).await
}

pub(super) async fn removed(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let expired = completed(&fixture, "key", 10).await?;
    let mut rolled_back = fixture.start(&order()?).await?;
    for input in [done(0), refused(1), compensated(0)] {
        fixture.apply(&mut rolled_back, &input, at(20)).await?;
    }
    let open = fixture.start(&order()?).await?;
    let before = counts(&fixture, Some(Status::Completed)).await?;
    expect_eq(
        "the number of completed workflows before the removal",
        &before,
        &BTreeMap::from([("COMPLETED".to_owned(), 1)]),
    )?;
    maintain_all(&fixture, at(10).after(RETENTION), Some(RETENTION)).await?;
    ensure(fixture.load(expired.id()).await?.is_none(), || "the workflow was not removed".to_owned())?;
    let history = fixture.store.history(expired.id(), 0, 100).await.map_err(unexpected("history"))?;
    expect_eq("the history of a removed workflow", &history, &Vec::new())?;
    let heads = fixture.store.heads(&[expired.id()]).await.map_err(unexpected("heads"))?;
    expect_eq("the heads of a removed workflow", &heads, &Vec::new())?;
    let ids = fixture.store.ids(None, 100).await.map_err(unexpected("ids"))?;
    expect_eq("the ids of the remaining workflows", &ids, &vec![rolled_back.id(), open.id()])?;
    let page = fixture.store.list(&all(NAMESPACE)).await.map_err(unexpected("list"))?;
    let listed: Vec<_> = page.workflows.iter().map(|each| each.id).collect();
    expect_eq("the list of the remaining workflows", &listed, &vec![open.id(), rolled_back.id()])?;
    expect_eq(
        "the number of completed workflows after the removal",
        &counts(&fixture, Some(Status::Completed)).await?,
        &BTreeMap::new(),
    )?;
    let total: u64 = counts(&fixture, None).await?.values().sum();
    expect_eq("the number of remaining workflows", &total, &2)?;
    // Its key can be used again, and inputs for it are rejected.
    let (next, start) = Flow::start(&expired.plan, StartOptions::default())?;
    fixture.write(vec![keyed(start, "key", "another digest")]).await?;
    fixture.check_consistency(&next).await?;
    let (late, _) =
        Flow::start(&expired.plan, StartOptions { id: Some(expired.id()), ..StartOptions::default() })?;
    let (_, late) = late.next(&done(0), at(30))?;
    let outcome = fixture.outcome(Write::Transition(late)).await?;
    ensure(matches!(outcome, WriteOutcome::Missing), || {
        format!("the outcome of a write to a removed workflow: {}", describe(&outcome))
    })?;
    for flow in [&open, &rolled_back, &next] {
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
        // Every tenth workflow does not end.
        for (_, flow) in (0..).zip(&mut flows).filter(|(number, _)| step < 2 || number % 10 != 0) {
            let (next, write) = flow.next(&done(step), at(10))?;
            *flow = next;
            writes.push(Write::Transition(write));
        }
        fixture.write(writes).await?;
    }
    let removed = maintain_all(&fixture, at(10).after(RETENTION), Some(RETENTION)).await?;
    expect_eq("the number of removed workflows", &removed, &450)?;
    let left = BTreeMap::from([("IN_PROGRESS".to_owned(), 50)]);
    expect_eq("the number of remaining workflows", &counts(&fixture, None).await?, &left)?;
    for flow in flows.iter().step_by(10) {
        fixture.check_consistency(flow).await?;
    }
    Ok(())
}

/// Returns the number of workflows of each status, or of one status.
async fn counts(fixture: &Fixture, status: Option<Status>) -> Result<BTreeMap<String, u64>, String> {
    let filter = status.map(|status| {
        Filter::Compare(Field::Status, Comparison::Equal, FilterValue::Text(status.as_str().to_owned()))
    });
    let counts = fixture.store.counts(NAMESPACE, Field::Status, filter.as_ref()).await;
    let counts = counts.map_err(unexpected("counts"))?;
    Ok(counts.into_iter().map(|Count { value, count, .. }| (value, count)).collect())
}

/// Each final status has a retention of its own, and a status without one is kept.
pub(super) async fn kept_by_status(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let mut completed = fixture.start(&plan).await?;
    let mut rolled_back = fixture.start(&plan).await?;
    let mut terminated = fixture.start(&plan).await?;
    for (number, input) in (1..).zip([done(0), done(1), done(2)]) {
        fixture.apply(&mut completed, &input, at(number)).await?;
    }
    fixture.apply(&mut rolled_back, &refused(0), at(3)).await?;
    let terminate = Input::Terminate { actor: None, reason: "a test order".to_owned() };
    fixture.apply(&mut terminated, &terminate, at(3)).await?;
    let retention =
        Retention { completed: Some(RETENTION), rolled_back: Some(RETENTION * 2), terminated: None };
    for (now, expected) in [
        (at(3), [true, true, true]),
        (at(10).after(RETENTION), [false, true, true]),
        (at(10).after(RETENTION * 2), [false, false, true]),
        (at(10).after(RETENTION * 1000), [false, false, true]),
    ] {
        let request = MaintenanceRequest { now, retention };
        for _ in 0..MAX_CALLS {
            let report = fixture.store.maintain(&request).await.map_err(unexpected("maintain"))?;
            if !report.more {
                break;
            }
        }
        for (flow, expected) in [&completed, &rolled_back, &terminated].into_iter().zip(expected) {
            let what = format!("whether the workflow that is {} exists", flow.state.status().as_str());
            expect_eq(&what, &fixture.load(flow.id()).await?.is_some(), &expected)?;
        }
    }
    fixture.check_consistency(&terminated).await
}
