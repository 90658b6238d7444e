//! Groups of writes: each member is judged on its own.

use std::sync::Arc;

use super::bench::{
    Bench, Flow, Given, cancel, done, keyed, order, parallel, said, same, unexpected, unkeyed,
};
use super::{Factory, Verdict};
use crate::{Write, WriteOutcome};

pub(super) async fn judged_alone(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let moved_on = bench.begin(&plan).await?;
    let (mut ahead, write) = moved_on.next(&done(0), super::bench::at(1))?;
    bench.write(vec![Write::Transition(write)]).await?;
    let (_, late) = moved_on.next(&cancel(), super::bench::at(2))?;
    let (known, first) = Flow::start(&plan, Given::default())?;
    bench.write(vec![keyed(first, "a key", "a digest")]).await?;

    let (started, start) = Flow::start(&plan, Given::default())?;
    let (never, _) = Flow::start(&plan, Given::default())?;
    let (_, nowhere) = never.next(&done(0), super::bench::at(2))?;
    let (next, good) = ahead.next(&done(1), super::bench::at(2))?;
    let (unwanted, conflict) = Flow::start(&plan, Given::default())?;
    let (repeat, replay) = Flow::start(&plan, Given::default())?;
    let outcomes = bench
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
        format!("lost {} at {}", moved_on.id(), ahead.state.seq),
        "missing".to_owned(),
        "written".to_owned(),
        format!("conflict with {}", known.id()),
        "written".to_owned(),
        format!("replayed {} at {}", known.id(), known.state.seq),
    ];
    let mut all = outcomes.iter().map(said).collect::<Vec<_>>();
    // The loser may be told how the workflow stood before, or after, the member that won.
    if let (Some(lost), [before, ..]) = (all.first_mut(), expected.as_slice())
        && lost.starts_with(&format!("lost {} at ", moved_on.id()))
    {
        lost.clone_from(before);
    }
    same("the outcomes", &all, &expected.to_vec())?;
    for flow in [&ahead, &known, &started] {
        bench.whole(flow).await?;
    }
    for flow in [&never, &unwanted, &repeat] {
        nothing_of(&bench, flow).await?;
    }
    Ok(())
}

/// Neither row nor history nor ledger.
pub(super) async fn nothing_of(bench: &Bench, flow: &Flow) -> Verdict {
    same("a row that was not written", &bench.load(flow.id()).await?.map(|loaded| loaded.state), &None)?;
    let history = bench.store.history(flow.id(), 0, 10).await.map_err(unexpected("history"))?;
    same("a history that was not written", &history, &Vec::new())?;
    same("a ledger that was not written", &bench.rows(flow.id()).await?, &Vec::new())
}

pub(super) async fn loser(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let (before, start) = Flow::start(&plan, Given::default())?;
    bench.write(vec![keyed(start, "its key", "digest")]).await?;
    let mut winner = before.clone();
    bench.news(&mut winner, &done(0), super::bench::at(1)).await?;
    let (_, late) = before.next(&cancel(), super::bench::at(2))?;
    let lost = bench.outcome(Write::Transition(late)).await?;
    let WriteOutcome::Lost(present) = lost else { return Err(format!("the loser: {}", said(&lost))) };
    same("the state that the loser gets", &present.state, &winner.state)?;
    same("the key that the loser gets", &present.idempotency_key, &Some("its key".to_owned()))?;
    bench.whole(&winner).await
}

pub(super) async fn twice(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let (chain, fork) = (bench.begin(&order()?).await?, bench.begin(&order()?).await?);
    let (one, first) = chain.next(&done(0), super::bench::at(1))?;
    let (two, second) = one.next(&done(1), super::bench::at(2))?;
    let (won, left) = fork.next(&done(0), super::bench::at(1))?;
    let (_, right) = fork.next(&cancel(), super::bench::at(1))?;
    let group = [first, left, right, second].map(Write::Transition).to_vec();
    let found: Vec<String> = bench.outcomes(group).await?.iter().map(said).collect();
    let lost = format!("lost {} at {}", fork.id(), won.state.seq);
    let expected = ["written", "written", &lost, "written"].map(str::to_owned).to_vec();
    same("two after one another, and two from the same seq", &found, &expected)?;
    bench.whole(&two).await?;
    bench.whole(&won).await
}

