//! Deliveries: what is under way, what was not sent after all, and what died with its queue.

use std::sync::Arc;

use goconductor_saga::{OwedKey, Side, Timestamp, WorkflowId};

use super::fixture::{
    Fixture, Flow, REDELIVERY, StartOptions, at, command, done, expect_eq, failed, lanes, order, parallel,
    pause, publishing, resume, unexpected, unkeyed,
};
use super::{CaseResult, Factory};
use crate::{LedgerRowKey, RowKind, Write};

const KEY: OwedKey = command(0, Side::Execute);

/// How often a row was delivered, when it was issued, and when it is due.
async fn state_of(
    fixture: &Fixture,
    id: WorkflowId,
    key: OwedKey,
) -> Result<(u32, Timestamp, Timestamp), String> {
    let row = fixture.row(id, key).await?;
    Ok((row.deliveries, row.issued_at, row.due_at))
}

pub(super) async fn published(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let (mut flow, start) = Flow::start(&parallel(2, "work")?, StartOptions::default())?;
    let mut start = publishing(start);
    // One is published by the writer, the other is left to whoever claims it.
    start.publishes.truncate(1);
    let (sent, left) = (command(0, Side::Execute), command(1, Side::Execute));
    fixture.write(vec![unkeyed(start)]).await?;
    expect_eq(
        "what the writer publishes",
        &state_of(&fixture, flow.id(), sent).await?,
        &(1, at(0), at(0).after(REDELIVERY)),
    )?;
    expect_eq("what it does not", &state_of(&fixture, flow.id(), left).await?, &(0, at(0), at(0)))?;
    let rows = fixture.claim(&lanes(&["work"], at(1))).await?;
    expect_eq("what is claimed at once", &rows.iter().map(|row| row.key.key).collect(), &vec![left])?;
    // The next attempt has not been delivered.
    fixture.apply(&mut flow, &failed(0, 1), at(2)).await?;
    let (deliveries, issued_at, _) = state_of(&fixture, flow.id(), sent).await?;
    expect_eq("the next attempt", &(deliveries, issued_at), &(0, at(2)))?;
    fixture.check_consistency(&flow).await?;
    // What was held is published by the one who lets it go on.
    let mut paused = fixture.start(&order()?).await?;
    fixture.apply(&mut paused, &pause(), at(3)).await?;
    let (next, write) = paused.next(&resume(), at(4))?;
    fixture.write(vec![Write::Transition(publishing(write))]).await?;
    expect_eq(
        "what goes on",
        &state_of(&fixture, next.id(), KEY).await?,
        &(1, at(4), at(4).after(REDELIVERY)),
    )?;
    fixture.check_consistency(&next).await
}

pub(super) async fn extended(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (running, other) = (fixture.start(&plan).await?, fixture.start(&plan).await?);
    let mut retried = fixture.start(&plan).await?;
    expect_eq("the deliveries", &fixture.claim(&lanes(&["stock"], at(0))).await?.len(), &3)?;
    let stale = fixture.row(retried.id(), KEY).await?.key;
    fixture.apply(&mut retried, &failed(0, 1), at(1)).await?;
    expect_eq("the second attempt", &fixture.claim(&lanes(&["stock"], at(2))).await?.len(), &1)?;
    let mut held = fixture.start(&plan).await?;
    expect_eq("the last delivery", &fixture.claim(&lanes(&["stock"], at(0))).await?.len(), &1)?;
    fixture.apply(&mut held, &pause(), at(1)).await?;
    let fresh = fixture.start(&plan).await?;
    let (mut finished, gone) = (fixture.start(&plan).await?, super::fixture::new_id());
    fixture.apply(&mut finished, &done(0), at(1)).await?;
    let untouched = [&other, &retried, &held, &fresh];
    let mut before = Vec::new();
    for flow in untouched {
        before.push(fixture.rows(flow.id()).await?);
    }
    let now = |id| LedgerRowKey { id, key: KEY, attempt: 1 };
    let rows = [now(running.id()), stale, now(held.id()), now(fresh.id()), now(finished.id()), now(gone)];
    fixture.store.extend(&rows, at(60)).await.map_err(unexpected("extend"))?;
    fixture.store.extend(&[], at(70)).await.map_err(unexpected("extend of nothing"))?;
    expect_eq("what is under way", &state_of(&fixture, running.id(), KEY).await?, &(1, at(0), at(60)))?;
    for ((flow, before), what) in untouched.iter().zip(before).zip([
        "another",
        "another attempt",
        "what is held",
        "what was never sent",
    ]) {
        expect_eq(what, &fixture.rows(flow.id()).await?, &before)?;
    }
    fixture.check_consistency(&finished).await?;
    let rows = fixture.claim(&lanes(&["stock"], at(59))).await?;
    expect_eq("whether it is claimed before", &rows.iter().any(|row| row.key.id == running.id()), &false)?;
    let rows = fixture.claim(&lanes(&["stock"], at(60))).await?;
    expect_eq("whether it is claimed then", &rows.iter().any(|row| row.key.id == running.id()), &true)
}

