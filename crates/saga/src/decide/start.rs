//! The start of a workflow, also of one that is a child.

use super::{Decision, StartChild, StartWorkflow};
use crate::evolve::evolve;
use crate::{Event, EventKind, Expressions, Plan, RollbackCause, RulesVersion, State, Timestamp};
use alloc::borrow::ToOwned;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Returns the events of a start by the rules of this release, and the state after them.
#[must_use]
pub fn start(
    plan: &Plan,
    expressions: &dyn Expressions,
    request: &StartWorkflow,
    now: Timestamp,
) -> (Vec<Event>, State) {
    start_by(RulesVersion::CURRENT, plan, expressions, request, now)
}

/// Like [`start`], by other rules. While an earlier release is in use, new workflows follow rules that it knows.
#[must_use]
pub fn start_by(
    rules: RulesVersion,
    plan: &Plan,
    expressions: &dyn Expressions,
    start: &StartWorkflow,
    now: Timestamp,
) -> (Vec<Event>, State) {
    start_with(rules, plan, expressions, start, None, now)
}

/// Starts a workflow as a child, by given rules. Returns its events and the state after them.
#[must_use]
pub fn start_child(
    rules: RulesVersion,
    plan: &Plan,
    expressions: &dyn Expressions,
    start: &StartWorkflow,
    child: StartChild,
    now: Timestamp,
) -> (Vec<Event>, State) {
    start_with(rules, plan, expressions, start, Some(child), now)
}

fn start_with(
    rules: RulesVersion,
    plan: &Plan,
    expressions: &dyn Expressions,
    start: &StartWorkflow,
    child: Option<StartChild>,
    now: Timestamp,
) -> (Vec<Event>, State) {
    let definition = plan.definition();
    let mut labels = definition.labels.clone();
    labels.extend(start.labels.clone());
    let first = Event {
        seq: 1,
        time: now,
        actor: start.actor.clone(),
        sealed: None,
        kind: EventKind::WorkflowStarted {
            id: start.id,
            namespace: start.namespace.clone(),
            definition: definition.name.clone(),
            version: plan.version(),
            rules,
            steps: u32::try_from(definition.steps.len()).unwrap_or(u32::MAX),
            input: Arc::new(start.input.clone()),
            labels,
            deadline: definition.timeout.map(|limit| now.after(limit)),
            trace: start.trace.clone(),
            parent: child.map(|child| child.parent),
        },
    };
    let state = evolve(None, &first);
    // Invariant: `evolve` returns a state for every `WorkflowStarted`.
    #[allow(clippy::expect_used, reason = "states the invariant above")]
    let state = state.expect("evolve returns a state for a start");
    let mut decision = Decision { plan, expressions, state, events: alloc::vec![first], now, actor: None };
    if child.is_some_and(|child| child.withdrawn) {
        let reason = "the parent workflow rolled back before this child started";
        decision.begin_rollback(RollbackCause::Parent, None, Some(reason.to_owned()));
    }
    decision.advance();
    (decision.events, decision.state)
}
