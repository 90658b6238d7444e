//! Terms begin, last and end.

use std::sync::Arc;

use super::expect::{Bench, ensure, is_kept, poll_once, unexpected};
use super::{Factory, Verdict};

pub(super) async fn tokens_rise(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let mut last = None;
    for term in 0..12 {
        let leadership = bench.wins("relay", &format!("executor-{}", term % 2)).await?;
        let token = leadership.token();
        ensure(last.is_none_or(|last| last < token), || format!("token {token} came after {last:?}"))?;
        last = Some(token);
        // A name in between must not take them down.
        drop(bench.wins("timers", "executor-0").await?);
        match term % 3 {
            0 => leadership.resign().await.map_err(unexpected("resign"))?,
            1 => drop(leadership),
            _ => {
                bench.election.step_down("relay").await.map_err(unexpected("step_down"))?;
            }
        }
    }
    Ok(())
}

pub(super) async fn lasts(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let leadership = bench.wins("relay", "executor-1").await?;
    is_kept(&leadership).await?;
    bench.waits("relay", "executor-2").await?;
    // The same candidate is no exception: it may be another process that took its name.
    bench.waits("relay", "executor-1").await?;
    is_kept(&leadership).await?;
    leadership.resign().await.map_err(unexpected("resign"))?;
    let again = bench.wins("relay", "executor-1").await?;
    is_kept(&again).await
}

pub(super) async fn resign(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let first = bench.wins("relay", "executor-1").await?;
    let (token, lost) = (first.token(), [first.lost(), first.lost()]);
    let (second, resigned) = tokio::join!(bench.wins("relay", "executor-2"), first.resign());
    resigned.map_err(unexpected("resign"))?;
    let second = second.map_err(|found| format!("after a resignation, {found}"))?;
    ensure(token < second.token(), || format!("token {} came after {token}", second.token()))?;
    for lost in lost {
        bench.is_told(lost, "after a resignation").await?;
    }
    is_kept(&second).await
}

pub(super) async fn drop_it(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let first = bench.wins("relay", "executor-1").await?;
    let (token, lost) = (first.token(), first.lost());
    let (second, ()) = tokio::join!(bench.wins("relay", "executor-2"), async { drop(first) });
    let second = second.map_err(|found| format!("after a drop, {found}"))?;
    ensure(token < second.token(), || format!("token {} came after {token}", second.token()))?;
    bench.is_told(lost, "after a drop").await?;
    is_kept(&second).await
}

pub(super) async fn step_down(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let nobody = bench.election.step_down("relay").await.map_err(unexpected("step_down"))?;
    ensure(!nobody, || "somebody stepped down where nobody led".to_owned())?;
    let first = bench.wins("relay", "executor-1").await?;
    let lost = first.lost();
    let somebody = bench.election.step_down("relay").await.map_err(unexpected("step_down"))?;
    ensure(somebody, || "nobody stepped down where somebody led".to_owned())?;
    bench.is_told(lost, "after a step-down").await?;
    bench.is_told(first.lost(), "long after a step-down").await?;
    ensure(!first.is_valid(), || "a term is valid after a step-down".to_owned())?;
    let second = bench.wins("relay", "executor-2").await?;
    ensure(first.token() < second.token(), || {
        format!("token {} came after {}", second.token(), first.token())
    })
}

pub(super) async fn old_and_new(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    for resigns in [true, false] {
        let old = bench.wins("relay", "executor-1").await?;
        bench.election.step_down("relay").await.map_err(unexpected("step_down"))?;
        let new = bench.wins("relay", "executor-2").await?;
        if resigns {
            // Whether it is an error to resign too late is the adapter's choice.
            drop(old.resign().await);
        } else {
            drop(old);
        }
        is_kept(&new).await.map_err(|found| format!("when the old term was given up: {found}"))?;
        let observed = bench.observed("relay").await?;
        ensure(observed.as_deref() == Some("executor-2"), || {
            format!("when the old term was given up, {observed:?} is observed")
        })?;
        new.resign().await.map_err(unexpected("resign"))?;
    }
    Ok(())
}

pub(super) async fn cancelled(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let first = bench.wins("relay", "executor-1").await?;
    for _ in 0..3 {
        bench.waits("relay", "executor-gone").await?;
    }
    // This one is cancelled when its turn has come but it has not looked yet.
    let mut late = bench.election.campaign("relay", "executor-late");
    ensure(poll_once(&mut late).is_none(), || "two lead at once".to_owned())?;
    first.resign().await.map_err(unexpected("resign"))?;
    tokio::task::yield_now().await;
    drop(late);
    let next = bench.wins("relay", "executor-2").await;
    let next = next.map_err(|found| format!("after campaigns that were cancelled, {found}"))?;
    is_kept(&next).await?;
    next.resign().await.map_err(unexpected("resign"))?;
    let leader = bench.observed("relay").await?;
    ensure(leader.is_none(), || format!("{leader:?} leads after its campaign was cancelled"))
}
