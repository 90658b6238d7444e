//! Fencing tokens and epochs. A replaced leader changes nothing, and no token is issued twice.

use std::sync::Arc;

use super::fixture::{Fixture, at, ensure, expect_eq, lanes, order, unexpected};
use super::{CaseResult, Factory};
use crate::{ClaimRequest, Error, Fence};

/// Claims with a fencing token. Returns the number of rows, or the refused token and the newest one.
async fn claim(fixture: &Fixture, name: &str, token: u64) -> Result<Result<usize, (u64, u64)>, String> {
    let fence = Some(Fence { name: name.to_owned(), token });
    match fixture.store.claim(&ClaimRequest { fence, ..lanes(&["stock"], at(1)) }).await {
        Ok(claim) => Ok(Ok(claim.rows.len())),
        Err(Error::Fenced { name: fenced, token, newest }) => {
            expect_eq("the name of the fence", &fenced.as_str(), &name)?;
            Ok(Err((token, newest)))
        }
        Err(other) => Err(unexpected("claim")(other)),
    }
}

pub(super) async fn stale_token(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    fixture.start(&plan).await?;
    expect_eq("a claim by the first leader", &claim(&fixture, "duties", 5).await?, &Ok(1))?;
    expect_eq("a second claim by the first leader", &claim(&fixture, "duties", 5).await?, &Ok(0))?;
    // The first claim of the successor raises the fence, although it finds no row.
    expect_eq("the first claim by the successor", &claim(&fixture, "duties", 7).await?, &Ok(0))?;
    let flow = fixture.start(&plan).await?;
    let before = fixture.rows(flow.id()).await?;
    for token in [5, 6, 0] {
        let found = claim(&fixture, "duties", token).await?;
        expect_eq("a claim by the replaced leader", &found, &Err((token, 7)))?;
        expect_eq("the ledger after a refused claim", &fixture.rows(flow.id()).await?, &before)?;
    }
    expect_eq("a claim by the successor", &claim(&fixture, "duties", 7).await?, &Ok(1))?;
    expect_eq(
        "a claim by the replaced leader without due rows",
        &claim(&fixture, "duties", 6).await?,
        &Err((6, 7)),
    )?;
    fixture.start(&plan).await?;
    expect_eq("a claim by the leader of another election", &claim(&fixture, "others", 1).await?, &Ok(1))?;
    expect_eq("the first claim by the second successor", &claim(&fixture, "duties", 8).await?, &Ok(0))?;
    expect_eq("a claim by the replaced successor", &claim(&fixture, "duties", 7).await?, &Err((7, 8)))
}

pub(super) async fn epochs(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let fixture = fixture.clone();
        callers.spawn(
            async move { fixture.store.raise_epoch("duties").await.map_err(unexpected("raise_epoch")) },
        );
    }
    let mut found = Vec::new();
    while let Some(ended) = callers.join_next().await {
        found.push(ended.map_err(|error| error.to_string())??);
    }
    found.sort_unstable();
    found.dedup();
    expect_eq("the number of distinct epochs of 50 concurrent calls", &found.len(), &50)?;
    let highest = found.last().copied().unwrap_or_default();
    // Neither another name nor a fence with the same name affects an epoch.
    fixture.store.raise_epoch("others").await.map_err(unexpected("raise_epoch"))?;
    expect_eq("a claim with a high token", &claim(&fixture, "duties", 1_000).await?, &Ok(0))?;
    let next = fixture.store.raise_epoch("duties").await.map_err(unexpected("raise_epoch"))?;
    expect_eq("the next epoch", &next, &(highest + 1))?;
    ensure(found.first() >= Some(&1), || "an epoch is 0".to_owned())
}

pub(super) async fn clock(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut last = goconductor_saga::Timestamp(1_700_000_000_000_000);
    for _ in 0..5 {
        let now = fixture.store.now().await.map_err(unexpected("now"))?;
        ensure(now >= last, || format!("the clock went from {} back to {}", last.0, now.0))?;
        last = now;
    }
    ensure(last.0 < 10_000_000_000_000_000, || format!("the time {} is not in microseconds", last.0))?;
    fixture.store.check().await.map_err(unexpected("check"))
}
