//! T3: tokens never fall, one token has one owner, and whoever was replaced writes nothing.

use super::evidence::{Case, Evidence};
use super::replay::attempt_of;
use super::run::{Effect, Took};
use super::{Finding, Findings};
use goconductor_saga::{EventKind, Side, StepIndex};
use std::collections::BTreeMap;

/// T3: as far as history and logs carry it. An attempt's number is the token of whoever makes it: it is on
/// record as started once, under one executor, and once it has ended, or was given up as lost, no word of
/// it is taken any more. The tokens of locks that reached participants never fall, and each has one owner.
#[must_use]
pub fn t3(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T3");
    for (id, case) in &evidence.cases {
        attempts(id, case, &mut found);
    }
    locks(evidence, &mut found);
    found.list
}

fn attempts(id: &str, case: &Case<'_>, found: &mut Findings) {
    let mut owners: BTreeMap<(StepIndex, Side, u32), &str> = BTreeMap::new();
    case.walk(|before, event| {
        let Some((index, side, attempt)) = attempt_of(&event.kind) else { return };
        let ended = before.step(index.at()).map_or(0, |step| step.attempts_ended(side));
        let next = ended.saturating_add(1);
        // What no participant answered (a limit, an operator's word, a command that was taken back) is said
        // of the attempts that there have been.
        let of_none = attempt == ended && !is_of_an_attempt(&event.kind);
        if attempt != next && !of_none {
            let (name, side) = (case.shape.name(index.at()), side.as_str());
            found.push(
                id,
                format!(
                    "event {}: attempt {attempt} at {name}/{side} is written of, but it is attempt {next} that is \
                     open: whoever was replaced was believed",
                    event.seq
                ),
            );
        }
    });
    for event in &case.events {
        let EventKind::AttemptStarted { step, side, attempt, executor, .. } = &event.kind else { continue };
        if let Some(owner) = owners.insert((*step, *side, *attempt), executor) {
            let (name, side) = (case.shape.name(step.at()), side.as_str());
            let what = format!(
                "event {}: attempt {attempt} at {name}/{side} is that of {executor}, and was that of {owner}",
                event.seq
            );
            found.push(id, what);
        }
    }
}

/// Whether an event is about an attempt that was made, for certain.
fn is_of_an_attempt(kind: &EventKind) -> bool {
    match kind {
        EventKind::AttemptStarted { .. } | EventKind::AttemptFailed { .. } => true,
        EventKind::StepCompleted { started_at, .. }
        | EventKind::StepFailed { started_at, .. }
        | EventKind::StepUnknown { started_at, .. }
        | EventKind::StepCompensated { started_at, .. }
        | EventKind::CompensationFailed { started_at, .. } => started_at.is_some(),
        EventKind::StepQueued { .. }
        | EventKind::StepSkipped { .. }
        | EventKind::StepWithdrawn { .. }
        | EventKind::CompensationQueued { .. }
        | EventKind::CompensationSkipped { .. }
        | EventKind::StepRetried { .. }
        | EventKind::WorkflowStarted { .. }
        | EventKind::RollbackRequested { .. }
        | EventKind::RollbackRefused { .. }
        | EventKind::RollbackStarted { .. }
        | EventKind::WorkflowPaused { .. }
        | EventKind::WorkflowResumed { .. }
        | EventKind::WorkflowCompleted { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => false,
    }
}

/// The tokens of each lock along the logs: of what took effect, as a participant may refuse the others.
fn locks(evidence: &Evidence<'_>, found: &mut Findings) {
    let mut by_lock: BTreeMap<&str, Vec<(u64, &Effect)>> = BTreeMap::new();
    for effect in &evidence.run.effects {
        if let (Some(fence), Some(Took::Applied)) = (&effect.fence, effect.effect) {
            by_lock.entry(&fence.lock).or_default().push((fence.token, effect));
        }
    }
    for (lock, mut uses) in by_lock {
        uses.sort_by_key(|(_, effect)| (effect.at, &effect.process, effect.number));
        let mut highest: Option<(u64, &Effect)> = None;
        let mut owners: BTreeMap<u64, &str> = BTreeMap::new();
        for (token, effect) in uses {
            if let Some((above, by)) = highest
                && token < above
                && evidence.before(by, effect)
            {
                let what = format!(
                    "{} took effect under token {token} of the lock {lock}, after {} had under {above}",
                    effect.key, by.key
                );
                found.push(&effect.workflow, what);
            }
            let owner = owners.entry(token).or_insert(&effect.workflow);
            if *owner != effect.workflow {
                let what = format!("it has token {token} of the lock {lock}, which is {owner}'s");
                found.push(&effect.workflow, what);
            }
            if highest.is_none_or(|(above, _)| token > above) {
                highest = Some((token, effect));
            }
        }
    }
}
