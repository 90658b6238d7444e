//! Fences and epochs: one who was replaced changes nothing, and no token comes twice.

use std::sync::Arc;

use super::bench::{Bench, at, ensure, lanes, order, same, unexpected};
use super::{Factory, Verdict};
use crate::{ClaimRequest, Error, Fence};

/// A claim under a token: how many rows it got, or by which newer token it was refused.
async fn claim(bench: &Bench, name: &str, token: u64) -> Result<Result<usize, (u64, u64)>, String> {
    let fence = Some(Fence { name: name.to_owned(), token });
    match bench.store.claim(&ClaimRequest { fence, ..lanes(&["stock"], at(1)) }).await {
        Ok(claim) => Ok(Ok(claim.rows.len())),
        Err(Error::Fenced { name: fenced, token, newest }) => {
            same("what is led", &fenced.as_str(), &name)?;
            Ok(Err((token, newest)))
        }
        Err(other) => Err(unexpected("claim")(other)),
    }
}

pub(super) async fn replaced(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    bench.begin(&plan).await?;
    same("the first leader", &claim(&bench, "duties", 5).await?, &Ok(1))?;
    same("again", &claim(&bench, "duties", 5).await?, &Ok(0))?;
    // The successor is known from its first claim, though that found nothing.
    same("its successor", &claim(&bench, "duties", 7).await?, &Ok(0))?;
    let flow = bench.begin(&plan).await?;
    let before = bench.rows(flow.id()).await?;
    for token in [5, 6, 0] {
        let found = claim(&bench, "duties", token).await?;
        same("one who was replaced", &found, &Err((token, 7)))?;
        same("what the one who was replaced left", &bench.rows(flow.id()).await?, &before)?;
    }
    same("the successor", &claim(&bench, "duties", 7).await?, &Ok(1))?;
    same("one who was replaced, with nothing due", &claim(&bench, "duties", 6).await?, &Err((6, 7)))?;
    bench.begin(&plan).await?;
    same("the leader of something else", &claim(&bench, "others", 1).await?, &Ok(1))?;
    same("the successor's successor", &claim(&bench, "duties", 8).await?, &Ok(0))?;
    same("the successor, replaced", &claim(&bench, "duties", 7).await?, &Err((7, 8)))
}

pub(super) async fn epochs(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let bench = bench.clone();
        callers
            .spawn(async move { bench.store.raise_epoch("duties").await.map_err(unexpected("raise_epoch")) });
    }
    let mut found = Vec::new();
    while let Some(ended) = callers.join_next().await {
        found.push(ended.map_err(|error| error.to_string())??);
    }
    found.sort_unstable();
    found.dedup();
    same("the epochs of 50 at once", &found.len(), &50)?;
    let highest = found.last().copied().unwrap_or_default();
    // Neither another name's nor a fence's of the same name.
    bench.store.raise_epoch("others").await.map_err(unexpected("raise_epoch"))?;
    same("a claim", &claim(&bench, "duties", 1_000).await?, &Ok(0))?;
    let next = bench.store.raise_epoch("duties").await.map_err(unexpected("raise_epoch"))?;
    same("the next epoch", &next, &(highest + 1))?;
    ensure(found.first() >= Some(&1), || "an epoch of 0".to_owned())
}

pub(super) async fn clock(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let mut last = goconductor_saga::Timestamp(1_700_000_000_000_000);
    for _ in 0..5 {
        let now = bench.store.now().await.map_err(unexpected("now"))?;
        ensure(now >= last, || format!("the time {} came after {}", now.0, last.0))?;
        last = now;
    }
    ensure(last.0 < 10_000_000_000_000_000, || format!("{} are no microseconds", last.0))?;
    bench.store.check().await.map_err(unexpected("check"))
}
