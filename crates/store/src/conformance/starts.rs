//! Starts: one key is one workflow.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::bench::{Bench, Flow, Given, at, done, ensure, keyed, order, said, same, unkeyed};
use super::group::nothing_of;
use super::{Factory, Verdict};
use crate::{Write, WriteOutcome};

pub(super) async fn replayed(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let (mut flow, first) = Flow::start(&plan, Given::default())?;
    bench.write(vec![keyed(first, "key", "digest")]).await?;
    let loaded = bench.load(flow.id()).await?.ok_or("the workflow is not there")?;
    same("the key that it was started with", &loaded.idempotency_key, &Some("key".to_owned()))?;
    for input in [done(0), done(1), done(2)] {
        let (repeat, again) = Flow::start(&plan, Given { now: at(9), ..Given::default() })?;
        let outcome = bench.outcome(keyed(again, "key", "digest")).await?;
        let WriteOutcome::Replayed(present) = outcome else {
            return Err(format!("a repeat at seq {}: {}", flow.state.seq, said(&outcome)));
        };
        same("the state that a repeat gets", &present.state, &flow.state)?;
        same("the key that a repeat gets", &present.idempotency_key, &Some("key".to_owned()))?;
        nothing_of(&bench, &repeat).await?;
        bench.whole(&flow).await?;
        bench.news(&mut flow, &input, at(1)).await?;
    }
    let (_, again) = Flow::start(&plan, Given::default())?;
    let outcome = said(&bench.outcome(keyed(again, "key", "digest")).await?);
    let expected = format!("replayed {} at {}", flow.id(), flow.state.seq);
    same("a repeat after its end", &outcome, &expected)
}

pub(super) async fn conflict(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let (flow, first) = Flow::start(&plan, Given::default())?;
    bench.write(vec![keyed(first, "key", "digest")]).await?;
    let (other, start) = Flow::start(&plan, Given::default())?;
    let outcome = said(&bench.outcome(keyed(start, "key", "another")).await?);
    same("another request with the key", &outcome, &format!("conflict with {}", flow.id()))?;
    nothing_of(&bench, &other).await?;
    bench.whole(&flow).await?;
    // Starts without a key have nothing to do with one another, nor have other keys.
    for _ in 0..2 {
        bench.begin(&plan).await?;
    }
    let (_, start) = Flow::start(&plan, Given::default())?;
    bench.write(vec![keyed(start, "Key", "digest")]).await
}

pub(super) async fn concurrent(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (flow, start) = Flow::start(&plan, Given::default())?;
        let bench = bench.clone();
        callers.spawn(async move { (flow, bench.outcome(keyed(start, "key", "digest")).await) });
    }
    let (mut written, mut named) = (Vec::new(), BTreeSet::new());
    while let Some(ended) = callers.join_next().await {
        let (flow, outcome) = ended.map_err(|error| error.to_string())?;
        match outcome? {
            WriteOutcome::Written => written.push(flow),
            WriteOutcome::Replayed(present) => {
                named.insert(present.state.id);
            }
            other => return Err(format!("one of 50 starts with one key: {}", said(&other))),
        }
    }
    same("how many of 50 starts with one key were written", &written.len(), &1)?;
    let winner = written.pop().ok_or("none")?;
    same("the workflow that the others got", &named, &BTreeSet::from([winner.id()]))?;
    let ids = bench.store.ids(None, 100).await.map_err(super::bench::unexpected("ids"))?;
    same("the workflows there are", &ids, &vec![winner.id()])?;
    bench.whole(&winner).await
}

pub(super) async fn in_one_group(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let (first, one) = Flow::start(&plan, Given::default())?;
    let (second, two) = Flow::start(&plan, Given::default())?;
    let (third, three) = Flow::start(&plan, Given::default())?;
    let (fourth, four) = Flow::start(&plan, Given::default())?;
    let group = vec![
        keyed(one, "key", "digest"),
        keyed(two, "key", "digest"),
        keyed(three, "key", "another"),
        keyed(four, "other key", "digest"),
    ];
    let found: Vec<String> = bench.outcomes(group).await?.iter().map(said).collect();
    let (id, seq) = (first.id(), first.state.seq);
    let expected = vec![
        "written".to_owned(),
        format!("replayed {id} at {seq}"),
        format!("conflict with {id}"),
        "written".to_owned(),
    ];
    same("starts with one key in one group", &found, &expected)?;
    for flow in [&first, &fourth] {
        bench.whole(flow).await?;
    }
    for flow in [&second, &third] {
        nothing_of(&bench, flow).await?;
    }
    Ok(())
}

pub(super) async fn namespaces(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let mut flows = Vec::new();
    for namespace in ["default", "other", "Default"] {
        let given = Given { namespace: namespace.to_owned(), ..Given::default() };
        let (flow, start) = Flow::start(&plan, given)?;
        let outcome = said(&bench.outcome(keyed(start, "key", namespace)).await?);
        same(&format!("the same key in {namespace}"), &outcome, &"written".to_owned())?;
        flows.push(flow);
    }
    for flow in &flows {
        bench.whole(flow).await?;
        let request = super::lists::all(&flow.state.namespace);
        let page = bench.store.list(&request).await.map_err(super::bench::unexpected("list"))?;
        let ids: Vec<_> = page.workflows.iter().map(|each| each.id).collect();
        same(&format!("the list of {}", flow.state.namespace), &ids, &vec![flow.id()])?;
    }
    Ok(())
}

pub(super) async fn durable(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let (first, start) = Flow::start(&plan, Given::default())?;
    bench.write(vec![keyed(start, "key", "digest")]).await?;
    let mut moved = bench.begin(&plan).await?;
    bench.news(&mut moved, &done(0), at(1)).await?;
    let epoch = bench.store.raise_epoch("duties").await.map_err(super::bench::unexpected("raise_epoch"))?;
    let reopened = Bench { store: factory.reopen(bench.store).await? };
    for flow in [&first, &moved] {
        reopened.whole(flow).await?;
    }
    let (_, again) = Flow::start(&plan, Given::default())?;
    let outcome = said(&reopened.outcome(keyed(again, "key", "digest")).await?);
    same("the key", &outcome, &format!("replayed {} at {}", first.id(), first.state.seq))?;
    let next = reopened.store.raise_epoch("duties").await.map_err(super::bench::unexpected("raise_epoch"))?;
    ensure(next > epoch, || format!("epoch {next} came after {epoch}"))?;
    reopened.news(&mut moved, &done(1), at(2)).await?;
    let (later, write) = Flow::start(&plan, Given::default())?;
    reopened.write(vec![unkeyed(write)]).await?;
    let (_, late) = first.next(&done(0), at(3))?;
    reopened.write(vec![Write::Transition(late)]).await?;
    for flow in [&moved, &later] {
        reopened.whole(flow).await?;
    }
    Ok(())
}
