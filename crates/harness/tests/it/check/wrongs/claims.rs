//! T1 to T5 and T15: errors in acknowledgements, histories, views and the ledger.

use super::{Draft, Noise, Wrong, wrong};
use goconductor_harness::check::{DoctorFinding, EffectKind, Fence, LedgerRow};
use goconductor_saga::{EventKind, Json, owed};

pub(super) const WRONGS: &[Wrong] = &[
    wrong("T1", "an acknowledged start is lost", lost_start),
    wrong("T1", "one key starts two workflows", one_key_two_workflows),
    wrong("T1", "a client got two workflows for one key", told_of_two),
    wrong("T1", "a workflow differs from its requested start", another_input),
    wrong("T1", "a workflow exists without a request", unasked),
    wrong("T1", "an unacknowledged start without a key exists twice", twice_without_a_key),
    wrong("T2", "an event is missing", gap),
    wrong("T2", "an event is duplicated", doubled),
    wrong("T2", "the last event is missing", cut_short),
    wrong("T2", "another status is shown", another_status),
    wrong("T2", "another cause is shown", another_cause),
    wrong("T2", "a step's status is shown wrongly", another_step_status),
    wrong("T2", "attempts are shown that were not made", another_count),
    wrong("T2", "a step's output is not shown", no_output),
    wrong("T2", "the end is shown at another time", another_end),
    wrong("T2", "an event of no known type", unknown_event),
    wrong("T2", "doctor finds another state stored", doctor_of_histories),
    wrong("T3", "an outcome of a lost attempt is accepted from a zombie", zombie_believed),
    wrong("T3", "one attempt has two executors", two_owners),
    wrong("T3", "a participant accepted a decreased token", fallen_token),
    wrong("T3", "one lock token belongs to two workflows", shared_token),
    wrong("T4", "a workflow is stuck", stuck),
    wrong("T4", "an error without a request for help", silent_error),
    wrong("T4", "an error without the actions of an operator", helpless_error),
    wrong("T5", "an event follows the end", after_the_end),
    wrong("T5", "a workflow ends twice", ends_twice),
    wrong("T5", "an ended workflow waits for something", ended_and_waits),
    wrong("T15", "doctor finds another ledger", doctor_of_ledgers),
    wrong("T15", "doctor checked another store", another_store),
    wrong("T15", "doctor was not run", no_doctor),
    wrong("T15", "the ledger contains a row of an ended workflow", ended_and_owed),
    wrong("T15", "the ledger contains a command of no workflow", orphan),
    wrong("T15", "the ledger lacks an open command", forgotten_row),
];

fn is_final(draft: &Draft, at: usize) -> bool {
    matches!(draft.status(at), "COMPLETED" | "ROLLED_BACK" | "TERMINATED")
}

fn drop_workflow(draft: &mut Draft, at: usize) {
    let gone = draft.run.workflows.remove(at).id;
    draft.cases.remove(at);
    draft.run.effects.retain(|effect| effect.workflow != gone);
    draft.run.ledger.as_mut().unwrap().retain(|row| row.workflow != gone);
    draft.relog();
}

fn lost_start(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |draft, at| draft.run.starts[at].acknowledged.is_some())?;
    drop_workflow(draft, at);
    Some(())
}

fn one_key_two_workflows(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |draft, at| draft.cases[at].key.is_some())?;
    let other = draft.one(noise, |draft, other| other != at && draft.cases[other].key.is_some())?;
    let key = draft.cases[at].key.clone();
    draft.run.workflows[other].view.idempotency_key.clone_from(&key);
    // The key is also acknowledged with the other workflow.
    draft.run.starts[other].key = key;
    Some(())
}

fn told_of_two(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |draft, at| {
        draft.cases[at].key.is_some() && draft.run.starts[at].acknowledged.is_some()
    })?;
    let mut again = draft.run.starts[at].clone();
    again.acknowledged = Some("0199c000-0000-7000-8000-00000000dead".to_owned());
    draft.run.starts.push(again);
    Some(())
}

fn another_input(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |draft, at| draft.run.starts[at].acknowledged.is_some())?;
    draft.run.starts[at].input = "0123456789abcdef".to_owned();
    Some(())
}

fn unasked(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |_, _| true)?;
    draft.run.starts.remove(at);
    Some(())
}

