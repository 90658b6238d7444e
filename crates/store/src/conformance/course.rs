//! The course of a workflow: row, history and ledger change together, whatever happens to it.

use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::{
    Event, EventKind, Input, Plan, Side, Status, StepIndex, Timeouts, TimerKind, Transition,
};

use super::bench::{
    Bench, Flow, Given, at, cancel, definition, done, done_at, ensure, failed, order, parallel, pause,
    plan_of, refused, resume, same, step, undone, unexpected, unkeyed,
};
use super::group::nothing_of;
use super::{Factory, Verdict};
use crate::{EncodedTransition, TransitionWrite, Write};

/// Starts a workflow and moves it on, and looks at all of it after each move; it ends so, and is owed nothing.
async fn follow(factory: Arc<dyn Factory>, plan: &Arc<Plan>, course: &[Input], end: Status) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let mut flow = bench.begin(plan).await?;
    bench.whole(&flow).await.map_err(|found| format!("after the start: {found}"))?;
    for (number, input) in (1..).zip(course) {
        bench.news(&mut flow, input, at(number)).await?;
        bench.whole(&flow).await.map_err(|found| format!("after {input:?}: {found}"))?;
    }
    same("the case's own end", &flow.state.status(), &end)?;
    same("the ledger of one that has ended", &bench.rows(flow.id()).await?, &Vec::new())?;
    let seen = bench.store.heads(&[flow.id()]).await.map_err(unexpected("seen"))?;
    same("its status", &seen.first().map(|seen| seen.status), &Some(end))
}

pub(super) async fn completes(factory: Arc<dyn Factory>) -> Verdict {
    let course = [failed(0, 1), failed(0, 2), done_at(0, 3), done(1), done(2)];
    follow(factory, &order()?, &course, Status::Completed).await
}

pub(super) async fn rolls_back(factory: Arc<dyn Factory>) -> Verdict {
    let course = [done(0), done(1), refused(2), undone(1), undone(0)];
    follow(factory, &order()?, &course, Status::RolledBack).await
}

pub(super) async fn cancelled(factory: Arc<dyn Factory>) -> Verdict {
    let withdraw = Input::WithdrawCommand { step: StepIndex(1), attempt: 1 };
    let course = [done(0), cancel(), done(2), undone(2), withdraw, undone(0)];
    follow(factory, &parallel(3, "work")?, &course, Status::RolledBack).await
}

pub(super) async fn held(factory: Arc<dyn Factory>) -> Verdict {
    let terminate = Input::Terminate { actor: Some("ops".to_owned()), reason: "enough".to_owned() };
    let course = [pause(), done(0), resume(), done(1), pause(), resume(), terminate];
    follow(factory, &order()?, &course, Status::Terminated).await
}

/// A step that has to start, and to end, within a time, in a workflow that has to end within one.
pub(super) fn timed() -> Result<Arc<Plan>, String> {
    let mut first = step("reserve", "stock", &[]);
    let (queue, total) = (Some(Duration::from_secs(20)), Some(Duration::from_secs(60)));
    first.timeout = Timeouts { attempt: Duration::from_secs(30), queue, total, heartbeat: None };
    let mut definition = definition("timed", vec![first, step("charge", "payments", &[0])]);
    definition.timeout = Some(Duration::from_secs(600));
    plan_of(definition)
}

pub(super) async fn timers(factory: Arc<dyn Factory>) -> Verdict {
    let begun = Input::StartAttempt {
        step: StepIndex(0),
        side: Side::Execute,
        attempt: 1,
        started_at: at(0),
        deadline: at(30),
        executor: "one".to_owned(),
        sent: false,
    };
    let time_up = Input::FireTimer { timer: TimerKind::Workflow };
    let withdraw = Input::WithdrawCommand { step: StepIndex(1), attempt: 1 };
    let course = [begun, failed(0, 1), done_at(0, 2), time_up, withdraw, undone(0)];
    follow(factory, &timed()?, &course, Status::RolledBack).await
}

/// A group of which one member can't be written, as its history would have a number twice.
pub(super) async fn all_or_nothing(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let plan = order()?;
    let (before, broken, beside) =
        (bench.begin(&plan).await?, bench.begin(&plan).await?, bench.begin(&plan).await?);
    let (_, good) = before.next(&done(0), at(1))?;
    let (_, write) = broken.next(&done(0), at(1))?;
    let event =
        |seq| Event { seq, time: at(1), actor: None, kind: EventKind::WorkflowPaused { reason: None } };
    let transition = Transition {
        events: vec![event(1)],
        ..write.record.transition().map_err(|error| error.to_string())?
    };
    let record = EncodedTransition::of(&transition).map_err(|error| error.to_string())?;
    let impossible = TransitionWrite { record: Arc::new(record), ..write };
    let (never, start) = Flow::start(&plan, Given::default())?;
    let group = vec![Write::Transition(good), unkeyed(start), Write::Transition(impossible)];
    // Another group that is written at the same time has nothing to do with it.
    let (moved, other) = beside.next(&done(0), at(1))?;
    let (failed, written) =
        tokio::join!(bench.store.write(group), bench.write(vec![Write::Transition(other)]));
    written?;
    ensure(failed.is_err(), || "a history with a number twice was written".to_owned())?;
    nothing_of(&bench, &never).await?;
    for flow in [&before, &broken, &moved] {
        bench.whole(flow).await.map_err(|found| format!("after a group that was not written: {found}"))?;
    }
    Ok(())
}

pub(super) async fn history(factory: Arc<dyn Factory>) -> Verdict {
    let bench = Bench::open(&factory).await?;
    let branches = 40;
    let mut flow = bench.begin(&parallel(branches, "work")?).await?;
    let mut neighbour = bench.begin(&order()?).await?;
    for branch in 0..branches {
        bench.news(&mut flow, &done(branch), at(i64::from(branch))).await?;
    }
    bench.news(&mut neighbour, &done(0), at(1)).await?;
    let page = async |after: u64, limit: u32| {
        bench.store.history(flow.id(), after, limit).await.map_err(unexpected("history"))
    };
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let events = page(after, 7).await?;
        ensure(events.len() <= 7, || format!("a page of 7 has {} events", events.len()))?;
        let Some(last) = events.last() else { break };
        after = last.seq;
        all.extend(events);
    }
    let numbers: Vec<u64> = all.iter().map(|event| event.seq).collect();
    same("the numbers of the history", &numbers, &(1..=flow.state.seq).collect())?;
    same("the history", &all, &flow.events)?;
    same("after the end", &page(flow.state.seq, 10).await?, &Vec::new())?;
    same("far after the end", &page(u64::MAX, 10).await?, &Vec::new())?;
    same("a page of none", &page(0, 0).await?, &Vec::new())?;
    let nowhere = bench.store.history(super::bench::new_id(), 0, 10).await.map_err(unexpected("history"))?;
    same("the history of nobody", &nowhere, &Vec::new())
}
