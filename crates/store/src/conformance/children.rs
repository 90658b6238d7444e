//! Rollbacks of completed workflows, and the ledger rows of child workflows.

use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::{
    Action, Child, ChildEnd, Failure, Input, OnParentClose, OwedKey, Parent, Plan, RollbackCause,
    RulesVersion, Side, StartChild, StartWorkflow, Status, Step, StepIndex, TimerKind, WorkflowId,
    start_child, transition,
};

use super::fixture::{
    Fixture, Flow, NAMESPACE, StartOptions, at, cancel, compensated, definition, done, ensure, expect_eq,
    keyed, order, plan_of, step, unexpected,
};
use super::flow::{NoExpressions, transition_write};
use super::lists::all;
use super::{CaseResult, Factory};
use crate::{
    ClaimRequest, Comparison, Field, Filter, FilterValue, ListRequest, MaintenanceRequest, RowKind,
    TransitionWrite, WriteOutcome,
};

const CHILD: OwedKey = OwedKey::Timer(TimerKind::StepChild(StepIndex(0)));

/// Returns the counts by status.
async fn counts(fixture: &Fixture) -> Result<Vec<(String, u64)>, String> {
    let counts = fixture.store.counts(NAMESPACE, Field::Status, None).await.map_err(unexpected("counts"))?;
    Ok(counts.into_iter().map(|count| (count.value, count.count)).collect())
}

/// Checks that the workflow is counted and listed with its status, and with no other one.
pub(super) async fn check_indexes(fixture: &Fixture, flow: &Flow) -> CaseResult {
    let status = flow.state.status();
    expect_eq("the counts", &counts(fixture).await?, &vec![(status.as_str().to_owned(), 1)])?;
    for each in Status::ALL {
        let value = FilterValue::Text(each.as_str().to_owned());
        let filter = Some(Filter::Compare(Field::Status, Comparison::Equal, value));
        let page = fixture.store.list(&ListRequest { filter, ..all(NAMESPACE) }).await;
        let ids: Vec<WorkflowId> =
            page.map_err(unexpected("list"))?.workflows.into_iter().map(|found| found.id).collect();
        let expected = if each == status { vec![flow.id()] } else { Vec::new() };
        expect_eq(&format!("the workflows that are {}", each.as_str()), &ids, &expected)?;
    }
    fixture.check_consistency(flow).await
}

fn roll_back() -> Input {
    Input::RollBack { cause: RollbackCause::Operator, actor: Some("ops".to_owned()), reason: None }
}

pub(super) async fn completed_workflow_rolls_back(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut flow = fixture.start(&order()?).await?;
    let inputs = [done(0), done(1), done(2), roll_back(), compensated(2), compensated(1), compensated(0)];
    for (number, input) in (1..).zip(&inputs) {
        fixture.apply(&mut flow, input, at(number)).await?;
        check_indexes(&fixture, &flow).await.map_err(|found| format!("after {input:?}: {found}"))?;
    }
    expect_eq("the status", &flow.state.status(), &Status::RolledBack)
}

/// The rollback ends in the transition that begins it.
pub(super) async fn rollback_without_compensations(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let only = Step { compensate: None, ..step("look", "stock", &[]) };
    let mut flow = fixture.start(&plan_of(definition("look", vec![only]))?).await?;
    for (number, input) in (1..).zip([done(0), roll_back()]) {
        fixture.apply(&mut flow, &input, at(number)).await?;
        check_indexes(&fixture, &flow).await?;
    }
    expect_eq("the status", &flow.state.status(), &Status::RolledBack)
}

/// The retention removes a workflow by its last end.
pub(super) async fn retention_spares_reopened(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut flow = fixture.start(&order()?).await?;
    for (number, input) in (1..).zip([done(0), done(1), done(2), roll_back()]) {
        fixture.apply(&mut flow, &input, at(number)).await?;
    }
    let request = MaintenanceRequest { now: at(100_000), retention: Some(Duration::from_secs(60)).into() };
    fixture.store.maintain(&request).await.map_err(unexpected("maintain"))?;
    check_indexes(&fixture, &flow).await
}