fn twice_without_a_key(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let is_untold = |draft: &Draft, at: usize| {
        draft.cases[at].key.is_none() && draft.run.starts[at].acknowledged.is_none()
    };
    let at = draft.one(noise, is_untold)?;
    let other = draft.one(noise, |draft, other| other != at && draft.cases[other].key.is_none())?;
    draft.run.starts.remove(other);
    Some(())
}

fn gap(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |case, nth, _| nth > 0 && nth + 1 < case.events.len())?;
    draft.run.workflows[at].events.remove(nth);
    Some(())
}

fn doubled(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |_, _, _| true)?;
    let again = draft.run.workflows[at].events[nth].clone();
    draft.run.workflows[at].events.insert(nth, again);
    Some(())
}

fn cut_short(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |_, _| true)?;
    draft.run.workflows[at].events.pop();
    Some(())
}

fn another_status(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, is_final)?;
    let status = match draft.status(at) {
        "COMPLETED" => "ROLLED_BACK",
        _ => "COMPLETED",
    };
    draft.run.workflows[at].view.status = status.to_owned();
    Some(())
}

fn another_cause(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |draft, at| draft.run.workflows[at].view.cause.is_some())?;
    draft.run.workflows[at].view.cause = None;
    Some(())
}

fn another_step_status(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |draft, at| draft.status(at) == "ROLLED_BACK")?;
    let steps = &mut draft.run.workflows[at].view.steps;
    let step = steps.iter_mut().find(|step| step.status == "COMPENSATED")?;
    step.status = "COMPLETED".to_owned();
    Some(())
}

fn another_count(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |_, _| true)?;
    draft.run.workflows[at].view.steps.first_mut()?.attempts += 1;
    Some(())
}

fn no_output(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |_, _| true)?;
    let mut steps = draft.run.workflows[at].view.steps.iter_mut();
    steps.find(|step| !step.output.is_null())?.output = Json::Null;
    Some(())
}

fn another_end(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, is_final)?;
    draft.run.workflows[at].view.ended_at.as_mut()?.0 += 1;
    Some(())
}

fn unknown_event(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |_, _, kind| matches!(kind, EventKind::WorkflowPaused { .. }))?;
    draft.run.workflows[at].events[nth].kind = "STEP_IMAGINED".to_owned();
    Some(())
}

fn say(draft: &mut Draft, noise: &mut Noise, code: &str) -> Option<()> {
    let at = draft.one(noise, |_, _| true)?;
    let workflow = draft.id(at);
    let finding = DoctorFinding { code: code.to_owned(), workflow, detail: "as asked".to_owned() };
    draft.run.doctor.as_mut()?.findings.push(finding);
    Some(())
}

fn doctor_of_histories(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    say(draft, noise, "GC3012")
}

fn doctor_of_ledgers(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    say(draft, noise, "GC3013")
}

fn zombie_believed(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |_, _, kind| {
        matches!(kind, EventKind::AttemptFailed { failure, .. } if failure.code == "ATTEMPT_LOST")
    })?;
    let mut kind = draft.cases[at].events[nth].kind.clone();
    if let EventKind::AttemptFailed { failure, .. } = &mut kind {
        failure.code = "BUSY".to_owned();
    }
    draft.cases[at].insert(nth + 1, kind);
    draft.show(at);
    Some(())
}

fn two_owners(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |_, _, kind| matches!(kind, EventKind::AttemptStarted { .. }))?;
    let mut kind = draft.cases[at].events[nth].kind.clone();
    if let EventKind::AttemptStarted { executor, .. } = &mut kind {
        *executor = "a-zombie".to_owned();
    }
    draft.cases[at].insert(nth + 1, kind);
    draft.show(at);
    Some(())
}

fn fallen_token(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let applied = |draft: &Draft| -> Vec<usize> {
        let lines = draft.run.effects.iter().enumerate();
        lines.filter(|(_, line)| line.effect == Some(EffectKind::Applied)).map(|(at, _)| at).collect()
    };
    let one = *noise.pick(&applied(draft))?;
    let later = |at: &usize| {
        let (early, late) = (&draft.run.effects[one], &draft.run.effects[*at]);
        early.workflow == late.workflow && early.at + 10_000 < late.at
    };
    let other = applied(draft).into_iter().find(later)?;
    draft.run.effects[other].fence.as_mut()?.token = 6;
    Some(())
}

