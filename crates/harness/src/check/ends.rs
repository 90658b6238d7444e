//! T4 and T11: every workflow ends, and its final status agrees with the effects.

use super::evidence::{Case, Evidence, Seen};
use super::replay::{CompensationProgress, Execution};
use super::run::{StepView, View};
use super::{Finding, Findings, is_final};
use goconductor_saga::{EventKind, Side};

/// T4: every workflow has ended, or is in `ERROR` with the step, the cause and the actions open to an operator.
#[must_use]
pub fn workflows_end(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T4");
    for (id, case) in &evidence.cases {
        let view = &case.history.view;
        if view.status == "ERROR" {
            check_operator_help(id, view, &mut found);
        } else if waits_for_child_in_error(evidence, view) {
            // The child has the reason.
        } else if !is_final(&view.status) {
            let waits = |waiting: &super::run::Waiting| {
                format!(
                    "{} {}: {}",
                    waiting.kind,
                    waiting.step.as_deref().unwrap_or_default(),
                    waiting.detail
                )
            };
            let waits: Vec<String> = view.waiting_on.iter().map(waits).collect();
            let waits = if waits.is_empty() { "nothing".to_owned() } else { waits.join("; ") };
            found.push(
                id,
                format!("it is stuck in {} at event {} and waits for {waits}", view.status, view.seq),
            );
        }
    }
    found.list
}

/// Whether a child of the workflow, direct or not, is in `ERROR`.
fn waits_for_child_in_error(evidence: &Evidence<'_>, view: &View) -> bool {
    view.children.iter().filter_map(|child| evidence.cases.get(child.id.as_str())).any(|child| {
        let child = &child.history.view;
        child.status == "ERROR" || (!is_final(&child.status) && waits_for_child_in_error(evidence, child))
    })
}

fn check_operator_help(id: &str, view: &View, found: &mut Findings) {
    if view.error.is_none() {
        found.push(id, "it is in ERROR without a first failure");
    }
    let mut asked = 0;
    for waiting in view.waiting_on.iter().filter(|waiting| waiting.kind == "OPERATOR") {
        let Some(name) = &waiting.step else { continue };
        asked += 1;
        let Some(step) = view.steps.iter().find(|step| step.name == *name) else {
            found.push(id, format!("it is in ERROR for the unknown step {name}"));
            continue;
        };
        let StepView { status, error, .. } = step;
        if !matches!(status.as_str(), "FAILED" | "UNKNOWN" | "COMPENSATION_FAILED") {
            found.push(id, format!("it is in ERROR for the step {name}, which is {status}"));
        }
        if error.is_none() {
            found.push(id, format!("it is in ERROR for the step {name}, which has no failure"));
        }
        if !["retry", "skip", "complete"].iter().any(|verb| waiting.detail.contains(verb)) {
            found.push(id, format!("it is in ERROR for the step {name} without the actions of an operator"));
        }
    }
    if asked == 0 {
        found.push(id, "it is in ERROR, but waiting_on contains no step with OPERATOR");
    }
}

/// T11: `COMPLETED` means that every completed step was applied once and no other step was applied. `ROLLED_BACK` means
/// that nothing compensatable is left applied. The history reports a step as settled only after its effect. Outcomes
/// that an operator supplied are not checked.
#[must_use]
pub fn ends_agree_with_effects(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T11");
    for (id, case) in &evidence.cases {
        match case.history.view.status.as_str() {
            "COMPLETED" => completed(id, case, &mut found),
            "ROLLED_BACK" => rolled_back(id, case, &mut found),
            _ => {}
        }
        check_reported_times(evidence, id, case, &mut found);
        children_agree(evidence, id, case, &mut found);
    }
    found.list
}

/// Reports children whose end differs from that of the step that started them. A child is not compared if an operator
/// supplied the outcome of its step.
fn children_agree(evidence: &Evidence<'_>, id: &str, case: &Case<'_>, found: &mut Findings) {
    for (index, name, step) in case.steps().filter(|(_, _, step)| step.has_child && !step.by_hand) {
        let expected = match (case.history.view.status.as_str(), step.execution, step.compensation) {
            ("COMPLETED", Execution::Completed, _) => "COMPLETED",
            ("ROLLED_BACK", _, CompensationProgress::Done) => "ROLLED_BACK",
            (_, _, _) => continue,
        };
        let mut children = case.history.view.children.iter();
        if !children.any(|child| child.step.as_deref() == Some(name)) {
            found.push(id, format!("{name} started a child, which is not shown"));
        }
        for child in evidence.children(case, index) {
            let status = &child.history.view.status;
            // A child that an operator terminated has nothing that could be undone.
            if status != expected && status != "TERMINATED" {
                let child = &child.history.id;
                found.push(
                    id,
                    format!(
                        "it has ended, but the child {child} of {name} is {status} instead of {expected}"
                    ),
                );
            }
        }
    }
}

