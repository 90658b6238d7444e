//! Re-runs of workflows that had ended, and migrations to another version.

use std::sync::Arc;
use std::time::Duration;

use goconductor_saga::{Input, MigrateWorkflow, Plan, Side, Status, StepIndex, migrate};

use super::children::check_indexes;
use super::fixture::{
    Fixture, Flow, at, compensated, definition, done, done_at_attempt, expect_eq, order, plan_of, refused,
    step, unexpected,
};
use super::flow::{NoExpressions, compensated_at_attempt, transition_write};
use super::{CaseResult, Factory};
use crate::{Field, MaintenanceRequest, Write};

fn rerun(step: Option<u32>, keeps_effects: bool) -> Input {
    Input::Rerun {
        step: step.map(StepIndex),
        keeps_effects,
        actor: Some("ops".to_owned()),
        reason: "wrong price".to_owned(),
    }
}

/// A workflow that was rolled back is re-run from its first step, and one that completed from its second.
pub(super) async fn ended_workflow_is_re_run(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut flow = fixture.start(&order()?).await?;
    let inputs = [
        done(0),
        refused(1),
        compensated(0),
        rerun(None, false),
        // Each generation passes over the number of one attempt.
        done_at_attempt(0, 3),
        done_at_attempt(1, 3),
        done_at_attempt(2, 2),
        rerun(Some(1), false),
        compensated_at_attempt(2, 2),
        compensated_at_attempt(1, 2),
        done_at_attempt(1, 5),
        done_at_attempt(2, 4),
    ];
    for (number, input) in (1..).zip(&inputs) {
        fixture.apply(&mut flow, input, at(number)).await?;
        check_indexes(&fixture, &flow).await.map_err(|found| format!("after {input:?}: {found}"))?;
    }
    expect_eq("the status", &flow.state.status(), &Status::Completed)?;
    let key = flow.state.idempotency_key(&flow.plan, StepIndex(1), Side::Execute);
    expect_eq("the key", &key, &format!("{}/charge~3/execute", flow.id()))
}

/// A workflow can end in the transition that re-runs it, if its first step cannot be executed.
pub(super) async fn ends_at_once(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut only = step("look", "stock", &[]);
    only.compensate = None;
    let mut flow = fixture.start(&plan_of(definition("look", vec![only.clone()]))?).await?;
    fixture.apply(&mut flow, &done(0), at(1)).await?;
    fixture.apply(&mut flow, &rerun(None, false), at(2)).await?;
    check_indexes(&fixture, &flow).await?;
    fixture.apply(&mut flow, &done_at_attempt(0, 3), at(3)).await?;
    check_indexes(&fixture, &flow).await?;
    // An expression that cannot be evaluated ends the second attempt at once: the workflow rolls back in the transition
    // that re-runs it.
    flow.plan = failing_at_its_input(only)?;
    fixture.apply(&mut flow, &rerun(None, false), at(4)).await?;
    expect_eq("the status", &flow.state.status(), &Status::RolledBack)?;
    check_indexes(&fixture, &flow).await
}

/// Returns the plan of a step whose input cannot be computed.
fn failing_at_its_input(step: goconductor_saga::Step) -> Result<Arc<Plan>, String> {
    let input = Some(goconductor_saga::Template::Expression("input.missing".to_owned()));
    plan_of(definition("look", vec![goconductor_saga::Step { input, ..step }]))
}

/// The retention does not remove a workflow that had ended and is re-run.
pub(super) async fn retention_spares(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let mut flow = fixture.start(&order()?).await?;
    for (number, input) in (1..).zip([done(0), done(1), done(2), rerun(Some(2), false)]) {
        fixture.apply(&mut flow, &input, at(number)).await?;
    }
    let request = MaintenanceRequest { now: at(100_000), retention: Some(Duration::from_secs(60)).into() };
    fixture.store.maintain(&request).await.map_err(unexpected("maintain"))?;
    check_indexes(&fixture, &flow).await
}

/// The counts and the lists of a migrated workflow have its new version, before and after its end.
pub(super) async fn migrated(factory: Arc<dyn Factory>) -> CaseResult {
    let fixture = Fixture::open(&factory).await?;
    let steps = || vec![step("reserve", "stock", &[]), step("charge", "payments", &[0])];
    let first = plan_of(definition("order", steps()))?;
    let mut flow = fixture.start(&first).await?;
    fixture.apply(&mut flow, &done(0), at(1)).await?;
    let longer = steps().into_iter().chain([step("ship", "shipping", &[1])]).collect();
    flow = migrate_to(&fixture, &flow, longer, 2).await?;
    check_version(&fixture, &flow).await?;
    fixture.apply(&mut flow, &done(1), at(3)).await?;
    fixture.apply(&mut flow, &done(2), at(4)).await?;
    check_version(&fixture, &flow).await
}

async fn check_version(fixture: &Fixture, flow: &Flow) -> CaseResult {
    check_indexes(fixture, flow).await?;
    let counts = fixture.store.counts(&flow.state.namespace, Field::Version, None).await;
    let counts: Vec<(String, u64)> =
        counts.map_err(unexpected("counts"))?.into_iter().map(|count| (count.value, count.count)).collect();
    expect_eq("the counts by version", &counts, &vec![(flow.state.version.to_string(), 1)])
}

async fn migrate_to(
    fixture: &Fixture,
    flow: &Flow,
    steps: Vec<goconductor_saga::Step>,
    version: u32,
) -> Result<Flow, String> {
    let to = Plan::new(definition("order", steps), version).map_err(|error| error.to_string())?;
    let request = MigrateWorkflow::default();
    let change = migrate(&flow.plan, &to, &NoExpressions, &flow.state, &request, at(2))
        .map_err(|refusal| format!("invalid test case: {refusal}"))?;
    fixture.write(vec![Write::Transition(transition_write(&change, at(2))?)]).await?;
    let mut events = flow.events.clone();
    events.extend(change.events);
    Ok(Flow { plan: Arc::new(to), state: change.state, events })
}
