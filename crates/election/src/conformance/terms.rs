//! The start, duration and end of terms.

use std::sync::Arc;

use super::expect::{Fixture, ensure, expect_continuation, failed, poll_once};
use super::{CaseResult, Factory};

pub(super) async fn tokens_increase(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut last = None;
    for term in 0..12 {
        let leadership = fixture.win("relay", &format!("executor-{}", term % 2)).await?;
        let token = leadership.token();
        ensure(last.is_none_or(|last| last < token), || format!("token {token} came after {last:?}"))?;
        last = Some(token);
        // A term of another name must not lower the tokens.
        drop(fixture.win("timers", "executor-0").await?);
        match term % 3 {
            0 => leadership.resign().await.map_err(failed("resign"))?,
            1 => drop(leadership),
            _ => {
                fixture.election.step_down("relay").await.map_err(failed("step_down"))?;
            }
        }
    }
    Ok(())
}

pub(super) async fn lasts_until_end(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let leadership = fixture.win("relay", "executor-1").await?;
    expect_continuation(&leadership).await?;
    fixture.expect_wait("relay", "executor-2").await?;
    // A repeated name of a candidate can belong to another process.
    fixture.expect_wait("relay", "executor-1").await?;
    expect_continuation(&leadership).await?;
    leadership.resign().await.map_err(failed("resign"))?;
    let again = fixture.win("relay", "executor-1").await?;
    expect_continuation(&again).await
}

pub(super) async fn resign(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let first = fixture.win("relay", "executor-1").await?;
    let (token, lost) = (first.token(), [first.lost(), first.lost()]);
    let (second, resigned) = tokio::join!(fixture.win("relay", "executor-2"), first.resign());
    resigned.map_err(failed("resign"))?;
    let second = second.map_err(|found| format!("after a resignation, {found}"))?;
    ensure(token < second.token(), || format!("token {} came after {token}", second.token()))?;
    for lost in lost {
        fixture.expect_end(lost, "after a resignation").await?;
    }
    expect_continuation(&second).await
}

pub(super) async fn drop_term(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let first = fixture.win("relay", "executor-1").await?;
    let (token, lost) = (first.token(), first.lost());
    let (second, ()) = tokio::join!(fixture.win("relay", "executor-2"), async { drop(first) });
    let second = second.map_err(|found| format!("after a drop, {found}"))?;
    ensure(token < second.token(), || format!("token {} came after {token}", second.token()))?;
    fixture.expect_end(lost, "after a drop").await?;
    expect_continuation(&second).await
}

pub(super) async fn step_down(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let without_leader = fixture.election.step_down("relay").await.map_err(failed("step_down"))?;
    ensure(!without_leader, || "a step-down was reported without a leader".to_owned())?;
    let first = fixture.win("relay", "executor-1").await?;
    let lost = first.lost();
    let ended = fixture.election.step_down("relay").await.map_err(failed("step_down"))?;
    ensure(ended, || "a step-down of the leader was not reported".to_owned())?;
    fixture.expect_end(lost, "after a step-down").await?;
    fixture.expect_end(first.lost(), "long after a step-down").await?;
    ensure(!first.is_valid(), || "a term is valid after a step-down".to_owned())?;
    let second = fixture.win("relay", "executor-2").await?;
    ensure(first.token() < second.token(), || {
        format!("token {} came after {}", second.token(), first.token())
    })
}

pub(super) async fn old_and_new(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    for resigns in [true, false] {
        let old = fixture.win("relay", "executor-1").await?;
        fixture.election.step_down("relay").await.map_err(failed("step_down"))?;
        let new = fixture.win("relay", "executor-2").await?;
        if resigns {
            // An adapter may report an error for a late resignation.
            drop(old.resign().await);
        } else {
            drop(old);
        }
        expect_continuation(&new).await.map_err(|found| format!("when the old term was ended: {found}"))?;
        let observed = fixture.observed("relay").await?;
        ensure(observed.as_deref() == Some("executor-2"), || {
            format!("when the old term was ended, {observed:?} is observed")
        })?;
        new.resign().await.map_err(failed("resign"))?;
    }
    Ok(())
}

pub(super) async fn cancelled(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let first = fixture.win("relay", "executor-1").await?;
    for _ in 0..3 {
        fixture.expect_wait("relay", "executor-gone").await?;
    }
    // Cancel this campaign when it is next but has not checked yet.
    let mut late = fixture.election.campaign("relay", "executor-late");
    ensure(poll_once(&mut late).is_none(), || "two candidates lead at once".to_owned())?;
    first.resign().await.map_err(failed("resign"))?;
    tokio::task::yield_now().await;
    drop(late);
    let next = fixture.win("relay", "executor-2").await;
    let next = next.map_err(|found| format!("after cancelled campaigns, {found}"))?;
    expect_continuation(&next).await?;
    next.resign().await.map_err(failed("resign"))?;
    let leader = fixture.observed("relay").await?;
    ensure(leader.is_none(), || format!("{leader:?} leads after its campaign was cancelled"))
}
