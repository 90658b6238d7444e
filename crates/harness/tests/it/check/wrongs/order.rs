//! T6 to T9: errors in the order of events and effects.

use super::super::draft::Case;
use super::{Draft, Noise, Wrong, wrong};
use goconductor_harness::check::EffectKind;
use goconductor_saga::{
    EventKind, Join, Phase, RollbackCause, Side, StepIndex, StepState, StepStatus, Timestamp,
};

pub(super) const WRONGS: &[Wrong] = &[
    wrong("T6", "a step is issued before its dependency", before_its_dependency),
    wrong("T6", "a forward step is issued after a rollback began", forward_in_roll_back),
    wrong("T6", "a forward step is issued after a rollback was requested", forward_while_asked),
    wrong("T6", "a step is retried after a rollback began", tried_again_in_roll_back),
    wrong("T6", "a step is issued twice", issued_twice),
    wrong("T7", "a step is executed after its compensate was issued", executed_after_issue),
    wrong("T7", "a compensate is issued while the execute is open", compensated_while_open),
    wrong("T7", "a compensate is due while the execute may still arrive", due_too_early),
    wrong("T7", "a compensate is sent while the execute may still arrive", sent_too_early),
    wrong("T7", "a step that certainly had no effect is compensated", compensated_for_nothing),
    wrong("T7", "a participant executes after it compensated", executed_after_compensate),
    wrong("T7", "a participant accepts the execute of a zombie", zombie_let_in),
    wrong("T7", "a compensate of an applied step finds nothing to undo", null_for_applied),
    wrong("T8", "a step is compensated after the pivot", compensated_after_pivot),
    wrong("T8", "a rollback begins after the pivot", rolled_back_after_pivot),
    wrong("T8", "a workflow is rolled back after its pivot took effect", pivot_left),
    wrong("T8", "a participant compensates a step after the pivot", undone_after_pivot),
    wrong("T9", "compensations are issued in the wrong order", wrong_order),
    wrong("T9", "dependents are compensated in parallel", in_parallel),
    wrong("T9", "participants compensate in the wrong order", wrong_order_at_participants),
];

fn before_its_dependency(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let settled = |case: &Case, nth: usize, step: StepIndex| {
        let on = &case.plan.step(step).unwrap().depends_on;
        case.events[..nth].iter().position(
            |event| matches!(&event.kind, EventKind::StepCompleted { step, .. } if on.contains(step)),
        )
    };
    let (at, nth) = draft.event(noise, |case, nth, kind| {
        matches!(kind, EventKind::StepQueued { step, .. }
            if case.plan.step(*step).unwrap().join != Join::Any && settled(case, nth, *step).is_some())
    })?;
    let case = &mut draft.cases[at];
    let to = settled(case, nth, case.events[nth].kind.step()?)?;
    case.bring_forward(nth, to);
    draft.show(at);
    Some(())
}

fn pending(case: &Case, nth: usize) -> Option<StepIndex> {
    let state = case.before(nth)?;
    let found = state.steps.iter().position(|step| step.execution == StepStatus::Pending)?;
    Some(StepIndex(u32::try_from(found).unwrap()))
}

/// Issues a waiting step at some point, and withdraws it.
fn issue_after(draft: &mut Draft, at: usize, nth: usize) -> Option<()> {
    let case = &mut draft.cases[at];
    let step = pending(case, nth + 1)?;
    case.insert(nth + 1, EventKind::StepQueued { step, keeps_signals: false });
    case.insert(nth + 2, EventKind::StepWithdrawn { step });
    draft.show(at);
    Some(())
}

fn forward_in_roll_back(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |case, nth, kind| {
        matches!(kind, EventKind::RollbackStarted { .. }) && pending(case, nth + 1).is_some()
    })?;
    issue_after(draft, at, nth)
}

fn forward_while_asked(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |case, nth, kind| {
        matches!(kind, EventKind::RollbackRequested { .. }) && pending(case, nth + 1).is_some()
    })?;
    issue_after(draft, at, nth)
}

fn tried_again_in_roll_back(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |case, nth, kind| {
        matches!(
            kind,
            EventKind::StepFailed { .. } | EventKind::StepUnknown { .. } | EventKind::StepCompleted { .. }
        ) && case.before(nth).is_some_and(|state| state.phase == Phase::RollingBack)
    })?;
    let case = &mut draft.cases[at];
    let step = case.events[nth].kind.step()?;
    case.insert(nth, EventKind::StepRetried { step, side: Side::Execute, reason: None, limited: false });
    draft.show(at);
    Some(())
}

fn issued_twice(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |_, _, kind| matches!(kind, EventKind::StepQueued { .. }))?;
    let again = draft.cases[at].events[nth].kind.clone();
    draft.cases[at].insert(nth + 1, again);
    draft.show(at);
    Some(())
}

