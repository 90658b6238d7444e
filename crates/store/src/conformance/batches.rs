//! Batches of writes. Each entry of a batch succeeds or fails independently of the others.

use std::sync::Arc;

use super::fixture::{
    Fixture, Flow, StartOptions, cancel, describe, done, expect_eq, keyed, order, parallel, unexpected,
    unkeyed,
};
use super::{CaseResult, Factory};
use crate::{Write, WriteOutcome};

pub(super) async fn independent_entries(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let advanced = fixture.start(&plan).await?;
    let (mut ahead, write) = advanced.next(&done(0), super::fixture::at(1))?;
    fixture.write(vec![Write::Transition(write)]).await?;
    let (_, late) = advanced.next(&cancel(), super::fixture::at(2))?;
    let (known, first) = Flow::start(&plan, StartOptions::default())?;
    fixture.write(vec![keyed(first, "a key", "a digest")]).await?;

    let (started, start) = Flow::start(&plan, StartOptions::default())?;
    let (never, _) = Flow::start(&plan, StartOptions::default())?;
    let (_, nowhere) = never.next(&done(0), super::fixture::at(2))?;
    let (next, good) = ahead.next(&done(1), super::fixture::at(2))?;
    let (unwanted, conflict) = Flow::start(&plan, StartOptions::default())?;
    let (repeat, replay) = Flow::start(&plan, StartOptions::default())?;
    let outcomes = fixture
        .outcomes(vec![
            Write::Transition(late),
            Write::Transition(nowhere),
            unkeyed(start),
            keyed(conflict, "a key", "another digest"),
            Write::Transition(good),
            keyed(replay, "a key", "a digest"),
        ])
        .await?;
    ahead = next;
    let expected = [
        format!("write conflict, {} is at {}", advanced.id(), ahead.state.seq),
        "missing".to_owned(),
        "written".to_owned(),
        format!("key conflict with {}", known.id()),
        "written".to_owned(),
        format!("replayed {} at {}", known.id(), known.state.seq),
    ];
    let mut all = outcomes.iter().map(describe).collect::<Vec<_>>();
    // The conflict may report the state before or after the entry that won.
    if let (Some(lost), [before, ..]) = (all.first_mut(), expected.as_slice())
        && lost.starts_with(&format!("write conflict, {} is at ", advanced.id()))
    {
        lost.clone_from(before);
    }
    expect_eq("the outcomes", &all, &expected.to_vec())?;
    for flow in [&ahead, &known, &started] {
        fixture.check_consistency(flow).await?;
    }
    for flow in [&never, &unwanted, &repeat] {
        expect_nothing_stored(&fixture, flow).await?;
    }
    Ok(())
}

/// Expects that the store has no row, no history and no ledger of a workflow.
pub(super) async fn expect_nothing_stored(fixture: &Fixture, flow: &Flow) -> CaseResult {
    expect_eq(
        "the row of a rejected write",
        &fixture.load(flow.id()).await?.map(|loaded| loaded.state),
        &None,
    )?;
    let history = fixture.store.history(flow.id(), 0, 10).await.map_err(unexpected("history"))?;
    expect_eq("the history of a rejected write", &history, &Vec::new())?;
    expect_eq("the ledger of a rejected write", &fixture.rows(flow.id()).await?, &Vec::new())
}

pub(super) async fn conflict(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (before, start) = Flow::start(&plan, StartOptions::default())?;
    fixture.write(vec![keyed(start, "first key", "digest")]).await?;
    let mut winner = before.clone();
    fixture.apply(&mut winner, &done(0), super::fixture::at(1)).await?;
    let (_, late) = before.next(&cancel(), super::fixture::at(2))?;
    let lost = fixture.outcome(Write::Transition(late)).await?;
    let WriteOutcome::Lost(present) = lost else {
        return Err(format!("the outcome of a late write: {}", describe(&lost)));
    };
    expect_eq("the state that a conflict returns", &present.state, &winner.state)?;
    expect_eq(
        "the idempotency key that a conflict returns",
        &present.idempotency_key,
        &Some("first key".to_owned()),
    )?;
    fixture.check_consistency(&winner).await
}

