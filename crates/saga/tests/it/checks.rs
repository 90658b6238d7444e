//! Checks of a finished world: of its history, and of the effects that its participants recorded.

use goconductor_saga::{
    Event, EventKind, Join, Phase, Plan, RollbackOrder, Side, State, StepIndex, StepStatus, evolve,
};

/// An operation that a participant performed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Effect {
    pub(crate) step: StepIndex,
    pub(crate) side: Side,
    /// Whether the operation took effect. It did not if it was a duplicate, or compensated an execute that never
    /// arrived.
    pub(crate) applied: bool,
}

pub(crate) struct Evidence<'a> {
    pub(crate) plan: &'a Plan,
    /// The stored events, as JSON.
    pub(crate) journal: &'a [String],
    pub(crate) state: &'a State,
    pub(crate) effects: &'a [Effect],
}

/// Returns the first violation.
pub(crate) fn all(evidence: &Evidence<'_>) -> Result<(), String> {
    let events: Vec<Event> =
        evidence.journal.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    history_folds(evidence, &events)?;
    nothing_follows_an_end(&events)?;
    order_of_steps(evidence.plan, &events)?;
    compensations_in_history(evidence.plan, &events)?;
    compensations_in_effects(evidence.plan, &events, evidence.effects)?;
    outcome(evidence, &events)
}

/// Checks T2: the history folds to the state.
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

/// Checks T5: no event follows the end, except the rollback of a completed workflow.
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
        Some(end)
            if matches!(events[end].kind, EventKind::WorkflowCompleted { .. })
                && events.get(end + 1).is_some_and(|next| next.kind.reopens()) =>
        {
            nothing_follows_an_end(&events[end + 1..])
        }
        Some(end) if end + 1 < events.len() => Err(format!("T5: {:?} follows the end", events[end + 1].kind)),
        Some(_) | None => Ok(()),
    }
}

/// Checks T6 in the history: a step is queued only when it is ready.
fn order_of_steps(plan: &Plan, events: &[Event]) -> Result<(), String> {
    let mut state = None;
    for event in events {
        if let (EventKind::StepQueued { step, .. }, Some(before)) = (&event.kind, &state) {
            let before: &State = before;
            if before.phase == Phase::RollingBack || before.rollback_pending {
                return Err(format!("T6: step {} was queued during a rollback", step.0));
            }
            let of = plan.step(*step).unwrap();
            let settled = |on: &StepIndex| before.steps[on.at()].is_settled();
            let completed = |on: &StepIndex| {
                before.steps[on.at()].execution == StepStatus::Completed
                    || before.steps[on.at()].skipped_by_operator
            };
            let named = of.skipped_with.as_ref().unwrap_or(&of.depends_on);
            let not_skipped = named.is_empty() || named.iter().any(completed);
            let not_skipped_or_tolerated =
                not_skipped || named.iter().any(|on| before.steps[on.at()].tolerated);
            let ready = match of.join {
                Join::Any => {
                    not_skipped_or_tolerated
                        && (of.depends_on.iter().any(completed) || of.depends_on.iter().all(settled))
                }
                Join::All => not_skipped_or_tolerated && of.depends_on.iter().all(settled),
                Join::Settled => of.depends_on.iter().all(settled),
            };
            if !ready {
                return Err(format!("T6: step {} was queued before its dependencies settled", step.0));
            }
        }
        state = evolve(state, event);
    }
    Ok(())
}

