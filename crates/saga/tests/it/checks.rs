//! What has to hold of a world: of its history J and of its participants' own log E.

use goconductor_saga::{Event, EventKind, Join, Phase, Plan, Side, State, StepIndex, StepStatus, evolve};

/// What a participant did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) step: StepIndex,
    pub(crate) side: Side,
    /// It had not been done before, and is done now. Else it was a repeat, or undid what never happened.
    pub(crate) applied: bool,
}

pub(crate) struct Evidence<'a> {
    pub(crate) plan: &'a Plan,
    /// As it was stored.
    pub(crate) journal: &'a [String],
    pub(crate) state: &'a State,
    pub(crate) effects: &'a [Effect],
}

/// The first thing that does not hold.
pub(crate) fn all(evidence: &Evidence<'_>) -> Result<(), String> {
    let events: Vec<Event> =
        evidence.journal.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    history_folds(evidence, &events)?;
    nothing_follows_an_end(&events)?;
    order_of_steps(evidence.plan, &events)?;
    undo_in_history(evidence.plan, &events)?;
    undo_at_participants(evidence.plan, &events, evidence.effects)?;
    outcome(evidence, &events)
}

/// T2
fn history_folds(evidence: &Evidence<'_>, events: &[Event]) -> Result<(), String> {
    if let Some((at, event)) = (1..).zip(events).find(|(at, event)| event.seq != *at) {
        return Err(format!("T2: event {at} has number {}", event.seq));
    }
    let folded = events.iter().fold(None, evolve);
    if folded.as_ref() == Some(evidence.state) {
        Ok(())
    } else {
        Err("T2: the history does not fold to the state".to_owned())
    }
}

/// T5
fn nothing_follows_an_end(events: &[Event]) -> Result<(), String> {
    let end = events.iter().position(|event| {
        matches!(
            event.kind,
            EventKind::WorkflowCompleted { .. }
                | EventKind::WorkflowRolledBack {}
                | EventKind::WorkflowTerminated { .. }
        )
    });
    match end {
        Some(end) if end + 1 < events.len() => Err(format!("T5: {:?} follows the end", events[end + 1].kind)),
        Some(_) | None => Ok(()),
    }
}

/// T6, in J
fn order_of_steps(plan: &Plan, events: &[Event]) -> Result<(), String> {
    let mut state = None;
    for event in events {
        if let (EventKind::StepQueued { step }, Some(before)) = (&event.kind, &state) {
            let before: &State = before;
            if before.phase == Phase::RollingBack || before.rollback_pending {
                return Err(format!("T6: step {} was queued in a roll-back", step.0));
            }
            let of = plan.step(*step).unwrap();
            let settled = |on: &StepIndex| {
                matches!(before.steps[on.at()].execution, StepStatus::Completed | StepStatus::Skipped)
            };
            let completed = |on: &StepIndex| {
                before.steps[on.at()].execution == StepStatus::Completed
                    || before.steps[on.at()].skipped_by_operator
            };
            let ready = match of.join {
                Join::Any => of.depends_on.is_empty() || of.depends_on.iter().any(completed),
                Join::All => {
                    of.depends_on.iter().all(settled)
                        && (of.depends_on.is_empty() || of.depends_on.iter().any(completed))
                }
                Join::Settled => of.depends_on.iter().all(settled),
            };
            if !ready {
                return Err(format!("T6: step {} was queued before what it depends on", step.0));
            }
        }
        state = evolve(state, event);
    }
    Ok(())
}