fn executed_after_issue(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = compensation(draft, noise, |_, _, _| true)?;
    let step = draft.cases[at].events[nth].kind.step()?;
    let case = &mut draft.cases[at];
    case.insert(nth + 1, EventKind::StepRetried { step, side: Side::Execute, reason: None, limited: false });
    draft.show(at);
    Some(())
}

/// A `CompensationQueued` that meets a condition, with the state of its step before it.
fn compensation(
    draft: &Draft,
    noise: &mut Noise,
    holds: impl Fn(&Case, &StepState, Timestamp) -> bool,
) -> Option<(usize, usize)> {
    draft.event(noise, |case, nth, kind| {
        let EventKind::CompensationQueued { step, due_at, .. } = kind else { return false };
        case.before(nth).is_some_and(|state| holds(case, &state.steps[step.at()], *due_at))
    })
}

fn compensated_while_open(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = compensation(draft, noise, |_, step, _| step.execution == StepStatus::Completed)?;
    let case = &mut draft.cases[at];
    let of = case.events[nth].kind.step()?;
    let done = case
        .events
        .iter()
        .position(|event| matches!(event.kind, EventKind::StepCompleted { step, .. } if step == of))?;
    case.bring_forward(nth, done);
    draft.show(at);
    Some(())
}

fn due_too_early(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = compensation(draft, noise, |_, step, _| step.doubt_until.is_some())?;
    let case = &mut draft.cases[at];
    let step = case.events[nth].kind.step()?;
    let until = case.before(nth)?.steps[step.at()].doubt_until?;
    case.events[nth].kind =
        EventKind::CompensationQueued { step, due_at: Timestamp(until.0 - 1), limited: false };
    draft.show(at);
    Some(())
}

fn sent_too_early(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let long = 50_000;
    let (at, nth) = draft.event(noise, |case, nth, kind| {
        matches!(kind, EventKind::CompensationQueued { due_at, .. } if due_at.0 > case.events[nth].time.0 + long)
    })?;
    let (step, queued) = (draft.cases[at].events[nth].kind.step()?, draft.cases[at].events[nth].time.0);
    let line = *draft.lines(at, step, Side::Compensate).first()?;
    draft.run.effects[line].at = queued + 1;
    draft.relog();
    Some(())
}

fn compensated_for_nothing(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, _) = draft.event(noise, |_, _, kind| matches!(kind, EventKind::WorkflowRolledBack {}))?;
    let case = &mut draft.cases[at];
    let state = case.state();
    let clean = |step: &StepState| !step.may_have_happened() && step.compensation.is_none();
    let step = StepIndex(u32::try_from(state.steps.iter().position(clean)?).unwrap());
    let end = case.events.len() - 1;
    let due_at = case.events[end].time;
    let reason = Some("by hand".to_owned());
    case.insert(end, EventKind::CompensationQueued { step, due_at, limited: false });
    case.insert(end + 1, EventKind::StepCompensated { step, attempt: 0, started_at: None, reason });
    draft.show(at);
    Some(())
}

fn executed_after_compensate(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let undo = draft.line(noise, |_, _, line| {
        line.operation == "compensate" && line.effect == Some(EffectKind::Applied)
    })?;
    let (id, step, at) = {
        let undo = &draft.run.effects[undo];
        (undo.workflow.clone(), undo.step.clone(), undo.at)
    };
    let done = draft.run.effects.iter_mut().find(|line| {
        line.workflow == id
            && line.step == step
            && line.operation == "execute"
            && line.effect == Some(EffectKind::Applied)
    })?;
    done.at = at + 20_000;
    draft.relog();
    Some(())
}

fn zombie_let_in(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let zombie = draft.line(noise, |draft, at, line| {
        let case = &draft.cases[at];
        line.operation == "execute"
            && line.effect == Some(EffectKind::Refused)
            && draft.lines(at, case.step_of(line), Side::Compensate).into_iter().any(|undo| {
                let undo = &draft.run.effects[undo];
                undo.effect == Some(EffectKind::Null) && undo.at + 2_000 < line.at
            })
    })?;
    draft.run.effects[zombie].effect = Some(EffectKind::Applied);
    Some(())
}

fn null_for_applied(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let undo = draft.line(noise, |draft, at, line| {
        line.operation == "compensate"
            && line.effect == Some(EffectKind::Applied)
            && draft.lines(at, draft.cases[at].step_of(line), Side::Execute).into_iter().any(|done| {
                let done = &draft.run.effects[done];
                done.effect == Some(EffectKind::Applied) && done.at + 2_000 < line.at
            })
    })?;
    draft.run.effects[undo].effect = Some(EffectKind::Null);
    Some(())
}

/// An applied compensatable step before the pivot of a completed workflow.
fn before_pivot(case: &Case) -> Option<StepIndex> {
    let (pivot, state) = (case.plan.pivot()?, case.state());
    let done = |step: &StepIndex| {
        case.plan.downstream(*step).contains(&pivot)
            && case.plan.step(*step).is_some_and(|step| step.compensate.is_some())
            && state.steps[step.at()].execution == StepStatus::Completed
    };
    (state.phase == Phase::Completed).then(|| case.plan.topological().iter().copied().find(done))?
}

