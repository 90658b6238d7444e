//! T3: fencing tokens never decrease, one token has one owner, and a write from a stale holder is refused.

use super::evidence::{Case, Evidence};
use super::replay::attempt_of;
use super::run::{Effect, EffectKind};
use super::{Finding, Findings};
use goconductor_saga::{EventKind, Side, StepIndex};
use std::collections::BTreeMap;

/// T3, as far as histories and effect logs show it. The number of an attempt acts as the token of its executor: the
/// history records its start once, under one executor. After the attempt has ended or was lost, its outcome is no
/// longer accepted. The lock tokens that reached participants never decrease, and each token has one owner.
#[must_use]
pub fn stale_writes_are_refused(evidence: &Evidence<'_>) -> Vec<Finding> {
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
        // An outcome without an answer from a participant (a limit, an operator, a withdrawn command) refers to the
        // last attempt.
        let of_none = attempt == ended && !is_of_an_attempt(&event.kind);
        if attempt != next && !of_none {
            let (name, side) = (case.shape.name(index.at()), side.as_str());
            found.push(
                id,
                format!(
                    "event {}: the outcome of attempt {attempt} of {name}/{side} was accepted while attempt {next} is open",
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
                "event {}: attempt {attempt} of {name}/{side} belongs to {executor} and to {owner}",
                event.seq
            );
            found.push(id, what);
        }
    }
}

/// Whether an event proves that its attempt was made.
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
        | EventKind::LocksRequested { .. }
        | EventKind::LocksAcquired { .. }
        | EventKind::LocksFailed { .. }
        | EventKind::WorkflowRolledBack {}
        | EventKind::WorkflowTerminated { .. } => false,
    }
}

/// The tokens of each lock in the effect logs. Only applied effects count, because participants may refuse the others.
fn locks(evidence: &Evidence<'_>, found: &mut Findings) {
    let mut by_lock: BTreeMap<&str, Vec<(u64, &Effect)>> = BTreeMap::new();
    for effect in &evidence.run.effects {
        if let (Some(fence), Some(EffectKind::Applied)) = (&effect.fence, effect.effect) {
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
                    "{} took effect with token {token} of the lock {lock}, after {} with token {above}",
                    effect.key, by.key
                );
                found.push(&effect.workflow, what);
            }
            let owner = owners.entry(token).or_insert(&effect.workflow);
            if *owner != effect.workflow {
                let what = format!("it has token {token} of the lock {lock}, which belongs to {owner}");
                found.push(&effect.workflow, what);
            }
            if highest.is_none_or(|(above, _)| token > above) {
                highest = Some((token, effect));
            }
        }
    }
}
