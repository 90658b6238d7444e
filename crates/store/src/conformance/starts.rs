//! Starts and idempotency keys. A key identifies one workflow.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::batches::expect_nothing_stored;
use super::fixture::{
    Fixture, Flow, StartOptions, at, describe, done, ensure, expect_eq, keyed, order, unkeyed,
};
use super::{CaseResult, Factory};
use crate::{Write, WriteOutcome};

pub(super) async fn replayed(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (mut flow, first) = Flow::start(&plan, StartOptions::default())?;
    fixture.write(vec![keyed(first, "key", "digest")]).await?;
    let loaded = fixture.load(flow.id()).await?.ok_or("the workflow was not found")?;
    expect_eq("the idempotency key of the workflow", &loaded.idempotency_key, &Some("key".to_owned()))?;
    for input in [done(0), done(1), done(2)] {
        let (repeat, again) = Flow::start(&plan, StartOptions { now: at(9), ..StartOptions::default() })?;
        let outcome = fixture.outcome(keyed(again, "key", "digest")).await?;
        let WriteOutcome::Replayed(present) = outcome else {
            return Err(format!(
                "the outcome of a duplicate start at seq {}: {}",
                flow.state.seq,
                describe(&outcome)
            ));
        };
        expect_eq("the state that a duplicate start returns", &present.state, &flow.state)?;
        expect_eq(
            "the idempotency key that a duplicate start returns",
            &present.idempotency_key,
            &Some("key".to_owned()),
        )?;
        expect_nothing_stored(&fixture, &repeat).await?;
        fixture.check_consistency(&flow).await?;
        fixture.apply(&mut flow, &input, at(1)).await?;
    }
    let (_, again) = Flow::start(&plan, StartOptions::default())?;
    let outcome = describe(&fixture.outcome(keyed(again, "key", "digest")).await?);
    let expected = format!("replayed {} at {}", flow.id(), flow.state.seq);
    expect_eq("a duplicate start after the end of the workflow", &outcome, &expected)
}

pub(super) async fn conflict(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (flow, first) = Flow::start(&plan, StartOptions::default())?;
    fixture.write(vec![keyed(first, "key", "digest")]).await?;
    let (other, start) = Flow::start(&plan, StartOptions::default())?;
    let outcome = describe(&fixture.outcome(keyed(start, "key", "another")).await?);
    expect_eq("another request with the same key", &outcome, &format!("key conflict with {}", flow.id()))?;
    expect_nothing_stored(&fixture, &other).await?;
    fixture.check_consistency(&flow).await?;
    // Starts without a key, and starts with other keys, are independent.
    for _ in 0..2 {
        fixture.start(&plan).await?;
    }
    let (_, start) = Flow::start(&plan, StartOptions::default())?;
    fixture.write(vec![keyed(start, "Key", "digest")]).await
}

pub(super) async fn concurrent(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (flow, start) = Flow::start(&plan, StartOptions::default())?;
        let fixture = fixture.clone();
        callers.spawn(async move { (flow, fixture.outcome(keyed(start, "key", "digest")).await) });
    }
    let (mut written, mut named) = (Vec::new(), BTreeSet::new());
    while let Some(ended) = callers.join_next().await {
        let (flow, outcome) = ended.map_err(|error| error.to_string())?;
        match outcome? {
            WriteOutcome::Written => written.push(flow),
            WriteOutcome::Replayed(present) => {
                named.insert(present.state.id);
            }
            other => return Err(format!("the outcome of a concurrent start: {}", describe(&other))),
        }
    }
    expect_eq("the number of 50 concurrent starts that were written", &written.len(), &1)?;
    let winner = written.pop().ok_or("no start was written")?;
    expect_eq("the workflow that the other starts returned", &named, &BTreeSet::from([winner.id()]))?;
    let ids = fixture.store.ids(None, 100).await.map_err(super::fixture::unexpected("ids"))?;
    expect_eq("the ids of all workflows", &ids, &vec![winner.id()])?;
    fixture.check_consistency(&winner).await
}

pub(super) async fn in_one_batch(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (first, one) = Flow::start(&plan, StartOptions::default())?;
    let (second, two) = Flow::start(&plan, StartOptions::default())?;
    let (third, three) = Flow::start(&plan, StartOptions::default())?;
    let (fourth, four) = Flow::start(&plan, StartOptions::default())?;
    let batch = vec![
        keyed(one, "key", "digest"),
        keyed(two, "key", "digest"),
        keyed(three, "key", "another"),
        keyed(four, "other key", "digest"),
    ];
    let found: Vec<String> = fixture.outcomes(batch).await?.iter().map(describe).collect();
    let (id, seq) = (first.id(), first.state.seq);
    let expected = vec![
        "written".to_owned(),
        format!("replayed {id} at {seq}"),
        format!("key conflict with {id}"),
        "written".to_owned(),
    ];
    expect_eq("starts with one key in one batch", &found, &expected)?;
    for flow in [&first, &fourth] {
        fixture.check_consistency(flow).await?;
    }
    for flow in [&second, &third] {
        expect_nothing_stored(&fixture, flow).await?;
    }
    Ok(())
}

pub(super) async fn namespaces(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let mut flows = Vec::new();
    for namespace in ["default", "other", "Default"] {
        let options = StartOptions { namespace: namespace.to_owned(), ..StartOptions::default() };
        let (flow, start) = Flow::start(&plan, options)?;
        let outcome = describe(&fixture.outcome(keyed(start, "key", namespace)).await?);
        expect_eq(&format!("the same key in {namespace}"), &outcome, &"written".to_owned())?;
        flows.push(flow);
    }
    for flow in &flows {
        fixture.check_consistency(flow).await?;
        let request = super::lists::all(&flow.state.namespace);
        let page = fixture.store.list(&request).await.map_err(super::fixture::unexpected("list"))?;
        let ids: Vec<_> = page.workflows.iter().map(|each| each.id).collect();
        expect_eq(&format!("the list of namespace {}", flow.state.namespace), &ids, &vec![flow.id()])?;
    }
    Ok(())
}

pub(super) async fn durable(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (first, start) = Flow::start(&plan, StartOptions::default())?;
    fixture.write(vec![keyed(start, "key", "digest")]).await?;
    let mut moved = fixture.start(&plan).await?;
    fixture.apply(&mut moved, &done(0), at(1)).await?;
    let epoch =
        fixture.store.raise_epoch("duties").await.map_err(super::fixture::unexpected("raise_epoch"))?;
    let reopened = Fixture { store: factory.reopen(fixture.store).await? };
    for flow in [&first, &moved] {
        reopened.check_consistency(flow).await?;
    }
    let (_, again) = Flow::start(&plan, StartOptions::default())?;
    let outcome = describe(&reopened.outcome(keyed(again, "key", "digest")).await?);
    expect_eq(
        "a duplicate start after reopening",
        &outcome,
        &format!("replayed {} at {}", first.id(), first.state.seq),
    )?;
    let next =
        reopened.store.raise_epoch("duties").await.map_err(super::fixture::unexpected("raise_epoch"))?;
    ensure(next > epoch, || format!("epoch {next} was issued after {epoch}"))?;
    reopened.apply(&mut moved, &done(1), at(2)).await?;
    let (later, write) = Flow::start(&plan, StartOptions::default())?;
    reopened.write(vec![unkeyed(write)]).await?;
    let (_, late) = first.next(&done(0), at(3))?;
    reopened.write(vec![Write::Transition(late)]).await?;
    for flow in [&moved, &later] {
        reopened.check_consistency(flow).await?;
    }
    Ok(())
}
