//! T10 to T12: errors in the effects of participants.

use super::{Draft, Noise, Wrong, wrong};
use goconductor_harness::check::EffectKind;
use goconductor_saga::{EventKind, Side, StepStatus};

pub(super) const WRONGS: &[Wrong] = &[
    wrong("T10", "an effect is applied twice", applied_twice),
    wrong("T10", "a compensation is applied twice", undone_twice),
    wrong("T10", "a retry has a new key", new_key),
    wrong("T10", "a compensation has the key of the execute", shared_key),
    wrong("T10", "a line of a log is lost", lost_line),
    wrong("T11", "a step of a rolled-back workflow is left applied", left_applied),
    wrong("T11", "a step of a rolled-back workflow was never compensated", never_undone),
    wrong("T11", "a step of a completed workflow was never applied", never_applied),
    wrong("T11", "a skipped step of a completed workflow was applied", applied_though_skipped),
    wrong("T11", "a step is recorded as completed before its effect", done_too_early),
    wrong("T11", "a step is recorded as compensated before its effect", undone_too_early),
    wrong("T12", "an effect of no workflow", no_workflow),
    wrong("T12", "an effect of no step", no_step),
    wrong("T12", "an effect before its command was committed", before_its_command),
    wrong("T12", "a compensation before its command was committed", undo_before_its_command),
    wrong("T12", "an attempt without a command", no_command),
    wrong("T12", "a withdrawn command was sent", taken_back_and_sent),
];

fn again(draft: &mut Draft, noise: &mut Noise, operation: &str) -> Option<()> {
    let line = draft.line(noise, |_, _, line| {
        line.operation == operation && line.effect == Some(EffectKind::Duplicate)
    })?;
    draft.run.effects[line].effect = Some(EffectKind::Applied);
    Some(())
}

fn applied_twice(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    again(draft, noise, "execute")
}

fn undone_twice(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let line = draft.line(noise, |draft, at, line| {
        line.operation == "compensate"
            && line.effect == Some(EffectKind::Duplicate)
            && draft
                .lines(at, draft.cases[at].step_of(line), Side::Compensate)
                .into_iter()
                .any(|other| draft.run.effects[other].effect == Some(EffectKind::Applied))
    })?;
    draft.run.effects[line].effect = Some(EffectKind::Applied);
    Some(())
}

fn new_key(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let line = draft.line(noise, |_, _, line| line.attempt > 1)?;
    let line = &mut draft.run.effects[line];
    line.key = format!("{}/{}", line.key, line.attempt);
    Some(())
}

fn shared_key(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let line = draft.line(noise, |_, _, line| line.operation == "compensate")?;
    let line = &mut draft.run.effects[line];
    line.key = line.key.replace("/compensate", "/execute");
    Some(())
}

fn lost_line(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let line = draft.line(noise, |draft, _, line| {
        let later = |other: &&goconductor_harness::check::Effect| {
            other.process == line.process && other.number > line.number
        };
        line.effect.is_none() && draft.run.effects.iter().any(|other| later(&other))
    })?;
    draft.run.effects.remove(line);
    Some(())
}

fn forget_lines(draft: &mut Draft, mut lines: Vec<usize>) {
    lines.sort_unstable();
    for line in lines.into_iter().rev() {
        draft.run.effects.remove(line);
    }
    draft.relog();
}

fn left_applied(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let line = draft.line(noise, |draft, at, line| {
        let case = &draft.cases[at];
        draft.status(at) == "ROLLED_BACK"
            && line.operation == "compensate"
            && line.effect == Some(EffectKind::Applied)
            && case.is_by_itself(case.step_of(line))
    })?;
    draft.run.effects[line].effect = None;
    Some(())
}

fn never_undone(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |case, _, kind| {
        matches!(kind, EventKind::StepCompensated { reason: None, step, .. } if case.is_by_itself(*step))
            && case.state().status().as_str() == "ROLLED_BACK"
    })?;
    let step = draft.cases[at].events[nth].kind.step()?;
    let lines = draft.lines(at, step, Side::Compensate);
    forget_lines(draft, lines);
    Some(())
}

