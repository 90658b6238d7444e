//! Deliveries of ledger rows: published by the writer, extended while in flight, released, and expired.

use std::sync::Arc;

use goconductor_saga::{OwedKey, Side, Timestamp, WorkflowId};

use super::fixture::{
    Fixture, Flow, REDELIVERY, StartOptions, at, command, done, expect_eq, failed, lanes, order, parallel,
    pause, publishing, resume, unexpected, unkeyed,
};
use super::{CaseResult, Factory};
use crate::{LedgerRowKey, RowKind, Write};

const KEY: OwedKey = command(0, Side::Execute);

/// Returns the deliveries, the issue time and the due time of a row.
async fn delivery_state(
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
    // The writer publishes one command. The other one waits for a claim.
    start.publishes.truncate(1);
    let (sent, left) = (command(0, Side::Execute), command(1, Side::Execute));
    fixture.write(vec![unkeyed(start)]).await?;
    expect_eq(
        "the row of a published command",
        &delivery_state(&fixture, flow.id(), sent).await?,
        &(1, at(0), at(0).after(REDELIVERY)),
    )?;
    expect_eq(
        "the row of an unpublished command",
        &delivery_state(&fixture, flow.id(), left).await?,
        &(0, at(0), at(0)),
    )?;
    let rows = fixture.claim(&lanes(&["work"], at(1))).await?;
    expect_eq("the rows claimed at once", &rows.iter().map(|row| row.key.key).collect(), &vec![left])?;
    // A new attempt starts without deliveries.
    fixture.apply(&mut flow, &failed(0, 1), at(2)).await?;
    let (deliveries, issued_at, _) = delivery_state(&fixture, flow.id(), sent).await?;
    expect_eq("the row of the next attempt", &(deliveries, issued_at), &(0, at(2)))?;
    fixture.check_consistency(&flow).await?;
    // The writer that resumes a workflow publishes its held command.
    let mut paused = fixture.start(&order()?).await?;
    fixture.apply(&mut paused, &pause(), at(3)).await?;
    let (next, write) = paused.next(&resume(), at(4))?;
    fixture.write(vec![Write::Transition(publishing(write))]).await?;
    expect_eq(
        "the row of a resumed command",
        &delivery_state(&fixture, next.id(), KEY).await?,
        &(1, at(4), at(4).after(REDELIVERY)),
    )?;
    fixture.check_consistency(&next).await
}

pub(super) async fn extended(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (running, other) = (fixture.start(&plan).await?, fixture.start(&plan).await?);
    let mut retried = fixture.start(&plan).await?;
    expect_eq("the number of claimed rows", &fixture.claim(&lanes(&["stock"], at(0))).await?.len(), &3)?;
    let stale = fixture.row(retried.id(), KEY).await?.key;
    fixture.apply(&mut retried, &failed(0, 1), at(1)).await?;
    expect_eq(
        "the number of rows claimed for the second attempt",
        &fixture.claim(&lanes(&["stock"], at(2))).await?.len(),
        &1,
    )?;
    let mut held = fixture.start(&plan).await?;
    expect_eq(
        "the number of rows claimed before the pause",
        &fixture.claim(&lanes(&["stock"], at(0))).await?.len(),
        &1,
    )?;
    fixture.apply(&mut held, &pause(), at(1)).await?;
    let fresh = fixture.start(&plan).await?;
    let (mut completed, missing) = (fixture.start(&plan).await?, super::fixture::new_id());
    fixture.apply(&mut completed, &done(0), at(1)).await?;
    let untouched = [&other, &retried, &held, &fresh];
    let mut before = Vec::new();
    for flow in untouched {
        before.push(fixture.rows(flow.id()).await?);
    }
    let first_attempt = |id| LedgerRowKey { id, key: KEY, attempt: 1 };
    let rows = [
        first_attempt(running.id()),
        stale,
        first_attempt(held.id()),
        first_attempt(fresh.id()),
        first_attempt(completed.id()),
        first_attempt(missing),
    ];
    fixture.store.extend(&rows, at(60)).await.map_err(unexpected("extend"))?;
    fixture.store.extend(&[], at(70)).await.map_err(unexpected("extend without rows"))?;
    expect_eq("the extended row", &delivery_state(&fixture, running.id(), KEY).await?, &(1, at(0), at(60)))?;
    for ((flow, before), what) in untouched.iter().zip(before).zip([
        "the row of a workflow that was not extended",
        "the row of another attempt",
        "a held row",
        "a row without deliveries",
    ]) {
        expect_eq(what, &fixture.rows(flow.id()).await?, &before)?;
    }
    fixture.check_consistency(&completed).await?;
    let rows = fixture.claim(&lanes(&["stock"], at(59))).await?;
    expect_eq(
        "whether the extended row is claimed early",
        &rows.iter().any(|row| row.key.id == running.id()),
        &false,
    )?;
    let rows = fixture.claim(&lanes(&["stock"], at(60))).await?;
    expect_eq(
        "whether the extended row is claimed when due",
        &rows.iter().any(|row| row.key.id == running.id()),
        &true,
    )
}