/// T7, T8 and T9, in J
fn undo_in_history(plan: &Plan, events: &[Event]) -> Result<(), String> {
    let mut state: Option<State> = None;
    for event in events {
        if let (EventKind::CompensationQueued { step, due_at }, Some(before)) = (&event.kind, &state) {
            let this = &before.steps[step.at()];
            if this.execution.is_open() || !this.may_have_happened() {
                return Err(format!("T7: step {} is undone while it is {:?}", step.0, this.execution));
            }
            if this.doubt_until.is_some_and(|until| *due_at < until) {
                return Err(format!("T7: the undo of step {} is due before the doubt is over", step.0));
            }
            if plan.pivot().is_some_and(|pivot| before.steps[pivot.at()].execution == StepStatus::Completed) {
                return Err(format!("T8: step {} is undone after the pivot", step.0));
            }
            for below in plan.downstream(*step) {
                let status = &before.steps[below.at()];
                let needs = plan.step(*below).unwrap().compensate.is_some() && status.may_have_happened();
                if status.execution.is_open() || (needs && !status.is_undone()) {
                    return Err(format!("T9: step {} is undone before step {}", step.0, below.0));
                }
            }
        }
        if let (Some(StepStatus::Queued), Some(before), Some(step)) =
            (queued(&event.kind), &state, event.kind.step())
            && before.steps[step.at()].compensation.is_some()
        {
            return Err(format!("T7: step {} was queued after its undo", step.0));
        }
        state = evolve(state, event);
    }
    Ok(())
}

fn queued(kind: &EventKind) -> Option<StepStatus> {
    matches!(kind, EventKind::StepQueued { .. }).then_some(StepStatus::Queued)
}

/// T7, T9 and T10, in E
fn undo_at_participants(plan: &Plan, events: &[Event], effects: &[Effect]) -> Result<(), String> {
    for (at, effect) in effects.iter().enumerate() {
        let same =
            |side: Side| move |each: &&Effect| each.step == effect.step && each.side == side && each.applied;
        let before = &effects[..at];
        match effect.side {
            Side::Execute if effect.applied => {
                if effects[..at].iter().any(|each| each.step == effect.step && each.side == Side::Compensate)
                {
                    return Err(format!("T7: step {} took effect after its undo", effect.step.0));
                }
                if before.iter().any(|each| same(Side::Execute)(&each)) {
                    return Err(format!("T10: step {} took effect twice", effect.step.0));
                }
            }
            Side::Execute => {}
            Side::Compensate => {
                for below in plan.downstream(effect.step) {
                    let done = |side: Side| {
                        before.iter().any(|each| each.step == *below && each.side == side && each.applied)
                    };
                    let helped =
                        events.iter().any(|event| event.kind.step() == Some(*below) && event.actor.is_some());
                    let undoable = plan.step(*below).unwrap().compensate.is_some();
                    if undoable && !helped && done(Side::Execute) && !done(Side::Compensate) {
                        return Err(format!("T9: step {} was undone before step {}", effect.step.0, below.0));
                    }
                }
            }
        }
    }
    Ok(())
}

/// T11
fn outcome(evidence: &Evidence<'_>, events: &[Event]) -> Result<(), String> {
    for (index, step) in (0u32..).map(StepIndex).zip(&evidence.state.steps) {
        // What an operator said by hand is the operator's word, not the participants'.
        if events.iter().any(|event| event.kind.step() == Some(index) && event.actor.is_some()) {
            continue;
        }
        let took = |side: Side| {
            evidence.effects.iter().any(|each| each.step == index && each.side == side && each.applied)
        };
        let undoable = evidence.plan.step(index).unwrap().compensate.is_some();
        match evidence.state.phase {
            Phase::Completed if (step.execution == StepStatus::Completed) != took(Side::Execute) => {
                return Err(format!(
                    "T11: completed, and step {} is {:?} but took effect: {}",
                    index.0,
                    step.execution,
                    took(Side::Execute)
                ));
            }
            Phase::RolledBack if undoable && took(Side::Execute) && !took(Side::Compensate) => {
                return Err(format!("T11: rolled back, and step {} is left done", index.0));
            }
            Phase::RolledBack if evidence.plan.pivot() == Some(index) && took(Side::Execute) => {
                return Err("T8: rolled back although the pivot took effect".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}
