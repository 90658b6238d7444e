//! T7 to T10 and T12 in the effect logs: the requests to the participants, their times and their effects.

use super::evidence::{Case, Evidence, Seen};
use super::order;
use super::replay::attempt_of;
use super::run::{Effect, EffectKind};
use super::{Finding, Findings};
use goconductor_saga::{EventKind, Side};
use std::collections::{BTreeMap, BTreeSet};

/// T7: no execute of a step is issued after its compensate, none takes effect after its compensate (no hanging), and a
/// compensate finds nothing to undo only if nothing was applied.
#[must_use]
pub fn nothing_runs_after_its_compensate(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T7");
    order::nothing_runs_after_its_compensate(evidence, &mut found);
    for (id, case) in &evidence.cases {
        compensated_too_early(evidence, id, case, &mut found);
        for undo in case.seen.iter().filter(|seen| seen.undone()) {
            let same = |seen: &&Seen<'_>| seen.instance == undo.instance && seen.applied(Side::Execute);
            for execute in case.seen.iter().filter(same) {
                let (name, one, other) = (undo.instance, execute.effect, undo.effect);
                if evidence.before(other, one) {
                    found.push(id, format!("{name} was executed after its compensate: {}", pair(other, one)));
                } else if other.effect == Some(EffectKind::Null) && evidence.before(one, other) {
                    let what = format!("{name} was executed, but its compensate found nothing to undo");
                    found.push(id, format!("{what}: {}", pair(one, other)));
                }
            }
        }
    }
    found.list
}

/// Reports a compensate that is sent while an execute may still arrive.
fn compensated_too_early(evidence: &Evidence<'_>, id: &str, case: &Case<'_>, found: &mut Findings) {
    for event in &case.events {
        let EventKind::CompensationQueued { step, due_at, .. } = &event.kind else { continue };
        let early = |seen: &&Seen<'_>| evidence.earlier(seen.effect.at, due_at.0);
        let undo = |seen: &&Seen<'_>| (seen.step, seen.side) == (step.at(), Side::Compensate);
        if let Some(seen) = case.own().filter(undo).find(early) {
            let (Seen { instance, effect, .. }, early) = (seen, due_at.0 - seen.effect.at);
            let what = format!("{instance} was compensated {early} µs before the deadline of its execute");
            found.push(id, format!("{what}: {} line {}", effect.process, effect.number));
        }
    }
}

/// The places of two lines, the earlier line first.
fn pair(one: &Effect, other: &Effect) -> String {
    format!("{} line {}, then {} line {}", one.process, one.number, other.process, other.number)
}

/// T8: no step at or before the pivot is compensated after the pivot has completed, and no workflow whose pivot took
/// effect is rolled back.
#[must_use]
pub fn pivot_is_final(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T8");
    order::pivot_is_final(evidence, &mut found);
    for (id, case) in &evidence.cases {
        let Some(pivot) = case.shape.pivot else { continue };
        // The operator is responsible for an outcome that was supplied by hand.
        if case.after.step(pivot).is_none_or(|step| step.by_hand) {
            continue;
        }
        let Some(done) = case.about(pivot, Side::Execute).find(|seen| seen.applied(Side::Execute)) else {
            continue;
        };
        let name = case.shape.name(pivot);
        if case.history.view.status == "ROLLED_BACK" {
            let line = done.effect.number;
            found.push(id, format!("it is rolled back, but its pivot {name} took effect: line {line}"));
        }
        let after = |seen: &&Seen<'_>| {
            seen.applied(Side::Compensate) && evidence.before(done.effect, seen.effect) && seen.step != pivot
        };
        for undo in case.seen.iter().filter(after) {
            let what = format!("{} was compensated after the pivot {name} took effect", undo.instance);
            found.push(id, format!("{what}: {}", pair(done.effect, undo.effect)));
        }
    }
    found.list
}