fn shared_token(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let one = draft.line(noise, |_, _, line| line.fence.is_some())?;
    let (workflow, fence) = (draft.run.effects[one].workflow.clone(), draft.run.effects[one].fence.clone());
    let other = draft.line(noise, |_, _, line| line.fence.is_some() && line.workflow != workflow)?;
    let Fence { lock, token } = fence?;
    draft.run.effects[other].fence = Some(Fence { lock, token });
    Some(())
}

/// Removes every event after a point.
fn stuck(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |case, nth, _| {
        let state = case.before(nth);
        nth > 1 && state.is_some_and(|state| !state.status().is_final() && state.status().as_str() != "ERROR")
    })?;
    let (id, case) = (draft.id(at), &mut draft.cases[at]);
    case.events.truncate(nth);
    let state = case.state();
    let owed = owed(&case.plan, &state);
    let until = case.events[nth - 1].time.0;
    draft.run.effects.retain(|effect| effect.workflow != id || effect.at < until);
    let ledger = draft.run.ledger.as_mut()?;
    ledger.retain(|row| row.workflow != id);
    ledger.extend(owed.iter().map(|row| LedgerRow { workflow: id.clone(), key: row.key.to_string() }));
    draft.relog();
    draft.show(at);
    Some(())
}

fn silent_error(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |draft, at| draft.status(at) == "ERROR")?;
    draft.run.workflows[at].view.waiting_on.clear();
    Some(())
}

fn helpless_error(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, |draft, at| draft.status(at) == "ERROR")?;
    let mut waiting = draft.run.workflows[at].view.waiting_on.iter_mut();
    waiting.find(|waiting| waiting.kind == "OPERATOR")?.detail = "it could not be done".to_owned();
    Some(())
}

fn after_the_end(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, is_final)?;
    let last = draft.cases[at].events.len();
    draft.cases[at].insert(last, EventKind::WorkflowResumed { reason: None });
    draft.show(at);
    Some(())
}

fn ends_twice(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, is_final)?;
    let last = draft.cases[at].events.last()?.kind.clone();
    let end = draft.cases[at].events.len();
    draft.cases[at].insert(end, last);
    draft.show(at);
    Some(())
}

fn ended_and_waits(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let error = draft.one(noise, |draft, at| draft.status(at) == "ERROR")?;
    let waiting = draft.run.workflows[error].view.waiting_on.clone();
    let at = draft.one(noise, is_final)?;
    draft.run.workflows[at].view.waiting_on = waiting;
    Some(())
}

fn another_store(draft: &mut Draft, _: &mut Noise) -> Option<()> {
    draft.run.doctor.as_mut()?.checked = 0;
    Some(())
}

fn no_doctor(draft: &mut Draft, _: &mut Noise) -> Option<()> {
    draft.run.doctor = None;
    Some(())
}

fn ended_and_owed(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let at = draft.one(noise, is_final)?;
    let workflow = draft.id(at);
    draft.run.ledger.as_mut()?.push(LedgerRow { workflow, key: "timer/workflow".to_owned() });
    Some(())
}

fn orphan(draft: &mut Draft, _: &mut Noise) -> Option<()> {
    let workflow = "0199c000-0000-7000-8000-00000000dead".to_owned();
    draft.run.ledger.as_mut()?.push(LedgerRow { workflow, key: "0/execute".to_owned() });
    Some(())
}

/// The workflow is in error for one step while another is in progress but missing from the ledger.
fn forgotten_row(draft: &mut Draft, noise: &mut Noise) -> Option<()> {
    let (at, nth) = draft.event(noise, |case, nth, kind| {
        let state = case.before(nth);
        matches!(kind, EventKind::StepCompleted { .. } | EventKind::StepCompensated { .. })
            && state.is_some_and(|state| {
                state.status().as_str() == "ERROR" && state.steps.iter().any(|step| step.status().is_open())
            })
    })?;
    let (id, case) = (draft.id(at), &mut draft.cases[at]);
    case.events.truncate(nth);
    let until = case.events[nth - 1].time.0;
    draft.run.effects.retain(|effect| effect.workflow != id || effect.at < until);
    draft.run.ledger.as_mut()?.retain(|row| row.workflow != id);
    draft.relog();
    draft.show(at);
    Some(())
}
