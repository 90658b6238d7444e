//! Reads of many workflows.

use std::sync::Arc;

use goconductor_saga::{Status, WorkflowId};

use super::fixture::{
    Fixture, StartOptions, at, done, ensure, expect_eq, failed, lanes, new_id, order, parallel, pause,
    refused, unexpected,
};
use super::{CaseResult, Factory};
use crate::WorkflowHead;

pub(super) async fn heads(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (mut one, mut two, three) =
        (fixture.start(&plan).await?, fixture.start(&plan).await?, fixture.start(&plan).await?);
    fixture.apply(&mut one, &done(0), at(1)).await?;
    fixture.apply(&mut two, &pause(), at(1)).await?;
    let mut found =
        fixture.store.heads(&[two.id(), new_id(), one.id()]).await.map_err(unexpected("heads"))?;
    found.sort_by_key(|head| head.id);
    let of = |id, seq, status| WorkflowHead { id, seq, status };
    let expected =
        vec![of(one.id(), one.state.seq, Status::InProgress), of(two.id(), two.state.seq, Status::Paused)];
    expect_eq("the heads", &found, &expected)?;
    expect_eq(
        "the heads without ids",
        &fixture.store.heads(&[]).await.map_err(unexpected("heads"))?,
        &Vec::new(),
    )?;
    let requested = [three.id(), new_id(), one.id(), two.id()];
    let loaded = fixture.store.load(&requested).await.map_err(unexpected("load"))?;
    let found: Vec<Option<WorkflowId>> =
        loaded.iter().map(|each| each.as_ref().map(|each| each.state.id)).collect();
    let expected = vec![Some(three.id()), None, Some(one.id()), Some(two.id())];
    expect_eq("the loaded workflows, in the requested order", &found, &expected)?;
    expect_eq(
        "the number of workflows loaded without ids",
        &fixture.store.load(&[]).await.map_err(unexpected("load"))?.len(),
        &0,
    )?;
    let rows = fixture.store.ledger(&requested).await.map_err(unexpected("ledger"))?;
    let found: Vec<WorkflowId> = rows.iter().map(|row| row.key.id).collect();
    expect_eq("the ledger rows, in the requested order", &found, &vec![three.id(), one.id(), two.id()])
}

pub(super) async fn ids(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let mut expected = Vec::new();
    for number in 0..23 {
        let namespace = ["default", "other"].get(number % 2).copied().unwrap_or_default().to_owned();
        let mut flow =
            fixture.start_with(&plan, StartOptions { namespace, ..StartOptions::default() }).await?;
        for step in 0..u32::try_from(number % 4).unwrap_or_default() {
            fixture.apply(&mut flow, &done(step), at(1)).await?;
        }
        expected.push(flow.id());
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = fixture.store.ids(after, 10).await.map_err(unexpected("ids"))?;
        ensure(page.len() <= 10, || format!("a page of 10 has {} ids", page.len()))?;
        let Some(last) = page.last() else { break };
        after = Some(*last);
        found.extend(page);
    }
    expect_eq("the ids of all namespaces", &found, &expected)
}

pub(super) async fn backlog(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let backlog = async |now| {
        let mut found = fixture.store.backlog(now).await.map_err(unexpected("backlog"))?;
        found.sort();
        Ok::<_, String>(found)
    };
    expect_eq("the backlog of an empty store", &backlog(at(0)).await?, &Vec::new())?;
    let plan = order()?;
    for second in [0, 0, 50] {
        fixture.start_with(&plan, StartOptions { now: at(second), ..StartOptions::default() }).await?;
    }
    fixture
        .start_with(&plan, StartOptions { namespace: "other".to_owned(), ..StartOptions::default() })
        .await?;
    let mut compensating = fixture.start(&plan).await?;
    for input in [done(0), refused(1)] {
        fixture.apply(&mut compensating, &input, at(1)).await?;
    }
    let mut held = fixture.start(&plan).await?;
    fixture.apply(&mut held, &pause(), at(1)).await?;
    let mut ended = fixture.start(&parallel(1, "work")?).await?;
    fixture.apply(&mut ended, &done(0), at(1)).await?;
    fixture.start(&super::lifecycle::timed()?).await?;
    let of = |all: &[(&str, u64)]| {
        all.iter().map(|(lane, count)| ((*lane).to_owned(), *count)).collect::<Vec<_>>()
    };
    let early = [("default/stock/compensate", 1), ("default/stock/execute", 3), ("other/stock/execute", 1)];
    expect_eq("the backlog", &backlog(at(2)).await?, &of(&early))?;
    let later = [("default/stock/compensate", 1), ("default/stock/execute", 4), ("other/stock/execute", 1)];
    expect_eq("the backlog at a later time", &backlog(at(60)).await?, &of(&later))?;
    expect_eq("the number of claimed rows", &fixture.claim(&lanes(&["stock"], at(60))).await?.len(), &4)?;
    let left = [("default/stock/compensate", 1), ("other/stock/execute", 1)];
    expect_eq("the backlog after a claim", &backlog(at(60)).await?, &of(&left))
}

pub(super) async fn orphans(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    for inputs in [vec![], vec![done(0)], vec![failed(0, 1)], vec![done(0), done(1), done(2)]] {
        let mut flow = fixture.start(&plan).await?;
        for input in inputs {
            fixture.apply(&mut flow, &input, at(1)).await?;
        }
    }
    let found = fixture.store.orphans(10).await.map_err(unexpected("orphans"))?;
    expect_eq("the orphaned rows", &found, &Vec::new())
}