/// A child is kept until its parent is removed, because a rollback of the parent needs it.
pub(super) async fn retention_keeps_children(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut parent = fixture.start(&parent()?).await?;
    let (mut child, start) = Flow::start(&order()?, StartOptions::default())?;
    let key = parent.plan.idempotency_key(parent.id(), StepIndex(0), Side::Execute);
    fixture.write(vec![keyed(start, &key, "digest")]).await?;
    for (number, input) in (1..).zip([done(0), done(1), done(2)]) {
        fixture.apply(&mut child, &input, at(number)).await?;
    }
    let started = Input::ChildStarted { step: StepIndex(0), attempt: 1, child: child.id() };
    fixture.apply(&mut parent, &started, at(4)).await?;
    let removed = removed_at(&fixture, 1000).await?;
    expect_eq("the number of workflows removed while the parent is open", &removed, &0)?;
    fixture.check_consistency(&child).await?;
    let output = serde_json::json!({"room": 7}).into();
    fixture.apply(&mut parent, &ended(child.id(), ChildEnd::Completed { output }), at(1000)).await?;
    fixture.apply(&mut parent, &done(1), at(1001)).await?;
    expect_eq("the status of the parent", &parent.state.status(), &Status::Completed)?;
    let removed = removed_at(&fixture, 1010).await?;
    expect_eq("the number of workflows removed while the parent is kept", &removed, &0)?;
    fixture.check_consistency(&child).await?;
    // The parent is removed before its child, by one maintenance or by two.
    let removed = removed_at(&fixture, 2000).await? + removed_at(&fixture, 2000).await?;
    expect_eq("the number of workflows removed after the retention of the parent", &removed, &2)
}

/// The definition can choose the idempotency key of a child, which then says nothing about its parent.
pub(super) async fn retention_keeps_keyed_children(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut parent = fixture.start(&parent()?).await?;
    let (mut child, start) = child_of(&parent)?;
    fixture.write(vec![keyed(start.clone(), "booking-7", "digest")]).await?;
    // The same start again, as after the death of the process that wrote the first one.
    let outcomes = fixture.outcomes(vec![keyed(start, "booking-7", "digest")]).await?;
    ensure(matches!(outcomes.as_slice(), [WriteOutcome::Replayed(_)]), || format!("{outcomes:?}"))?;
    // A workflow with a key of a caller, which has no parent.
    let (mut other, start) = Flow::start(&order()?, StartOptions::default())?;
    fixture.write(vec![keyed(start, "booking-8", "digest")]).await?;
    for (number, input) in (1..).zip([done(0), done(1), done(2)]) {
        fixture.apply(&mut child, &input, at(number)).await?;
        fixture.apply(&mut other, &input, at(number)).await?;
    }
    let started = Input::ChildStarted { step: StepIndex(0), attempt: 1, child: child.id() };
    fixture.apply(&mut parent, &started, at(4)).await?;
    let removed = removed_at(&fixture, 1000).await? + removed_at(&fixture, 1000).await?;
    expect_eq("the number of workflows removed while the parent is open", &removed, &1)?;
    fixture.check_consistency(&child).await?;
    let output = serde_json::json!({"room": 7}).into();
    fixture.apply(&mut parent, &ended(child.id(), ChildEnd::Completed { output }), at(1000)).await?;
    fixture.apply(&mut parent, &done(1), at(1001)).await?;
    let by_status = crate::Retention {
        completed: Some(Duration::from_secs(60)),
        rolled_back: Some(Duration::from_secs(70)),
        terminated: None,
    };
    let request = MaintenanceRequest { now: at(1010), retention: by_status };
    let report = fixture.store.maintain(&request).await.map_err(unexpected("maintain"))?;
    expect_eq("the number of workflows removed while the parent is kept", &report.removed, &0)?;
    let removed = removed_at(&fixture, 2000).await? + removed_at(&fixture, 2000).await?;
    expect_eq("the number of workflows removed after the retention of the parent", &removed, &2)
}

