//! The lifecycle of a workflow. Every transition changes its row, its history and its ledger together.

use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::{
    Event, EventKind, Input, Plan, Side, Status, StepIndex, Timeouts, TimerKind, Transition,
};

use super::batches::expect_nothing_stored;
use super::fixture::{
    Fixture, Flow, StartOptions, at, cancel, compensated, definition, done, done_at_attempt, ensure,
    expect_eq, failed, order, parallel, pause, plan_of, refused, resume, step, unexpected, unkeyed,
};
use super::{CaseResult, Factory};
use crate::{EncodedTransition, TransitionWrite, Write};

/// Starts a workflow, applies inputs and checks its consistency after each of them. The workflow must end with the status
/// `end` and an empty ledger.
async fn follow(factory: Arc<dyn Factory>, plan: &Arc<Plan>, inputs: &[Input], end: Status) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut flow = fixture.start(plan).await?;
    fixture.check_consistency(&flow).await.map_err(|found| format!("after the start: {found}"))?;
    for (number, input) in (1..).zip(inputs) {
        fixture.apply(&mut flow, input, at(number)).await?;
        fixture.check_consistency(&flow).await.map_err(|found| format!("after {input:?}: {found}"))?;
    }
    expect_eq("the final status computed by the rules", &flow.state.status(), &end)?;
    expect_eq("the ledger of an ended workflow", &fixture.rows(flow.id()).await?, &Vec::new())?;
    let heads = fixture.store.heads(&[flow.id()]).await.map_err(unexpected("heads"))?;
    expect_eq("the final status in the heads", &heads.first().map(|head| head.status), &Some(end))
}

pub(super) async fn completes(factory: Arc<dyn Factory>) -> CaseResult {
    let inputs = [failed(0, 1), failed(0, 2), done_at_attempt(0, 3), done(1), done(2)];
    follow(factory, &order()?, &inputs, Status::Completed).await
}

pub(super) async fn rolls_back(factory: Arc<dyn Factory>) -> CaseResult {
    let inputs = [done(0), done(1), refused(2), compensated(1), compensated(0)];
    follow(factory, &order()?, &inputs, Status::RolledBack).await
}

pub(super) async fn cancelled(factory: Arc<dyn Factory>) -> CaseResult {
    let withdraw = Input::WithdrawCommand { step: StepIndex(1), attempt: 1 };
    let inputs = [done(0), cancel(), done(2), compensated(2), withdraw, compensated(0)];
    follow(factory, &parallel(3, "work")?, &inputs, Status::RolledBack).await
}

pub(super) async fn paused(factory: Arc<dyn Factory>) -> CaseResult {
    let terminate = Input::Terminate { actor: Some("ops".to_owned()), reason: "enough".to_owned() };
    let inputs = [pause(), done(0), resume(), done(1), pause(), resume(), terminate];
    follow(factory, &order()?, &inputs, Status::Terminated).await
}

/// Returns a plan with timeouts: a queue timeout and a total timeout of the first step, and a workflow timeout.
pub(super) fn timed() -> Result<Arc<Plan>, String> {
    let mut first = step("reserve", "stock", &[]);
    let (queue, total) = (Some(Duration::from_secs(20)), Some(Duration::from_secs(60)));
    first.timeout = Timeouts { attempt: Duration::from_secs(30), queue, total, heartbeat: None };
    let mut definition = definition("timed", vec![first, step("charge", "payments", &[0])]);
    definition.timeout = Some(Duration::from_secs(600));
    plan_of(definition)
}

/// Returns the same plan with a workflow timeout that expires at once.
pub(super) fn timed_out() -> Result<Arc<Plan>, String> {
    let mut definition = timed()?.definition().clone();
    definition.timeout = Some(Duration::from_millis(1));
    plan_of(definition)
}

pub(super) async fn timers(factory: Arc<dyn Factory>) -> CaseResult {
    let started = Input::StartAttempt {
        step: StepIndex(0),
        side: Side::Execute,
        attempt: 1,
        started_at: at(0),
        deadline: at(30),
        executor: "one".to_owned(),
        sent: false,
        trace: None,
    };
    let plan = timed_out()?;
    let timed_out = Input::FireTimer { timer: TimerKind::Workflow };
    let withdraw = Input::WithdrawCommand { step: StepIndex(1), attempt: 1 };
    let inputs = [started, failed(0, 1), done_at_attempt(0, 2), timed_out, withdraw, compensated(0)];
    follow(factory, &plan, &inputs, Status::RolledBack).await
}

/// One entry of the batch cannot be written, because its history would contain a duplicate seq.
pub(super) async fn all_or_nothing(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let plan = order()?;
    let (unchanged, invalid, concurrent) =
        (fixture.start(&plan).await?, fixture.start(&plan).await?, fixture.start(&plan).await?);
    let (_, good) = unchanged.next(&done(0), at(1))?;
    let (_, write) = invalid.next(&done(0), at(1))?;
    let event = |seq| Event {
        seq,
        time: at(1),
        actor: None,
        sealed: None,
        kind: EventKind::WorkflowPaused { reason: None },
    };
    let transition = Transition {
        events: vec![event(1)],
        ..write.record.transition().map_err(|error| error.to_string())?
    };
    let record = EncodedTransition::of(&transition).map_err(|error| error.to_string())?;
    let duplicate_seq = TransitionWrite { record: Arc::new(record), ..write };
    let (never, start) = Flow::start(&plan, StartOptions::default())?;
    let batch = vec![Write::Transition(good), unkeyed(start), Write::Transition(duplicate_seq)];
    // A failed batch must not affect another batch that is written at the same time.
    let (moved, other) = concurrent.next(&done(0), at(1))?;
    let (failed, written) =
        tokio::join!(fixture.store.write(batch), fixture.write(vec![Write::Transition(other)]));
    written?;
    ensure(failed.is_err(), || "a history with a duplicate seq was written".to_owned())?;
    expect_nothing_stored(&fixture, &never).await?;
    for flow in [&unchanged, &invalid, &moved] {
        fixture.check_consistency(flow).await.map_err(|found| format!("after a failed batch: {found}"))?;
    }
    Ok(())
}

pub(super) async fn history(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let branches = 40;
    let mut flow = fixture.start(&parallel(branches, "work")?).await?;
    let mut other = fixture.start(&order()?).await?;
    for branch in 0..branches {
        fixture.apply(&mut flow, &done(branch), at(i64::from(branch))).await?;
    }
    fixture.apply(&mut other, &done(0), at(1)).await?;
    let page = async |after: u64, limit: u32| {
        fixture.store.history(flow.id(), after, limit).await.map_err(unexpected("history"))
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
    expect_eq("the seqs of the history", &numbers, &(1..=flow.state.seq).collect())?;
    expect_eq("the history", &all, &flow.events)?;
    expect_eq("the history after the last event", &page(flow.state.seq, 10).await?, &Vec::new())?;
    expect_eq("the history after the highest seq", &page(u64::MAX, 10).await?, &Vec::new())?;
    expect_eq("a history page of size 0", &page(0, 0).await?, &Vec::new())?;
    let missing =
        fixture.store.history(super::fixture::new_id(), 0, 10).await.map_err(unexpected("history"))?;
    expect_eq("the history of a missing workflow", &missing, &Vec::new())
}