pub(super) async fn twice(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let (chain, fork) = (fixture.start(&order()?).await?, fixture.start(&order()?).await?);
    let (one, first) = chain.next(&done(0), super::fixture::at(1))?;
    let (two, second) = one.next(&done(1), super::fixture::at(2))?;
    let (won, left) = fork.next(&done(0), super::fixture::at(1))?;
    let (_, right) = fork.next(&cancel(), super::fixture::at(1))?;
    let batch = [first, left, right, second].map(Write::Transition).to_vec();
    let found: Vec<String> = fixture.outcomes(batch).await?.iter().map(describe).collect();
    let lost = format!("write conflict, {} is at {}", fork.id(), won.state.seq);
    let expected = ["written", "written", &lost, "written"].map(str::to_owned).to_vec();
    expect_eq("two consecutive transitions, and two from the same seq", &found, &expected)?;
    fixture.check_consistency(&two).await?;
    fixture.check_consistency(&won).await
}

pub(super) async fn concurrent_writes(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let branches = 20;
    let before = fixture.start(&parallel(branches, "work")?).await?;
    let mut writers = tokio::task::JoinSet::new();
    for branch in 0..branches {
        let (flow, write) = before.next(&done(branch), super::fixture::at(1))?;
        let fixture = fixture.clone();
        writers.spawn(async move { (flow, fixture.outcome(Write::Transition(write)).await) });
    }
    let (mut winners, mut reported) = (Vec::new(), Vec::new());
    while let Some(ended) = writers.join_next().await {
        let (flow, outcome) = ended.map_err(|error| error.to_string())?;
        match outcome? {
            WriteOutcome::Written => winners.push(flow),
            WriteOutcome::Lost(present) => reported.push(present.state),
            other => return Err(format!("the outcome of a concurrent write: {}", describe(&other))),
        }
    }
    expect_eq("the number of successful writes", &winners.len(), &1)?;
    let winner = winners.pop().ok_or("no write succeeded")?;
    for state in reported {
        expect_eq("the state that a conflict returns", &state, &winner.state)?;
    }
    fixture.check_consistency(&winner).await
}

pub(super) async fn existing_id(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (flow, first) = Flow::start(&plan, StartOptions::default())?;
    fixture.write(vec![keyed(first.clone(), "key", "digest")]).await?;
    let (other, other_start) = Flow::start(&plan, StartOptions::default())?;
    let (double, same_batch) = Flow::start(&plan, StartOptions::default())?;
    let outcomes = fixture
        .outcomes(vec![
            unkeyed(first.clone()),
            keyed(first.clone(), "another key", "digest"),
            keyed(first, "key", "digest"),
            unkeyed(other_start),
            keyed(same_batch.clone(), "third key", "digest"),
            keyed(same_batch.clone(), "third key", "digest"),
            unkeyed(same_batch),
        ])
        .await?;
    let (id, seq) = (flow.id(), flow.state.seq);
    let expected = vec![
        format!("write conflict, {id} is at {seq}"),
        format!("write conflict, {id} is at {seq}"),
        format!("replayed {id} at {seq}"),
        "written".to_owned(),
        "written".to_owned(),
        format!("replayed {} at {}", double.id(), double.state.seq),
        format!("write conflict, {} is at {}", double.id(), double.state.seq),
    ];
    expect_eq("the outcomes", &outcomes.iter().map(describe).collect(), &expected)?;
    for flow in [&flow, &other, &double] {
        fixture.check_consistency(flow).await?;
    }
    // The key of a rejected start can be used again.
    let (later, start) = Flow::start(&plan, StartOptions::default())?;
    fixture.write(vec![keyed(start, "another key", "digest")]).await?;
    fixture.check_consistency(&later).await
}

pub(super) async fn sizes(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    expect_eq("the number of outcomes of an empty batch", &fixture.outcomes(Vec::new()).await?.len(), &0)?;
    let plan = order()?;
    let all: Result<Vec<_>, String> = (0..300).map(|_| Flow::start(&plan, StartOptions::default())).collect();
    let (flows, starts): (Vec<Flow>, Vec<_>) = all?.into_iter().unzip();
    fixture.write(starts.into_iter().map(unkeyed).collect()).await?;
    let next = flows.iter().map(|flow| flow.next(&done(0), super::fixture::at(1)));
    let (flows, writes): (Vec<Flow>, Vec<_>) = next.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    fixture.write(writes.into_iter().map(Write::Transition).collect()).await?;
    for flow in flows.iter().step_by(37) {
        fixture.check_consistency(flow).await?;
    }
    let ids: Vec<_> = flows.iter().map(Flow::id).collect();
    let loaded = fixture.store.load(&ids).await.map_err(unexpected("load"))?;
    let found: Vec<_> =
        loaded.into_iter().map(|each| each.map(|each| (each.state.id, each.state.seq))).collect();
    let expected: Vec<_> = flows.iter().map(|flow| Some((flow.id(), flow.state.seq))).collect();
    expect_eq("300 workflows, in the order of the ids", &found, &expected)
}