pub(super) async fn released(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (taken, other) = (fixture.start(&plan).await?, fixture.start(&plan).await?);
    let mut retried = fixture.start(&plan).await?;
    for now in [at(0), at(5)] {
        expect_eq("the deliveries", &fixture.claim(&lanes(&["stock"], now)).await?.len(), &3)?;
    }
    let stale = fixture.row(retried.id(), KEY).await?.key;
    fixture.apply(&mut retried, &failed(0, 1), at(6)).await?;
    expect_eq("the second attempt", &fixture.claim(&lanes(&["stock"], at(7))).await?.len(), &1)?;
    let fresh = fixture.start_with(&plan, StartOptions { now: at(50), ..StartOptions::default() }).await?;
    let mut before = Vec::new();
    for flow in [&other, &retried, &fresh] {
        before.push(fixture.rows(flow.id()).await?);
    }
    let now = |id| LedgerRowKey { id, key: KEY, attempt: 1 };
    let rows = [now(taken.id()), stale, now(fresh.id()), now(super::fixture::new_id())];
    fixture.store.release(&rows).await.map_err(unexpected("release"))?;
    for (flow, before) in [&other, &retried, &fresh].iter().zip(before) {
        expect_eq("a row that was not to be released", &fixture.rows(flow.id()).await?, &before)?;
    }
    let claimed = fixture.claim(&lanes(&["stock"], at(7))).await?;
    let found: Vec<_> = claimed.iter().map(|row| (row.key.id, row.deliveries)).collect();
    expect_eq("what is released is due at once", &found, &vec![(taken.id(), 1)])
}

pub(super) async fn expired(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (one, two) = (fixture.start(&plan).await?, fixture.start(&plan).await?);
    let mut held = fixture.start(&plan).await?;
    expect_eq("the deliveries", &fixture.claim(&lanes(&["stock"], at(0))).await?.len(), &3)?;
    fixture.apply(&mut held, &pause(), at(1)).await?;
    let late = fixture.start_with(&plan, StartOptions { now: at(50), ..StartOptions::default() }).await?;
    let count = fixture.store.expire_deliveries(at(2)).await.map_err(unexpected("expire_deliveries"))?;
    expect_eq("how many died with their queue", &count, &2)?;
    for flow in [&one, &two] {
        expect_eq("what was delivered", &state_of(&fixture, flow.id(), KEY).await?, &(1, at(0), at(2)))?;
    }
    expect_eq("what was never delivered", &state_of(&fixture, late.id(), KEY).await?, &(0, at(50), at(50)))?;
    expect_eq("what is held", &fixture.row(held.id(), KEY).await?.kind, &RowKind::Held)?;
    let mut found: Vec<_> =
        fixture.claim(&lanes(&["stock"], at(2))).await?.iter().map(|row| row.key.id).collect();
    found.sort();
    expect_eq("what is due now", &found, &vec![one.id(), two.id()])?;
    fixture.check_consistency(&held).await
}
