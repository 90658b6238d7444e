//! T6 to T9 in J: what is issued when.

use super::evidence::{Case, Evidence};
use super::replay::{Forward, Replay, Undo};
use super::{Finding, Findings};
use goconductor_saga::{Event, EventKind, Side};

/// T6: a step starts only after what it depends on, the pivot after all that comes before it; no forward
/// step is issued once a roll-back is asked for.
#[must_use]
pub fn t6(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T6");
    for (id, case) in &evidence.cases {
        case.walk(|before, event| {
            if let Some(what) = begins_wrongly(case, before, event) {
                found.push(id, format!("event {}: {what}", event.seq));
            }
        });
    }
    found.list
}

fn begins_wrongly(case: &Case<'_>, before: &Replay, event: &Event) -> Option<String> {
    let index = event.kind.step()?.at();
    let (name, step) = (case.shape.name(index), before.step(index)?);
    match &event.kind {
        EventKind::StepQueued { .. } if before.rolling || before.pending => {
            Some(format!("{name} is issued though a roll-back is asked for"))
        }
        EventKind::StepQueued { .. } if step.forward != Forward::Pending => {
            Some(format!("{name} is issued again: it is {:?}", step.forward))
        }
        EventKind::StepQueued { .. } => waits_for(case, before, index)
            .map(|on| format!("{name} is issued before {} has settled", case.shape.name(on))),
        EventKind::StepRetried { side: Side::Execute, .. }
        | EventKind::AttemptFailed { side: Side::Execute, .. }
            if before.rolling =>
        {
            Some(format!("{name} is tried again though a roll-back began"))
        }
        EventKind::AttemptStarted { side: Side::Execute, .. }
        | EventKind::AttemptFailed { side: Side::Execute, .. }
        | EventKind::StepUnknown { .. }
            if step.forward != Forward::Open =>
        {
            Some(format!("{name} has an attempt though it is {:?}", step.forward))
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
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::WorkflowCompleted { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => None,
    }
}

/// A step that this one should have waited for.
fn waits_for(case: &Case<'_>, before: &Replay, index: usize) -> Option<usize> {
    let above = case.shape.above(index);
    let unsettled = |on: &usize| !before.step(*on).is_some_and(super::replay::Step::is_settled);
    let done =
        |on: &usize| before.step(*on).is_some_and(|step| step.forward == Forward::Completed || step.waived);
    let join = case.shape.graph.nodes.get(index).map_or("all", |node| node.join.as_str());
    // By `all` and `any` one of them has to be done, not all skipped; by `settled` none.
    let nobody_done = (join != "settled" && !above.is_empty() && !above.iter().any(done))
        .then(|| above.first().copied())
        .flatten();
    let open = if join == "any" { None } else { above.iter().copied().find(|on| unsettled(on)) };
    nobody_done.or(open).or_else(|| waits_for_pivot(case, before, index))
}

/// Nothing overtakes the pivot, and it overtakes nothing.
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

/// T7 in J: no execute of a step is issued after its compensate, which is not issued while an execute is
/// open, nor due while one may still take effect, nor at all for what certainly did not happen.
pub(super) fn t7(evidence: &Evidence<'_>, found: &mut Findings) {
    for (id, case) in &evidence.cases {
        case.walk(|before, event| {
            if let Some(what) = hangs(case, before, event) {
                found.push(id, format!("event {}: {what}", event.seq));
            }
        });
    }
}

fn hangs(case: &Case<'_>, before: &Replay, event: &Event) -> Option<String> {
    let index = event.kind.step()?.at();
    let (name, step) = (case.shape.name(index), before.step(index)?);
    let executes = matches!(
        event.kind,
        EventKind::StepQueued { .. }
            | EventKind::AttemptStarted { side: Side::Execute, .. }
            | EventKind::StepRetried { side: Side::Execute, .. }
    );
    if executes && step.undo != Undo::No {
        return Some(format!("{name} is executed after its compensate was issued"));
    }
    let EventKind::CompensationQueued { due_at, .. } = &event.kind else { return None };
    if step.forward == Forward::Open {
        return Some(format!("the compensate of {name} is issued while an execute of it is open"));
    }
    if let Some(until) = step.doubt_until.filter(|until| due_at.0 < *until) {
        let early = until - due_at.0;
        return Some(format!(
            "the compensate of {name} is due {early} µs before an attempt of unknown outcome can't land any more"
        ));
    }
    (!step.may_have_happened()).then(|| format!("{name} is compensated, and certainly did not happen"))
}

/// T8 in J: once the pivot has completed nothing is rolled back.
pub(super) fn t8(evidence: &Evidence<'_>, found: &mut Findings) {
    for (id, case) in &evidence.cases {
        let Some(pivot) = case.shape.pivot else { continue };
        case.walk(|before, event| {
            if before.step(pivot).is_none_or(|step| step.forward != Forward::Completed) {
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
                found.push(id, format!("event {seq}: a roll-back begins after the pivot {pivot} completed"));
            }
        });
    }
}

/// T9 in J: a compensation is issued after those of all that depend on it have ended.
pub(super) fn t9(evidence: &Evidence<'_>, found: &mut Findings) {
    for (id, case) in &evidence.cases {
        case.walk(|before, event| {
            let EventKind::CompensationQueued { step, .. } = &event.kind else { return };
            let blocked = case.shape.below(step.at()).find(|below| {
                before.step(*below).is_some_and(|step| {
                    let needs = case.shape.can_be_undone(*below) && step.may_have_happened();
                    step.forward == Forward::Open || (needs && !step.is_undone())
                })
            });
            if let Some(below) = blocked {
                let (name, below) = (case.shape.name(step.at()), case.shape.name(below));
                let seq = event.seq;
                found.push(
                    id,
                    format!(
                        "event {seq}: {name} is compensated before {below}, which depends on it, is undone"
                    ),
                );
            }
        });
    }
}