/// Checks T7, T8 and T9 in the history: compensations respect doubt, the pivot and the order of the graph.
fn compensations_in_history(plan: &Plan, events: &[Event]) -> Result<(), String> {
    let mut state: Option<State> = None;
    for event in events {
        if let (EventKind::CompensationQueued { step, due_at, .. }, Some(before)) = (&event.kind, &state) {
            let this = &before.steps[step.at()];
            if this.execution.is_open() || !this.may_have_happened() {
                return Err(format!("T7: step {} is compensated while it is {:?}", step.0, this.execution));
            }
            if this.doubt_until.is_some_and(|until| *due_at < until) {
                return Err(format!("T7: the compensation of step {} is due before the doubt ends", step.0));
            }
            if plan.pivot().is_some_and(|pivot| before.steps[pivot.at()].execution == StepStatus::Completed) {
                return Err(format!("T8: step {} is compensated after the pivot", step.0));
            }
            for below in plan.downstream(*step) {
                let status = &before.steps[below.at()];
                let needs = plan.step(*below).unwrap().compensate.is_some()
                    && status.may_have_happened()
                    && !status.compensation_unneeded
                    && plan.definition().rollback.order == RollbackOrder::Reverse;
                if status.execution.is_open() || (needs && !status.is_compensated()) {
                    return Err(format!("T9: step {} is compensated before step {}", step.0, below.0));
                }
            }
        }
        if let (EventKind::StepCompensated { step, .. }, Some(before)) = (&event.kind, &state)
            && before.steps[step.at()].is_compensated()
        {
            return Err(format!("T10: step {} was compensated twice", step.0));
        }
        if let (Some(StepStatus::Queued), Some(before), Some(step)) =
            (queued(&event.kind), &state, event.kind.step())
            && before.steps[step.at()].compensation.is_some()
        {
            return Err(format!("T7: step {} was queued after its compensation", step.0));
        }
        state = evolve(state, event);
    }
    Ok(())
}

fn queued(kind: &EventKind) -> Option<StepStatus> {
    matches!(kind, EventKind::StepQueued { .. }).then_some(StepStatus::Queued)
}

/// Checks T7, T9 and T10 in the recorded effects.
fn compensations_in_effects(plan: &Plan, events: &[Event], effects: &[Effect]) -> Result<(), String> {
    for (at, effect) in effects.iter().enumerate() {
        let same =
            |side: Side| move |each: &&Effect| each.step == effect.step && each.side == side && each.applied;
        let before = &effects[..at];
        match effect.side {
            Side::Execute if effect.applied => {
                if effects[..at].iter().any(|each| each.step == effect.step && each.side == Side::Compensate)
                {
                    return Err(format!("T7: step {} took effect after its compensation", effect.step.0));
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
                    let accepted = events.iter().any(|event| {
                        event.kind.step() == Some(*below)
                            && matches!(
                                event.kind,
                                EventKind::CompensationUnneeded { .. } | EventKind::CompensationFailed { .. }
                            )
                    });
                    let changed_by_operator =
                        events.iter().any(|event| event.kind.step() == Some(*below) && event.actor.is_some());
                    let compensatable = plan.step(*below).unwrap().compensate.is_some()
                        && plan.definition().rollback.order == RollbackOrder::Reverse
                        && !accepted;
                    if compensatable && !changed_by_operator && done(Side::Execute) && !done(Side::Compensate)
                    {
                        return Err(format!(
                            "T9: step {} was compensated before step {}",
                            effect.step.0, below.0
                        ));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Checks T11: the effects agree with the status of the workflow.
fn outcome(evidence: &Evidence<'_>, events: &[Event]) -> Result<(), String> {
    for (index, step) in (0u32..).map(StepIndex).zip(&evidence.state.steps) {
        // The result that an operator supplied may differ from the effects.
        if events.iter().any(|event| event.kind.step() == Some(index) && event.actor.is_some()) {
            continue;
        }
        let took = |side: Side| {
            evidence.effects.iter().any(|each| each.step == index && each.side == side && each.applied)
        };
        let definition = evidence.plan.step(index).unwrap();
        if definition.action.is_wait() {
            continue;
        }
        // The definition accepts that the effect stands, or that it is not known.
        let accepted = step.tolerated || step.compensation_unneeded;
        let compensatable = definition.compensate.is_some();
        match evidence.state.phase {
            Phase::Completed | Phase::RolledBack if accepted => {}
            Phase::Completed if (step.execution == StepStatus::Completed) != took(Side::Execute) => {
                return Err(format!(
                    "T11: completed, and step {} is {:?} but took effect: {}",
                    index.0,
                    step.execution,
                    took(Side::Execute)
                ));
            }
            Phase::RolledBack if compensatable && took(Side::Execute) && !took(Side::Compensate) => {
                return Err(format!("T11: rolled back, and step {} was not compensated", index.0));
            }
            Phase::RolledBack if compensatable && step.may_have_happened() && !step.is_compensated() => {
                return Err(format!("T11: rolled back, and the doubt about step {} was not undone", index.0));
            }
            Phase::RolledBack if evidence.plan.pivot() == Some(index) && took(Side::Execute) => {
                return Err("T8: rolled back although the pivot took effect".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}