fn compensated_after_pivot(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |draft, at| before_pivot(&draft.cases[at]).is_some())?;
    let case = &mut draft.cases[at];
    let (step, end) = (before_pivot(case)?, case.events.len() - 1);
    let due_at = case.events[end].time;
    case.insert(end, EventKind::CompensationQueued { step, due_at, limited: false });
    case.insert(end + 1, EventKind::StepCompensated { step, attempt: 1, started_at: None, reason: None });
    draft.show(at);
    Some(())
}

fn rolled_back_after_pivot(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, end) = draft.event(noise, |case, _, kind| {
        let pivot = case.plan.pivot();
        matches!(kind, EventKind::WorkflowCompleted { .. })
            && pivot.is_some_and(|pivot| case.state().steps[pivot.at()].execution == StepStatus::Completed)
    })?;
    let kind = EventKind::RollbackStarted { cause: RollbackCause::Cancelled, step: None, reason: None };
    draft.cases[at].insert(end, kind);
    draft.show(at);
    Some(())
}

fn pivot_left(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let line = draft.line(noise, |draft, at, line| {
        let case = &draft.cases[at];
        draft.status(at) == "ROLLED_BACK"
            && Some(case.step_of(line)) == case.plan.pivot()
            && case.is_by_itself(case.step_of(line))
    })?;
    draft.run.effects[line].effect = Some(EffectKind::Applied);
    Some(())
}

fn undone_after_pivot(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |draft, at| {
        let case = &draft.cases[at];
        before_pivot(case).is_some() && case.is_by_itself(case.plan.pivot().unwrap())
    })?;
    let case = &draft.cases[at];
    let step = before_pivot(case)?;
    let end = case.events.last()?.time.0;
    let key = case.plan.idempotency_key(case.state().id, step, Side::Compensate);
    let mut line = draft.run.effects[*draft.lines(at, step, Side::Execute).first()?].clone();
    (line.operation, line.key, line.at) = ("compensate".to_owned(), key, end + 5_000);
    (line.attempt, line.effect) = (1, Some(EffectKind::Applied));
    draft.run.effects.push(line);
    draft.relog();
    Some(())
}

/// A compensation, with the times at which the compensation of a dependent step was issued and ended.
fn dependents(draft: &Draft, noise: &mut Noise) -> Option<(usize, usize, usize, usize)> {
    let below = |case: &Case, step: StepIndex| -> Option<(usize, usize)> {
        case.plan.downstream(step).iter().find_map(|below| {
            let issued = case.events.iter().position(
                |event| matches!(event.kind, EventKind::CompensationQueued { step, .. } if step == *below),
            )?;
            let ended = case.events.iter().position(
                |event| matches!(event.kind, EventKind::StepCompensated { step, .. } if step == *below),
            )?;
            Some((issued, ended))
        })
    };
    let (at, nth) = draft.event(noise, |case, _, kind| {
        matches!(kind, EventKind::CompensationQueued { step, .. } if below(case, *step).is_some())
    })?;
    let (issued, ended) = below(&draft.cases[at], draft.cases[at].events[nth].kind.step()?)?;
    Some((at, nth, issued, ended))
}

fn wrong_order(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth, issued, _) = dependents(draft, noise)?;
    draft.cases[at].bring_forward(nth, issued);
    draft.show(at);
    Some(())
}

fn in_parallel(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth, _, ended) = dependents(draft, noise)?;
    draft.cases[at].bring_forward(nth, ended);
    draft.show(at);
    Some(())
}

fn wrong_order_at_participants(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let undone = |draft: &Draft, at: usize, step: StepIndex| {
        let lines = draft.lines(at, step, Side::Compensate).into_iter();
        lines
            .map(|line| (line, &draft.run.effects[line]))
            .find(|(_, line)| line.effect == Some(EffectKind::Applied))
            .map(|(at, _)| at)
    };
    let below = |draft: &Draft, at: usize, step: StepIndex| {
        let case = &draft.cases[at];
        let mut below =
            case.plan.downstream(step).iter().filter(|below| **below != step && case.is_by_itself(**below));
        below.find_map(|below| undone(draft, at, *below))
    };
    let first = draft.line(noise, |draft, at, line| {
        line.operation == "compensate" && below(draft, at, draft.cases[at].step_of(line)).is_some()
    })?;
    let (id, late) = (draft.run.effects[first].workflow.clone(), draft.run.effects[first].at + 20_000);
    let at = draft.run.workflows.iter().position(|workflow| workflow.id == id)?;
    let dependent = below(draft, at, draft.cases[at].step_of(&draft.run.effects[first]))?;
    draft.run.effects[dependent].at = late;
    draft.relog();
    Some(())
}