pub(super) async fn one_wins(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let branches = 20;
    let before = bench.begin(&parallel(branches, "work")?).await?;
    let mut writers = tokio::task::JoinSet::new();
    for branch in 0..branches {
        let (flow, write) = before.next(&done(branch), super::bench::at(1))?;
        let bench = bench.clone();
        writers.spawn(async move { (flow, bench.outcome(Write::Transition(write)).await) });
    }
    let (mut winners, mut told) = (Vec::new(), Vec::new());
    while let Some(ended) = writers.join_next().await {
        let (flow, outcome) = ended.map_err(|error| error.to_string())?;
        match outcome? {
            WriteOutcome::Written => winners.push(flow),
            WriteOutcome::Lost(present) => told.push(present.state),
            other => return Err(format!("a writer among many: {}", said(&other))),
        }
    }
    same("how many won", &winners.len(), &1)?;
    let winner = winners.pop().ok_or("nobody won")?;
    for state in told {
        same("what a loser was told", &state, &winner.state)?;
    }
    bench.whole(&winner).await
}

pub(super) async fn taken_id(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let (flow, first) = Flow::start(&plan, Given::default())?;
    bench.write(vec![keyed(first.clone(), "key", "digest")]).await?;
    let (other, beside) = Flow::start(&plan, Given::default())?;
    let (double, same_group) = Flow::start(&plan, Given::default())?;
    let outcomes = bench
        .outcomes(vec![
            unkeyed(first.clone()),
            keyed(first.clone(), "another key", "digest"),
            keyed(first, "key", "digest"),
            unkeyed(beside),
            keyed(same_group.clone(), "third key", "digest"),
            keyed(same_group.clone(), "third key", "digest"),
            unkeyed(same_group),
        ])
        .await?;
    let (id, seq) = (flow.id(), flow.state.seq);
    let expected = vec![
        format!("lost {id} at {seq}"),
        format!("lost {id} at {seq}"),
        format!("replayed {id} at {seq}"),
        "written".to_owned(),
        "written".to_owned(),
        format!("replayed {} at {}", double.id(), double.state.seq),
        format!("lost {} at {}", double.id(), double.state.seq),
    ];
    same("the outcomes", &outcomes.iter().map(said).collect(), &expected)?;
    for flow in [&flow, &other, &double] {
        bench.whole(flow).await?;
    }
    // The key of a start that was not written is free.
    let (later, start) = Flow::start(&plan, Given::default())?;
    bench.write(vec![keyed(start, "another key", "digest")]).await?;
    bench.whole(&later).await
}

pub(super) async fn sizes(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    same("the outcomes of nobody", &bench.outcomes(Vec::new()).await?.len(), &0)?;
    let plan = order()?;
    let all: Result<Vec<_>, String> = (0..300).map(|_| Flow::start(&plan, Given::default())).collect();
    let (flows, starts): (Vec<Flow>, Vec<_>) = all?.into_iter().unzip();
    bench.write(starts.into_iter().map(unkeyed).collect()).await?;
    let next = flows.iter().map(|flow| flow.next(&done(0), super::bench::at(1)));
    let (flows, writes): (Vec<Flow>, Vec<_>) = next.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    bench.write(writes.into_iter().map(Write::Transition).collect()).await?;
    for flow in flows.iter().step_by(37) {
        bench.whole(flow).await?;
    }
    let ids: Vec<_> = flows.iter().map(Flow::id).collect();
    let loaded = bench.store.load(&ids).await.map_err(unexpected("load"))?;
    let found: Vec<_> =
        loaded.into_iter().map(|each| each.map(|each| (each.state.id, each.state.seq))).collect();
    let expected: Vec<_> = flows.iter().map(|flow| Some((flow.id(), flow.state.seq))).collect();
    same("300 workflows, in the order of the ids", &found, &expected)
}