/// T9: a compensation begins after the compensations of all dependent steps have ended.
#[must_use]
pub fn compensations_run_in_reverse(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T9");
    order::compensations_run_in_reverse(evidence, &mut found);
    for (id, case) in &evidence.cases {
        for undo in case.seen.iter().filter(|seen| seen.side == Side::Compensate) {
            let below = case.shape.below(undo.step).filter(|below| {
                case.shape.can_be_undone(*below) && case.after.step(*below).is_some_and(|step| !step.by_hand)
            });
            for late in below.filter_map(|below| compensated_too_late(evidence, case, undo, below)) {
                let what = format!("{} was compensated before {late}, which depends on it", undo.instance);
                found.push(id, format!("{what}: {} line {}", undo.effect.process, undo.effect.number));
            }
        }
    }
    found.list
}

/// The instance of a dependent step that was applied before `undo` and not yet undone at that time.
fn compensated_too_late<'a>(
    evidence: &Evidence<'_>,
    case: &Case<'a>,
    undo: &Seen<'_>,
    below: usize,
) -> Option<&'a str> {
    let done = case
        .about(below, Side::Execute)
        .filter(|seen| seen.applied(Side::Execute) && evidence.before(seen.effect, undo.effect));
    let is_left = |done: &&Seen<'_>| {
        !case.about(below, Side::Compensate).any(|seen| {
            seen.instance == done.instance
                && seen.applied(Side::Compensate)
                && !evidence.before(undo.effect, seen.effect)
        })
    };
    let mut left = done.filter(is_left);
    left.next().map(|done| done.instance)
}

/// T10: each effect is applied at most once, and every attempt of one side of one step has one key of the documented
/// form. The effect logs have no missing lines that could show otherwise.
#[must_use]
pub fn effects_are_applied_once(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T10");
    // Participants know an element by the workflow that has its step.
    for (id, case) in evidence.cases.iter().filter(|(_, case)| !case.history.view.runs_elements()) {
        let mut applied: BTreeMap<(&str, Side), &Effect> = BTreeMap::new();
        let mut keys: BTreeSet<&str> = BTreeSet::new();
        for seen in &case.seen {
            let (effect, side) = (seen.effect, seen.side.as_str());
            let (name, key) = (case.shape.name(seen.step), effect.key.as_str());
            if key != format!("{id}/{}/{side}", seen.instance) && keys.insert(key) {
                found.push(
                    id,
                    format!(
                        "{name} was requested with the key {key:?} instead of {id}/{}/{side}",
                        seen.instance
                    ),
                );
            }
            if effect.effect == Some(EffectKind::Applied)
                && let Some(first) = applied.insert((seen.instance, seen.side), effect)
            {
                found.push(
                    id,
                    format!("{}/{side} was applied duplicates: {}", seen.instance, pair(first, effect)),
                );
            }
        }
    }
    gaps(evidence, &mut found);
    found.list
}

/// A lost line could have recorded a second effect.
fn gaps(evidence: &Evidence<'_>, found: &mut Findings) {
    let mut logs: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
    for effect in &evidence.run.effects {
        logs.entry((&effect.participant, &effect.process)).or_default().push(effect.number);
    }
    for ((participant, process), mut numbers) in logs {
        numbers.sort_unstable();
        if let Some((expected, number)) = (1..).zip(numbers).find(|(expected, number)| expected != number) {
            let what = "so the number of effects is unknown";
            found.push(
                "",
                format!("the log {process} of {participant} has line {number} instead of {expected}, {what}"),
            );
        }
    }
}