pub(super) async fn released(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (unsent, other) = (fixture.start(&plan).await?, fixture.start(&plan).await?);
    let mut retried = fixture.start(&plan).await?;
    for now in [at(0), at(5)] {
        expect_eq("the number of claimed rows", &fixture.claim(&lanes(&["stock"], now)).await?.len(), &3)?;
    }
    let stale = fixture.row(retried.id(), KEY).await?.key;
    fixture.apply(&mut retried, &failed(0, 1), at(6)).await?;
    expect_eq(
        "the number of rows claimed for the second attempt",
        &fixture.claim(&lanes(&["stock"], at(7))).await?.len(),
        &1,
    )?;
    let fresh = fixture.start_with(&plan, StartOptions { now: at(50), ..StartOptions::default() }).await?;
    let mut before = Vec::new();
    for flow in [&other, &retried, &fresh] {
        before.push(fixture.rows(flow.id()).await?);
    }
    let first_attempt = |id| LedgerRowKey { id, key: KEY, attempt: 1 };
    let rows = [
        first_attempt(unsent.id()),
        stale,
        first_attempt(fresh.id()),
        first_attempt(super::fixture::new_id()),
    ];
    fixture.store.release(&rows).await.map_err(unexpected("release"))?;
    for (flow, before) in [&other, &retried, &fresh].iter().zip(before) {
        expect_eq("a row that was not released", &fixture.rows(flow.id()).await?, &before)?;
    }
    let claimed = fixture.claim(&lanes(&["stock"], at(7))).await?;
    let found: Vec<_> = claimed.iter().map(|row| (row.key.id, row.deliveries)).collect();
    expect_eq("the rows claimed after the release", &found, &vec![(unsent.id(), 1)])
}

pub(super) async fn expired(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (one, two) = (fixture.start(&plan).await?, fixture.start(&plan).await?);
    let mut held = fixture.start(&plan).await?;
    expect_eq("the number of claimed rows", &fixture.claim(&lanes(&["stock"], at(0))).await?.len(), &3)?;
    fixture.apply(&mut held, &pause(), at(1)).await?;
    let late = fixture.start_with(&plan, StartOptions { now: at(50), ..StartOptions::default() }).await?;
    let count = fixture.store.expire_deliveries(at(2)).await.map_err(unexpected("expire_deliveries"))?;
    expect_eq("the number of expired deliveries", &count, &2)?;
    for flow in [&one, &two] {
        expect_eq(
            "a delivered row after expiry",
            &delivery_state(&fixture, flow.id(), KEY).await?,
            &(1, at(0), at(2)),
        )?;
    }
    expect_eq(
        "an undelivered row after expiry",
        &delivery_state(&fixture, late.id(), KEY).await?,
        &(0, at(50), at(50)),
    )?;
    expect_eq("the kind of a held row", &fixture.row(held.id(), KEY).await?.kind, &RowKind::Held)?;
    let mut found: Vec<_> =
        fixture.claim(&lanes(&["stock"], at(2))).await?.iter().map(|row| row.key.id).collect();
    found.sort();
    expect_eq("the rows claimed after expiry", &found, &vec![one.id(), two.id()])?;
    fixture.check_consistency(&held).await
}