/// Computes the start of the child of the first step.
fn child_of(parent: &Flow) -> Result<(Flow, TransitionWrite), String> {
    let plan = order()?;
    let first = StartWorkflow {
        id: super::fixture::new_id(),
        namespace: NAMESPACE.to_owned(),
        input: serde_json::json!({"order": 7}),
        labels: std::collections::BTreeMap::new(),
        actor: None,
        trace: None,
    };
    let above = Parent {
        id: parent.id(),
        step: StepIndex(0),
        attempt: 1,
        depth: 1,
        elements_of: None,
        generation: 0,
    };
    let child = StartChild { parent: above, withdrawn: false };
    let (events, state) = start_child(RulesVersion::CURRENT, &plan, &NoExpressions, &first, child, at(0));
    let write = transition_write(&transition(&plan, None, events.clone(), state.clone()), at(0))?;
    Ok((Flow { plan, state, events }, write))
}

/// Returns the number of workflows that one maintenance removes.
async fn removed_at(fixture: &Fixture, seconds: i64) -> Result<u64, String> {
    let request = MaintenanceRequest { now: at(seconds), retention: Some(Duration::from_secs(60)).into() };
    let report = fixture.store.maintain(&request).await.map_err(unexpected("maintain"))?;
    Ok(report.removed)
}

fn parent() -> Result<Arc<Plan>, String> {
    let child = Child {
        workflow: "child".to_owned(),
        version: None,
        id: None,
        on_parent_close: OnParentClose::default(),
    };
    let mut first = step("book", "stock", &[]);
    first.compensate = first.compensate.map(|undo| undone_by(&child, undo));
    first.action = Action::Child(child);
    plan_of(definition("parent", vec![first, step("charge", "payments", &[0])]))
}

/// Returns the compensation of a step whose child is rolled back.
fn undone_by(child: &Child, compensation: goconductor_saga::Compensation) -> goconductor_saga::Compensation {
    goconductor_saga::Compensation { action: Action::Child(child.clone()), ..compensation }
}

fn ended(child: WorkflowId, end: ChildEnd) -> Input {
    Input::ChildEnded { step: StepIndex(0), attempt: 1, child: Some(child), end }
}

pub(super) async fn ledger_with_child(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut flow = fixture.start(&parent()?).await?;
    fixture.check_consistency(&flow).await?;
    let child = super::fixture::new_id();
    let output = serde_json::json!({"room": 7}).into();
    let failure = Failure::of("CHILD_ROLLED_BACK", "the parent rolled back");
    let withdraw = Input::WithdrawCommand { step: StepIndex(1), attempt: 1 };
    let inputs = [
        Input::ChildStarted { step: StepIndex(0), attempt: 1, child },
        ended(child, ChildEnd::Completed { output }),
        cancel(),
        withdraw,
        ended(child, ChildEnd::RolledBack { failure }),
    ];
    for (number, input) in (1..).zip(&inputs) {
        fixture.apply(&mut flow, input, at(number)).await?;
        fixture.check_consistency(&flow).await.map_err(|found| format!("after {input:?}: {found}"))?;
    }
    expect_eq("the status", &flow.state.status(), &Status::RolledBack)
}

/// The row of a running child that was claimed and postponed is due at once when the parent begins to roll back.
pub(super) async fn rollback_makes_child_due(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut flow = fixture.start(&parent()?).await?;
    let child = super::fixture::new_id();
    let started = Input::ChildStarted { step: StepIndex(0), attempt: 1, child };
    fixture.apply(&mut flow, &started, at(0)).await?;
    let claim = |seconds| ClaimRequest { lanes: Vec::new(), ..super::fixture::timers(at(seconds)) };
    let rows = fixture.claim(&claim(10)).await?;
    expect_eq("the claimed keys", &rows.iter().map(|row| row.key.key).collect::<Vec<_>>(), &vec![CHILD])?;
    let keys: Vec<_> = rows.iter().map(|row| row.key).collect();
    fixture.store.extend(&keys, at(1000)).await.map_err(unexpected("extend"))?;
    let rows = fixture.claim(&claim(500)).await?;
    ensure(rows.is_empty(), || format!("a postponed row was claimed: {rows:?}"))?;
    fixture.apply(&mut flow, &cancel(), at(501)).await?;
    let rows = fixture.claim(&claim(501)).await?;
    expect_eq("the claimed rows", &rows.len(), &1)?;
    ensure(rows.iter().all(|row| row.key.key == CHILD && row.kind == RowKind::Run), || format!("{rows:?}"))
}