/// T12: no effect exists without a workflow, and none exists before the commit of the transition that commanded it.
#[must_use]
pub fn effects_follow_commands(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T12");
    for effect in &evidence.unknown_effects {
        found
            .push(&effect.workflow, format!("{} was requested, but the workflow does not exist", effect.key));
    }
    for effect in &evidence.unknown_elements {
        let Effect { workflow, key, .. } = effect;
        found.push(workflow, format!("{key} was requested, but no workflow runs that element"));
    }
    for (id, case) in &evidence.cases {
        for effect in &case.odd {
            let Effect { step, operation, .. } = effect;
            found.push(
                id,
                format!("{operation} of {step} was requested, but its definition does not contain it"),
            );
        }
        let commands = commands(case);
        // The commands of an element are in the history of the workflow that runs it.
        for seen in case.own() {
            let Effect { at, attempt, process, number, .. } = seen.effect;
            let what = format!("attempt {attempt} of {} ({process} line {number})", seen.effect.key);
            match commands.get(&(seen.step, seen.side, *attempt)) {
                None => found.push(id, format!("{what} was made without a command in the history")),
                Some(command) if evidence.earlier(*at, *command) => {
                    let early = command - at;
                    found.push(id, format!("{what} was made {early} µs before its command"));
                }
                Some(_) => {}
            }
        }
    }
    found.list
}

/// The time at which each attempt was first commanded. A withdrawn command was never sent.
fn commands(case: &Case<'_>) -> BTreeMap<(usize, Side, u32), i64> {
    let mut all: BTreeMap<(usize, Side, u32), i64> = BTreeMap::new();
    case.walk(|before, event| {
        let Some(index) = event.kind.step().map(goconductor_saga::StepIndex::at) else { return };
        let ended = |side| before.step(index).map_or(0, |step| step.attempts_ended(side));
        let commanded = match &event.kind {
            EventKind::StepQueued { .. } => Some((Side::Execute, 1)),
            EventKind::CompensationQueued { .. } => Some((Side::Compensate, 1)),
            EventKind::LocksAcquired { .. } => Some((Side::Execute, ended(Side::Execute).saturating_add(1))),
            EventKind::StepRetried { side, .. } => Some((*side, ended(*side).saturating_add(1))),
            EventKind::AttemptFailed { side, attempt, .. } => Some((*side, attempt.saturating_add(1))),
            EventKind::StepProbing { attempt, .. } => Some((Side::Execute, attempt.saturating_add(1))),
            EventKind::StepWithdrawn { .. } => {
                all.remove(&(index, Side::Execute, 1));
                None
            }
            EventKind::StepSkipped { .. }
            | EventKind::AttemptStarted { .. }
            | EventKind::StepCompleted { .. }
            | EventKind::StepFailed { .. }
            | EventKind::StepUnknown { .. }
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
            | EventKind::FailureTolerated { .. }
            | EventKind::CompensationUnneeded { .. }
            | EventKind::RerunStarted { .. }
            | EventKind::StepsReset { .. }
            | EventKind::WorkflowMigrated { .. }
            | EventKind::WorkflowPaused { .. }
            | EventKind::WorkflowResumed { .. }
            | EventKind::WorkflowCompleted { .. }
            | EventKind::LocksRequested { .. }
            | EventKind::LocksFailed { .. }
            | EventKind::WorkflowRolledBack {}
            | EventKind::WorkflowTerminated { .. } => None,
        };
        if let Some((side, attempt)) = commanded {
            all.entry((index, side, attempt)).or_insert(event.time.0);
        }
    });
    all
}

/// The number of requests that arrived or were answered after the engine had given up their attempt.
pub(super) fn late(evidence: &Evidence<'_>, case: &Case<'_>) -> u64 {
    let mut given_up: BTreeMap<(usize, Side, u32), i64> = BTreeMap::new();
    for event in &case.events {
        if let Some((index, side, attempt)) = attempt_of(&event.kind)
            && !matches!(event.kind, EventKind::AttemptStarted { .. })
        {
            given_up.entry((index.at(), side, attempt)).or_insert(event.time.0);
        }
    }
    let is_late = |seen: &&Seen<'_>| {
        let ended = given_up.get(&(seen.step, seen.side, seen.effect.attempt));
        let last = seen.effect.answered.unwrap_or(seen.effect.at);
        ended.is_some_and(|ended| evidence.earlier(*ended, last))
    };
    u64::try_from(case.own().filter(is_late).count()).unwrap_or(u64::MAX)
}
