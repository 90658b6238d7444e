//! What is read of many workflows at once.

use std::sync::Arc;

use goconductor_saga::{Status, WorkflowId};

use super::bench::{
    Bench, Given, at, done, ensure, failed, lanes, new_id, order, parallel, pause, refused, same, unexpected,
};
use super::{Factory, Verdict};
use crate::WorkflowHead;

pub(super) async fn seen(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let (mut one, mut two, three) =
        (bench.begin(&plan).await?, bench.begin(&plan).await?, bench.begin(&plan).await?);
    bench.news(&mut one, &done(0), at(1)).await?;
    bench.news(&mut two, &pause(), at(1)).await?;
    let mut found = bench.store.heads(&[two.id(), new_id(), one.id()]).await.map_err(unexpected("seen"))?;
    found.sort_by_key(|seen| seen.id);
    let of = |id, seq, status| WorkflowHead { id, seq, status };
    let expected =
        vec![of(one.id(), one.state.seq, Status::InProgress), of(two.id(), two.state.seq, Status::Paused)];
    same("what was seen", &found, &expected)?;
    same("what was seen of nobody", &bench.store.heads(&[]).await.map_err(unexpected("seen"))?, &Vec::new())?;
    let asked = [three.id(), new_id(), one.id(), two.id()];
    let loaded = bench.store.load(&asked).await.map_err(unexpected("load"))?;
    let found: Vec<Option<WorkflowId>> =
        loaded.iter().map(|each| each.as_ref().map(|each| each.state.id)).collect();
    let expected = vec![Some(three.id()), None, Some(one.id()), Some(two.id())];
    same("what was loaded, in the order of the ids", &found, &expected)?;
    same("what was loaded of nobody", &bench.store.load(&[]).await.map_err(unexpected("load"))?.len(), &0)?;
    let rows = bench.store.ledger(&asked).await.map_err(unexpected("ledger"))?;
    let found: Vec<WorkflowId> = rows.iter().map(|row| row.key.id).collect();
    same("the ledger, in the order of the ids", &found, &vec![three.id(), one.id(), two.id()])
}

pub(super) async fn ids(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let mut expected = Vec::new();
    for number in 0..23 {
        let namespace = ["default", "other"].get(number % 2).copied().unwrap_or_default().to_owned();
        let mut flow = bench.begin_with(&plan, Given { namespace, ..Given::default() }).await?;
        for step in 0..u32::try_from(number % 4).unwrap_or_default() {
            bench.news(&mut flow, &done(step), at(1)).await?;
        }
        expected.push(flow.id());
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = bench.store.ids(after, 10).await.map_err(unexpected("ids"))?;
        ensure(page.len() <= 10, || format!("a page of 10 has {}", page.len()))?;
        let Some(last) = page.last() else { break };
        after = Some(*last);
        found.extend(page);
    }
    same("the ids of all namespaces", &found, &expected)
}

pub(super) async fn backlog(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let backlog = async |now| {
        let mut found = bench.store.backlog(now).await.map_err(unexpected("backlog"))?;
        found.sort();
        Ok::<_, String>(found)
    };
    same("the backlog of nothing", &backlog(at(0)).await?, &Vec::new())?;
    let plan = order()?;
    for second in [0, 0, 50] {
        bench.begin_with(&plan, Given { now: at(second), ..Given::default() }).await?;
    }
    bench.begin_with(&plan, Given { namespace: "other".to_owned(), ..Given::default() }).await?;
    let mut undoing = bench.begin(&plan).await?;
    for input in [done(0), refused(1)] {
        bench.news(&mut undoing, &input, at(1)).await?;
    }
    let mut held = bench.begin(&plan).await?;
    bench.news(&mut held, &pause(), at(1)).await?;
    let mut ended = bench.begin(&parallel(1, "work")?).await?;
    bench.news(&mut ended, &done(0), at(1)).await?;
    bench.begin(&super::course::timed()?).await?;
    let of = |all: &[(&str, u64)]| {
        all.iter().map(|(lane, count)| ((*lane).to_owned(), *count)).collect::<Vec<_>>()
    };
    let early = [("default/stock/compensate", 1), ("default/stock/execute", 3), ("other/stock/execute", 1)];
    same("the backlog", &backlog(at(2)).await?, &of(&early))?;
    let later = [("default/stock/compensate", 1), ("default/stock/execute", 4), ("other/stock/execute", 1)];
    same("the backlog later", &backlog(at(60)).await?, &of(&later))?;
    same("what is claimed", &bench.claim(&lanes(&["stock"], at(60))).await?.len(), &4)?;
    let left = [("default/stock/compensate", 1), ("other/stock/execute", 1)];
    same("the backlog after a claim", &backlog(at(60)).await?, &of(&left))
}

pub(super) async fn orphans(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    for course in [vec![], vec![done(0)], vec![failed(0, 1)], vec![done(0), done(1), done(2)]] {
        let mut flow = bench.begin(&plan).await?;
        for input in course {
            bench.news(&mut flow, &input, at(1)).await?;
        }
    }
    let found = bench.store.orphans(10).await.map_err(unexpected("orphans"))?;
    same("rows without a workflow", &found, &Vec::new())
}