fn never_applied(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |case, _, kind| {
        matches!(kind, EventKind::StepCompleted { step, .. } if case.is_by_itself(*step))
            && case.state().status().as_str() == "COMPLETED"
    })?;
    let step = draft.cases[at].events[nth].kind.step()?;
    let lines = draft.lines(at, step, Side::Execute);
    forget_lines(draft, lines);
    Some(())
}

fn applied_though_skipped(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let skipped = |draft: &Draft, at: usize| {
        let case = &draft.cases[at];
        let mut steps = case.state().steps.into_iter();
        let found =
            steps.position(|step| step.execution == StepStatus::Skipped && !step.skipped_by_operator)?;
        (draft.status(at) == "COMPLETED").then(|| goconductor_saga::StepIndex(u32::try_from(found).unwrap()))
    };
    let at = draft.one(noise, |draft, at| skipped(draft, at).is_some())?;
    let step = skipped(draft, at)?;
    let id = draft.id(at);
    let case = &draft.cases[at];
    let mut line = draft.run.effects.iter().find(|line| line.workflow == id)?.clone();
    line.step = case.name(step).to_owned();
    line.key = case.plan.idempotency_key(case.state().id, step, Side::Execute);
    (line.operation, line.attempt, line.effect) = ("execute".to_owned(), 1, Some(EffectKind::Applied));
    (line.participant, line.process) = (line.step.clone(), format!("{}-0", line.step));
    draft.run.effects.push(line);
    draft.relog();
    Some(())
}

fn later_than_said(draft: &mut Draft, noise: &mut Noise, side: Side) -> Option<()> {
    let (at, nth) = draft.event(noise, |case, _, kind| match kind {
        EventKind::StepCompleted { reason: None, step, .. } => {
            side == Side::Execute && case.is_by_itself(*step)
        }
        EventKind::StepCompensated { reason: None, step, .. } => {
            side == Side::Compensate && case.is_by_itself(*step)
        }
        _ => false,
    })?;
    let event = &draft.cases[at].events[nth];
    let (step, said) = (event.kind.step()?, event.time.0);
    let took = |line: &usize| {
        matches!(draft.run.effects[*line].effect, Some(EffectKind::Applied | EffectKind::Null))
    };
    let line = draft.lines(at, step, side).into_iter().find(took)?;
    draft.run.effects[line].at = said + 5_000;
    draft.relog();
    Some(())
}

fn done_too_early(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    later_than_said(draft, noise, Side::Execute)
}

fn undone_too_early(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    later_than_said(draft, noise, Side::Compensate)
}

fn no_workflow(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let line = draft.line(noise, |_, _, _| true)?;
    let line = &mut draft.run.effects[line];
    let id = "0199c000-0000-7000-8000-00000000dead";
    line.key = line.key.replace(&line.workflow, id);
    line.workflow = id.to_owned();
    Some(())
}

fn no_step(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let line = draft.line(noise, |_, _, line| line.effect.is_none())?;
    draft.run.effects[line].step = "imagined".to_owned();
    Some(())
}

fn too_early(draft: &mut Draft, noise: &mut Noise, operation: &str) -> Option<()> {
    let line = draft.line(noise, |_, _, line| line.operation == operation && line.attempt == 1)?;
    draft.run.effects[line].at -= 60_000_000;
    draft.relog();
    Some(())
}

fn before_its_command(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    too_early(draft, noise, "execute")
}

fn undo_before_its_command(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    too_early(draft, noise, "compensate")
}

fn no_command(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let line = draft.line(noise, |_, _, line| line.effect.is_none())?;
    draft.run.effects[line].attempt = 99;
    Some(())
}

fn taken_back_and_sent(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |_, _, kind| matches!(kind, EventKind::StepWithdrawn { .. }))?;
    let (step, id) = (draft.cases[at].events[nth].kind.step()?, draft.id(at));
    let case = &draft.cases[at];
    let mut line = draft.run.effects.iter().find(|line| line.workflow == id)?.clone();
    line.step = case.name(step).to_owned();
    line.key = case.plan.idempotency_key(case.state().id, step, Side::Execute);
    line.at = case.events[nth].time.0 - 1;
    (line.operation, line.attempt, line.effect) = ("execute".to_owned(), 1, None);
    (line.participant, line.process) = (line.step.clone(), format!("{}-0", line.step));
    draft.run.effects.push(line);
    draft.relog();
    Some(())
}
