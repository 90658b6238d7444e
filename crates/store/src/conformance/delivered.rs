//! Deliveries: what is under way, what was not sent after all, and what died with its queue.

use std::sync::Arc;

use goconductor_saga::{OwedKey, Side, Timestamp, WorkflowId};

use super::bench::{
    Bench, Flow, Given, REDELIVERY, at, command, done, failed, lanes, order, parallel, pause, publishing,
    resume, same, unexpected, unkeyed,
};
use super::{Factory, Verdict};
use crate::{LedgerRowKey, RowKind, Write};

const KEY: OwedKey = command(0, Side::Execute);

/// How often a row was delivered, when it was issued, and when it is due.
async fn state_of(
    bench: &Bench,
    id: WorkflowId,
    key: OwedKey,
) -> Result<(u32, Timestamp, Timestamp), String> {
    let row = bench.row(id, key).await?;
    Ok((row.deliveries, row.issued_at, row.due_at))
}

pub(super) async fn published(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let (mut flow, start) = Flow::start(&parallel(2, "work")?, Given::default())?;
    let mut start = publishing(start);
    // One is published by the writer, the other is left to whoever claims it.
    start.publishes.truncate(1);
    let (sent, left) = (command(0, Side::Execute), command(1, Side::Execute));
    bench.write(vec![unkeyed(start)]).await?;
    same(
        "what the writer publishes",
        &state_of(&bench, flow.id(), sent).await?,
        &(1, at(0), at(0).after(REDELIVERY)),
    )?;
    same("what it does not", &state_of(&bench, flow.id(), left).await?, &(0, at(0), at(0)))?;
    let rows = bench.claim(&lanes(&["work"], at(1))).await?;
    same("what is claimed at once", &rows.iter().map(|row| row.key.key).collect(), &vec![left])?;
    // The next attempt has not been delivered.
    bench.news(&mut flow, &failed(0, 1), at(2)).await?;
    let (deliveries, issued_at, _) = state_of(&bench, flow.id(), sent).await?;
    same("the next attempt", &(deliveries, issued_at), &(0, at(2)))?;
    bench.whole(&flow).await?;
    // What was held is published by the one who lets it go on.
    let mut paused = bench.begin(&order()?).await?;
    bench.news(&mut paused, &pause(), at(3)).await?;
    let (next, write) = paused.next(&resume(), at(4))?;
    bench.write(vec![Write::Transition(publishing(write))]).await?;
    same("what goes on", &state_of(&bench, next.id(), KEY).await?, &(1, at(4), at(4).after(REDELIVERY)))?;
    bench.whole(&next).await
}

pub(super) async fn extended(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let (running, other) = (bench.begin(&plan).await?, bench.begin(&plan).await?);
    let mut retried = bench.begin(&plan).await?;
    same("the deliveries", &bench.claim(&lanes(&["stock"], at(0))).await?.len(), &3)?;
    let stale = bench.row(retried.id(), KEY).await?.key;
    bench.news(&mut retried, &failed(0, 1), at(1)).await?;
    same("the second attempt", &bench.claim(&lanes(&["stock"], at(2))).await?.len(), &1)?;
    let mut held = bench.begin(&plan).await?;
    same("the last delivery", &bench.claim(&lanes(&["stock"], at(0))).await?.len(), &1)?;
    bench.news(&mut held, &pause(), at(1)).await?;
    let fresh = bench.begin(&plan).await?;
    let (mut finished, gone) = (bench.begin(&plan).await?, super::bench::new_id());
    bench.news(&mut finished, &done(0), at(1)).await?;
    let untouched = [&other, &retried, &held, &fresh];
    let mut before = Vec::new();
    for flow in untouched {
        before.push(bench.rows(flow.id()).await?);
    }
    let now = |id| LedgerRowKey { id, key: KEY, attempt: 1 };
    let rows = [now(running.id()), stale, now(held.id()), now(fresh.id()), now(finished.id()), now(gone)];
    bench.store.extend(&rows, at(60)).await.map_err(unexpected("extend"))?;
    bench.store.extend(&[], at(70)).await.map_err(unexpected("extend of nothing"))?;
    same("what is under way", &state_of(&bench, running.id(), KEY).await?, &(1, at(0), at(60)))?;
    for ((flow, before), what) in untouched.iter().zip(before).zip([
        "another",
        "another attempt",
        "what is held",
        "what was never sent",
    ]) {
        same(what, &bench.rows(flow.id()).await?, &before)?;
    }
    bench.whole(&finished).await?;
    let rows = bench.claim(&lanes(&["stock"], at(59))).await?;
    same("whether it is claimed before", &rows.iter().any(|row| row.key.id == running.id()), &false)?;
    let rows = bench.claim(&lanes(&["stock"], at(60))).await?;
    same("whether it is claimed then", &rows.iter().any(|row| row.key.id == running.id()), &true)
}

pub(super) async fn released(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let (taken, other) = (bench.begin(&plan).await?, bench.begin(&plan).await?);
    let mut retried = bench.begin(&plan).await?;
    for now in [at(0), at(5)] {
        same("the deliveries", &bench.claim(&lanes(&["stock"], now)).await?.len(), &3)?;
    }
    let stale = bench.row(retried.id(), KEY).await?.key;
    bench.news(&mut retried, &failed(0, 1), at(6)).await?;
    same("the second attempt", &bench.claim(&lanes(&["stock"], at(7))).await?.len(), &1)?;
    let fresh = bench.begin_with(&plan, Given { now: at(50), ..Given::default() }).await?;
    let mut before = Vec::new();
    for flow in [&other, &retried, &fresh] {
        before.push(bench.rows(flow.id()).await?);
    }
    let now = |id| LedgerRowKey { id, key: KEY, attempt: 1 };
    let rows = [now(taken.id()), stale, now(fresh.id()), now(super::bench::new_id())];
    bench.store.release(&rows).await.map_err(unexpected("release"))?;
    for (flow, before) in [&other, &retried, &fresh].iter().zip(before) {
        same("a row that was not to be released", &bench.rows(flow.id()).await?, &before)?;
    }
    let claimed = bench.claim(&lanes(&["stock"], at(7))).await?;
    let found: Vec<_> = claimed.iter().map(|row| (row.key.id, row.deliveries)).collect();
    same("what is released is due at once", &found, &vec![(taken.id(), 1)])
}

pub(super) async fn expired(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let (one, two) = (bench.begin(&plan).await?, bench.begin(&plan).await?);
    let mut held = bench.begin(&plan).await?;
    same("the deliveries", &bench.claim(&lanes(&["stock"], at(0))).await?.len(), &3)?;
    bench.news(&mut held, &pause(), at(1)).await?;
    let late = bench.begin_with(&plan, Given { now: at(50), ..Given::default() }).await?;
    let count = bench.store.expire_deliveries(at(2)).await.map_err(unexpected("expire_deliveries"))?;
    same("how many died with their queue", &count, &2)?;
    for flow in [&one, &two] {
        same("what was delivered", &state_of(&bench, flow.id(), KEY).await?, &(1, at(0), at(2)))?;
    }
    same("what was never delivered", &state_of(&bench, late.id(), KEY).await?, &(0, at(50), at(50)))?;
    same("what is held", &bench.row(held.id(), KEY).await?.kind, &RowKind::Held)?;
    let mut found: Vec<_> =
        bench.claim(&lanes(&["stock"], at(2))).await?.iter().map(|row| row.key.id).collect();
    found.sort();
    same("what is due now", &found, &vec![one.id(), two.id()])?;
    bench.whole(&held).await
}
