//! Statistics: the figures about all workflows, without reading them.

use std::collections::BTreeMap;
use std::sync::Arc;

use goconductor_saga::{Failure, Outcome, Plan, Side, Status, Timestamp};

use super::fixture::{
    Fixture, Flow, NAMESPACE, StartOptions, at, compensated, definition, done, expect_eq, lanes, order,
    parallel, pause, plan_of, publishing, refused, report, step, unexpected, unkeyed,
};
use super::{CaseResult, Factory};
use crate::maintenance::started_at;
use crate::{DeadLetter, LaneStatistics};

/// Returns a chain of two steps, whose first compensation has one attempt.
fn fragile() -> Result<Arc<Plan>, String> {
    let mut first = step("reserve", "stock", &[]);
    if let Some(compensation) = &mut first.compensate {
        compensation.retry.max_attempts = Some(1);
    }
    plan_of(definition("fragile", vec![first, step("charge", "payments", &[0])]))
}

pub(super) async fn matching(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let Some(empty) = fixture.store.statistics(at(0)).await.map_err(unexpected("statistics"))? else {
        return Ok(()); // another process has the database
    };
    expect_eq("the statistics of an empty store", &empty, &Default::default())?;
    let mut paused = fixture.start(&order()?).await?;
    fixture.apply(&mut paused, &pause(), at(1)).await?;
    let mut failed = fixture.start(&fragile()?).await?;
    let failure = report(0, Side::Compensate, 1, Outcome::Refused { failure: Failure::of("NO", "never") });
    for input in [done(0), refused(1), failure] {
        fixture.apply(&mut failed, &input, at(1)).await?;
    }
    expect_eq("the status after a failed compensation", &failed.state.status(), &Status::Error)?;
    let running = fixture.start(&order()?).await?;
    let mut rolling_back = fixture.start(&order()?).await?;
    for input in [done(0), refused(1)] {
        fixture.apply(&mut rolling_back, &input, at(20)).await?;
    }
    let mut completed = fixture.start(&parallel(1, "work")?).await?;
    fixture.apply(&mut completed, &done(0), at(1)).await?;
    let mut rolled_back = fixture.start(&order()?).await?;
    for input in [done(0), refused(1), compensated(0)] {
        fixture.apply(&mut rolled_back, &input, at(1)).await?;
    }
    let other = StartOptions { namespace: "other".to_owned(), ..StartOptions::default() };
    let other = fixture.start_with(&order()?, other).await?;
    check_workflows(&fixture, started_at(running.id()), started_at(other.id())).await?;
    check_lanes(&fixture).await?;
    check_dead_letters(&fixture).await
}

async fn check_workflows(fixture: &Fixture, oldest: Timestamp, other: Timestamp) -> CaseResult {
    let found = fixture.store.statistics(at(5)).await.map_err(unexpected("statistics"))?.unwrap_or_default();
    let namespace = found.namespaces.get(NAMESPACE).cloned().unwrap_or_default();
    let counts: BTreeMap<&str, u64> =
        namespace.workflows.iter().map(|(status, count)| (status.as_str(), *count)).collect();
    let counts: BTreeMap<&str, u64> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
    let expected = BTreeMap::from([
        ("COMPLETED", 1),
        ("ERROR", 1),
        ("IN_PROGRESS", 1),
        ("PAUSED", 1),
        ("ROLLED_BACK", 1),
        ("ROLLING_BACK", 1),
    ]);
    expect_eq("the number of workflows by status", &counts, &expected)?;
    expect_eq("the number of failed rollbacks", &namespace.failed_rollbacks, &1)?;
    expect_eq("the start of the oldest running workflow", &namespace.oldest_running, &Some(oldest))?;
    let namespace = found.namespaces.get("other").cloned().unwrap_or_default();
    expect_eq("the oldest running workflow of another namespace", &namespace.oldest_running, &Some(other))
}

/// The ledger has an execute of `stock` in two namespaces and a compensation of `stock`, and rows that are never due.
async fn check_lanes(fixture: &Fixture) -> CaseResult {
    let lanes_at = async |now| {
        let found = fixture.store.statistics(now).await.map_err(unexpected("statistics"))?;
        let all = found.unwrap_or_default().lanes;
        Ok::<_, String>(all.into_iter().filter(|(_, lane)| lane.overdue > 0).collect::<BTreeMap<_, _>>())
    };
    let due = |overdue, second| LaneStatistics { overdue, oldest_due: Some(at(second)) };
    let lane = |name: &str, figures| (name.to_owned(), figures);
    expect_eq(
        "the due rows of each lane",
        &lanes_at(at(30)).await?,
        &BTreeMap::from([
            lane("default/stock/compensate", due(1, 20)),
            lane("default/stock/execute", due(1, 0)),
            lane("other/stock/execute", due(1, 0)),
        ]),
    )?;
    let claimed = fixture.claim(&lanes(&["stock"], at(30))).await?;
    expect_eq("the number of claimed rows", &claimed.len(), &1)?;
    let (flow, start) = Flow::start(&order()?, StartOptions { now: at(40), ..Default::default() })?;
    fixture.write(vec![unkeyed(publishing(start))]).await?;
    expect_eq("the status of a published workflow", &flow.state.status(), &Status::Queued)?;
    expect_eq(
        "the due rows of a lane after deliveries",
        &lanes_at(at(41)).await?.get("default/stock/execute").copied(),
        &Some(due(1, 35)),
    )
}

async fn check_dead_letters(fixture: &Fixture) -> CaseResult {
    let letter = DeadLetter {
        id: "1".to_owned(),
        topic: "topic".to_owned(),
        key: "key".to_owned(),
        payload: b"garbage".to_vec(),
        reason: "the message is not valid".to_owned(),
        at: at(1),
    };
    fixture.store.put_dead_letters(&[letter]).await.map_err(unexpected("put_dead_letters"))?;
    let found = fixture.store.statistics(at(5)).await.map_err(unexpected("statistics"))?;
    expect_eq("the number of dead letters", &found.unwrap_or_default().dead_letters, &1)
}
