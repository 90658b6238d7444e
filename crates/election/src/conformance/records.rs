//! Who leads what, told to anybody who asks.

use std::sync::Arc;

use super::expect::{Bench, ensure, is_kept, unexpected};
use super::{Factory, Verdict};
use crate::Leader;

pub(super) async fn names(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let relay = bench.wins("relay", "executor-1").await?;
    let timers =
        bench.wins("timers", "executor-2").await.map_err(|found| format!("beside relay, {found}"))?;
    let both = bench.wins("relay/2", "executor-1").await.map_err(|found| format!("beside relay, {found}"))?;
    bench.election.step_down("relay").await.map_err(unexpected("step_down"))?;
    ensure(!relay.is_valid(), || "relay is valid after its step-down".to_owned())?;
    is_kept(&timers).await.map_err(|found| format!("when relay stepped down: {found}"))?;
    timers.resign().await.map_err(unexpected("resign"))?;
    is_kept(&both).await.map_err(|found| format!("when timers resigned: {found}"))
}

pub(super) async fn observed(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    are(&bench, &[], "at first").await?;
    let timers = bench.wins("timers", "executor-1").await?;
    let relay = bench.wins("relay", "executor-2").await?;
    let (timers_leader, relay_leader) = (timers.leader().clone(), relay.leader().clone());
    for leader in [&timers_leader, &relay_leader] {
        ensure(leader.since_ms > 0, || format!("{} leads since {}", leader.candidate, leader.since_ms))?;
    }
    are(&bench, &[&relay_leader, &timers_leader], "with two").await?;
    timers.resign().await.map_err(unexpected("resign"))?;
    are(&bench, &[&relay_leader], "after one resigned").await?;
    bench.election.step_down("relay").await.map_err(unexpected("step_down"))?;
    are(&bench, &[], "after the other stepped down").await?;
    let next = bench.wins("relay", "executor-3").await?;
    are(&bench, &[next.leader()], "with a new one").await
}

async fn are(bench: &Bench, expected: &[&Leader], when: &str) -> Verdict {
    let listed = bench.election.list().await.map_err(unexpected("list"))?;
    ensure(listed.iter().eq(expected.iter().copied()), || {
        format!("{when}, {listed:?} are listed where {expected:?} lead")
    })?;
    for name in ["relay", "timers", "unheard-of"] {
        let observed = bench.election.observe(name).await.map_err(unexpected("observe"))?;
        let leader = expected.iter().copied().find(|leader| leader.name == name);
        ensure(observed.as_ref() == leader, || {
            format!("{when}, {observed:?} is observed where {leader:?} leads")
        })?;
    }
    Ok(())
}