fn completed(id: &str, case: &Case<'_>, found: &mut Findings) {
    for (index, name, step) in case.steps() {
        if !step.is_settled() {
            found.push(id, format!("it is COMPLETED, but {name} is {:?}", step.execution));
        }
        // A tolerated failure of unknown outcome may have had an effect. The effects of a child are compared with its own
        // end.
        if step.by_hand || step.is_wait || step.has_child || step.tolerated {
            continue;
        }
        let applied = |side| case.about(index, side).filter(move |seen| seen.applied(side)).count();
        let (done, undone) = (applied(Side::Execute), applied(Side::Compensate));
        match step.execution {
            Execution::Completed if done == 0 => {
                found.push(id, format!("it is COMPLETED, but {name} was never applied"));
            }
            Execution::Completed if done > 1 => {
                found.push(id, format!("it is COMPLETED, but {name} was applied {done} times"));
            }
            Execution::Completed => {}
            Execution::Pending
            | Execution::Open
            | Execution::Skipped
            | Execution::Failed
            | Execution::Unknown => {
                if done > 0 {
                    found.push(id, format!("it is COMPLETED without {name}, but {name} was applied"));
                }
            }
        }
        if undone > 0 {
            found.push(id, format!("it is COMPLETED, but {name} was compensated"));
        }
    }
}

fn rolled_back(id: &str, case: &Case<'_>, found: &mut Findings) {
    for (index, name, step) in case.steps() {
        let undoable = case.shape.can_be_undone(index);
        if step.execution == Execution::Open || step.compensation == CompensationProgress::Open {
            found.push(id, format!("it is ROLLED_BACK, but a command for {name} is still open"));
        } else if undoable && step.may_have_happened() && !step.is_undone() {
            found.push(
                id,
                format!("it is ROLLED_BACK, but {name} may have had an effect and is not compensated"),
            );
        }
        if step.by_hand || !undoable {
            continue;
        }
        for done in case.about(index, Side::Execute).filter(|seen| seen.applied(Side::Execute)) {
            let mut undo = case.about(index, Side::Compensate).filter(|seen| seen.applied(Side::Compensate));
            if !undo.any(|seen| seen.instance == done.instance) {
                let Seen { instance, effect, .. } = done;
                let what = format!("it is ROLLED_BACK, but {instance} is left applied");
                found.push(id, format!("{what}: {} line {}", effect.process, effect.number));
            }
        }
        if step.compensation == CompensationProgress::Done
            && !step.has_child
            && !case.about(index, Side::Compensate).any(|seen| seen.effect.effect.is_some())
        {
            found.push(id, format!("it is ROLLED_BACK, but {name} was never compensated"));
        }
    }
}

/// Reports steps whose history records an effect before it happened.
fn check_reported_times(evidence: &Evidence<'_>, id: &str, case: &Case<'_>, found: &mut Findings) {
    for event in &case.events {
        let (index, side) = match (&event.kind, event.kind.step()) {
            (EventKind::StepCompleted { reason: None, .. }, Some(step)) => (step.at(), Side::Execute),
            (EventKind::StepCompensated { reason: None, .. }, Some(step)) => (step.at(), Side::Compensate),
            (_, _) => continue,
        };
        let took = |seen: &&Seen<'_>| match side {
            Side::Execute => seen.applied(side),
            Side::Compensate => seen.undone(),
        };
        let first = case.about(index, side).filter(took).map(|seen| seen.effect.at).min();
        if let Some(first) = first.filter(|first| evidence.earlier(event.time.0, *first)) {
            let (name, late) = (case.shape.name(index), first - event.time.0);
            let what = format!("{name}/{} is recorded {late} µs before its effect", side.as_str());
            found.push(id, format!("event {}: {what}", event.seq));
        }
    }
}
