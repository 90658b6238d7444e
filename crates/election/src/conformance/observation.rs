//! The leaders that `observe` and `list` report.

use std::sync::Arc;

use super::expect::{Fixture, ensure, expect_continuation, failed};
use super::{CaseResult, Factory};
use crate::Leader;

pub(super) async fn names(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let relay = fixture.win("relay", "executor-1").await?;
    let timers = fixture.win("timers", "executor-2").await.map_err(|found| format!("with relay, {found}"))?;
    let both = fixture.win("relay/2", "executor-1").await.map_err(|found| format!("with relay, {found}"))?;
    fixture.election.step_down("relay").await.map_err(failed("step_down"))?;
    ensure(!relay.is_valid(), || "relay is valid after its step-down".to_owned())?;
    expect_continuation(&timers).await.map_err(|found| format!("when relay stepped down: {found}"))?;
    timers.resign().await.map_err(failed("resign"))?;
    expect_continuation(&both).await.map_err(|found| format!("when timers resigned: {found}"))
}

pub(super) async fn observed(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    are(&fixture, &[], "at first").await?;
    let timers = fixture.win("timers", "executor-1").await?;
    let relay = fixture.win("relay", "executor-2").await?;
    let (timers_leader, relay_leader) = (timers.leader().clone(), relay.leader().clone());
    for leader in [&timers_leader, &relay_leader] {
        ensure(leader.since_ms > 0, || format!("{} leads since {}", leader.candidate, leader.since_ms))?;
    }
    are(&fixture, &[&relay_leader, &timers_leader], "with two").await?;
    timers.resign().await.map_err(failed("resign"))?;
    are(&fixture, &[&relay_leader], "after one resigned").await?;
    fixture.election.step_down("relay").await.map_err(failed("step_down"))?;
    are(&fixture, &[], "after the other stepped down").await?;
    let next = fixture.win("relay", "executor-3").await?;
    are(&fixture, &[next.leader()], "with a new one").await
}

async fn are(fixture: &Fixture, expected: &[&Leader], when: &str) -> CaseResult {
    let listed = fixture.election.list().await.map_err(failed("list"))?;
    ensure(listed.iter().eq(expected.iter().copied()), || {
        format!("{when}, {listed:?} are listed instead of {expected:?}")
    })?;
    for name in ["relay", "timers", "unheard-of"] {
        let observed = fixture.election.observe(name).await.map_err(failed("observe"))?;
        let leader = expected.iter().copied().find(|leader| leader.name == name);
        ensure(observed.as_ref() == leader, || {
            format!("{when}, {observed:?} is observed instead of {leader:?}")
        })?;
    }
    Ok(())
}
