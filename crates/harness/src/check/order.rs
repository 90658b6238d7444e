//! T6 to T9 in the histories: the order in which commands are issued.

use super::evidence::{Case, Evidence};
use super::replay::{CompensationProgress, Execution, Replay};
use super::{Finding, Findings};
use goconductor_saga::{Event, EventKind, Side};

/// T6: a step starts only after its dependencies, and the pivot only after every step before it. No forward step is
/// issued after a rollback was requested.
#[must_use]
pub fn steps_start_in_order(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T6");
    for (id, case) in &evidence.cases {
        case.walk(|before, event| {
            if let Some(what) = wrong_start(case, before, event) {
                found.push(id, format!("event {}: {what}", event.seq));
            }
        });
    }
    found.list
}

fn wrong_start(case: &Case<'_>, before: &Replay, event: &Event) -> Option<String> {
    let index = event.kind.step()?.at();
    let (name, step) = (case.shape.name(index), before.step(index)?);
    match &event.kind {
        EventKind::StepQueued { .. } | EventKind::LocksRequested { .. }
            if before.rolling || before.pending =>
        {
            Some(format!("{name} is issued after a rollback was requested"))
        }
        // An operator's retry requests the lock of an open step again.
        EventKind::StepQueued { .. } if step.execution != Execution::Pending => {
            Some(format!("{name} is issued again while it is {:?}", step.execution))
        }
        EventKind::StepQueued { .. } | EventKind::LocksRequested { .. } => waits_for(case, before, index)
            .map(|on| format!("{name} is issued before {} has settled", case.shape.name(on))),
        EventKind::StepRetried { side: Side::Execute, .. }
        | EventKind::AttemptFailed { side: Side::Execute, .. }
            if before.rolling =>
        {
            Some(format!("{name} is retried after a rollback began"))
        }
        EventKind::AttemptStarted { side: Side::Execute, .. }
        | EventKind::AttemptFailed { side: Side::Execute, .. }
        | EventKind::StepUnknown { .. }
            if step.execution != Execution::Open =>
        {
            Some(format!("{name} has an attempt while it is {:?}", step.execution))
        }
        EventKind::AttemptStarted { .. }
        | EventKind::AttemptFailed { .. }
        | EventKind::StepUnknown { .. }
        | EventKind::StepRetried { .. }
        | EventKind::StepSkipped { .. }
        | EventKind::StepCompleted { .. }
        | EventKind::StepFailed { .. }
        | EventKind::StepWithdrawn { .. }
        | EventKind::CompensationQueued { .. }
        | EventKind::StepCompensated { .. }
        | EventKind::CompensationFailed { .. }
        | EventKind::CompensationSkipped { .. }
        | EventKind::WorkflowStarted { .. }
        | EventKind::RollbackRequested { .. }
        | EventKind::RollbackRefused { .. }
        | EventKind::RollbackStarted { .. }
        | EventKind::StepWaiting { .. }
        | EventKind::ChildStarted { .. }
        | EventKind::SignalReceived { .. }
        | EventKind::SignalDelivered { .. }
        | EventKind::StepProbing { .. }
        | EventKind::FailureTolerated { .. }
        | EventKind::CompensationUnneeded { .. }
        | EventKind::RerunStarted { .. }
        | EventKind::StepsReset { .. }
        | EventKind::WorkflowMigrated { .. }
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::WorkflowCompleted { .. }
        | EventKind::LocksAcquired { .. }
        | EventKind::LocksFailed { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => None,
    }
}

/// A step that should have settled before this one.
fn waits_for(case: &Case<'_>, before: &Replay, index: usize) -> Option<usize> {
    let above = case.shape.above(index);
    let unsettled = |on: &usize| !before.step(*on).is_some_and(super::replay::Step::is_settled);
    let done = |on: &usize| {
        before.step(*on).is_some_and(|step| {
            step.execution == Execution::Completed || step.skipped_by_operator || step.tolerated
        })
    };
    let join = case.shape.graph.nodes.get(index).map_or("all", |node| node.join.as_str());
    // `all` and `any` need one completed dependency; `settled` needs none.
    let none_completed = (join != "settled" && !above.is_empty() && !above.iter().any(done))
        .then(|| above.first().copied())
        .flatten();
    let open = if join == "any" { None } else { above.iter().copied().find(|on| unsettled(on)) };
    none_completed.or(open).or_else(|| waits_for_pivot(case, before, index))
}

/// Nothing overtakes the pivot, and the pivot overtakes nothing.
fn waits_for_pivot(case: &Case<'_>, before: &Replay, index: usize) -> Option<usize> {
    let pivot = case.shape.pivot?;
    let unsettled = |on: &usize| !before.step(*on).is_some_and(super::replay::Step::is_settled);
    if index == pivot {
        let after: Vec<usize> = case.shape.below(pivot).collect();
        return (0..case.shape.graph.nodes.len())
            .find(|each| *each != pivot && !after.contains(each) && unsettled(each));
    }
    case.shape.below(pivot).any(|each| each == index).then_some(pivot).filter(unsettled)
}

/// T7 in the history: no execute of a step is issued after its compensate. A compensate is not issued while an execute
/// is open, is not due while an execute may still take effect, and is not issued for a step that certainly had no effect.
pub(super) fn nothing_runs_after_its_compensate(evidence: &Evidence<'_>, found: &mut Findings) {
    for (id, case) in &evidence.cases {
        case.walk(|before, event| {
            if let Some(what) = hanging_execute(case, before, event) {
                found.push(id, format!("event {}: {what}", event.seq));
            }
        });
    }
}

fn hanging_execute(case: &Case<'_>, before: &Replay, event: &Event) -> Option<String> {
    let index = event.kind.step()?.at();
    let (name, step) = (case.shape.name(index), before.step(index)?);
    let executes = matches!(
        event.kind,
        EventKind::StepQueued { .. }
            | EventKind::AttemptStarted { side: Side::Execute, .. }
            | EventKind::StepRetried { side: Side::Execute, .. }
    );
    if executes && step.compensation != CompensationProgress::No {
        return Some(format!("{name} is executed after its compensate was issued"));
    }
    let EventKind::CompensationQueued { due_at, .. } = &event.kind else { return None };
    if step.execution == Execution::Open {
        return Some(format!("the compensate of {name} is issued while an execute of it is open"));
    }
    if let Some(until) = step.doubt_until.filter(|until| due_at.0 < *until) {
        let early = until - due_at.0;
        return Some(format!(
            "the compensate of {name} is due {early} µs before the deadline of an attempt of unknown outcome"
        ));
    }
    (!step.may_have_happened()).then(|| format!("{name} is compensated but certainly had no effect"))
}

/// T8 in the history: nothing is rolled back after the pivot completed.
pub(super) fn pivot_is_final(evidence: &Evidence<'_>, found: &mut Findings) {
    for (id, case) in &evidence.cases {
        let Some(pivot) = case.shape.pivot else { continue };
        case.walk(|before, event| {
            if before.step(pivot).is_none_or(|step| step.execution != Execution::Completed) {
                return;
            }
            let seq = event.seq;
            if let EventKind::CompensationQueued { step, .. } = &event.kind {
                let (name, pivot) = (case.shape.name(step.at()), case.shape.name(pivot));
                found.push(
                    id,
                    format!("event {seq}: {name} is compensated after the pivot {pivot} completed"),
                );
            }
            if matches!(event.kind, EventKind::RollbackStarted { .. }) {
                let pivot = case.shape.name(pivot);
                found.push(id, format!("event {seq}: a rollback begins after the pivot {pivot} completed"));
            }
        });
    }
}

/// T9 in the history: a compensation is issued after the compensations of all dependent steps have ended.
pub(super) fn compensations_run_in_reverse(evidence: &Evidence<'_>, found: &mut Findings) {
    for (id, case) in &evidence.cases {
        case.walk(|before, event| {
            let EventKind::CompensationQueued { step, .. } = &event.kind else { return };
            let blocked = case.shape.below(step.at()).find(|below| {
                before.step(*below).is_some_and(|step| {
                    let needs = case.shape.can_be_undone(*below) && step.may_have_happened();
                    step.execution == Execution::Open || (needs && !step.is_undone())
                })
            });
            if let Some(below) = blocked {
                let (name, below) = (case.shape.name(step.at()), case.shape.name(below));
                let seq = event.seq;
                found.push(
                    id,
                    format!("event {seq}: {name} is compensated before {below}, which depends on it"),
                );
            }
        });
    }
}
