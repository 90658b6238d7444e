//! T2 and T5: event numbers, the fold of a history, the state that the API shows, and the end of a history.

use super::evidence::{Case, Evidence};
use super::run::{ShownEvent, UtcTime, View};
use super::{Finding, Findings};
use goconductor_saga::{Failure, Json, RollbackCause, Side, State, StepState, Timestamp, evolve};
use serde_json::json;

/// The codes of `doctor` that are about histories and states.
const OF_HISTORIES: [&str; 3] = ["GC3011", "GC3012", "GC3016"];

/// T2: the numbers of a history are 1…n without gaps or duplicates. The API shows the fold of the history, and `doctor`
/// confirmed that the fold is also the stored state.
#[must_use]
pub fn histories_are_complete(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T2");
    for (id, case) in &evidence.cases {
        for why in &case.unread {
            found.push(id, why.clone());
        }
        if numbers_are_right(id, case, &mut found) && case.unread.is_empty() {
            folds_to_view(id, case, &mut found);
        }
    }
    for each in evidence.run.doctor.iter().flat_map(|doctor| &doctor.findings) {
        if OF_HISTORIES.contains(&each.code.as_str()) {
            found.push(&each.workflow, format!("doctor reports {}: {}", each.code, each.detail));
        }
    }
    found.list
}

pub(super) fn is_of_histories(code: &str) -> bool {
    OF_HISTORIES.contains(&code)
}

fn numbers_are_right(id: &str, case: &Case<'_>, found: &mut Findings) -> bool {
    let events = &case.history.events;
    if let Some((expected, event)) = (1..).zip(events).find(|(expected, event)| *expected != event.seq) {
        let what = if event.seq < expected { "is duplicated or out of order" } else { "follows a gap" };
        found.push(id, format!("expected event {expected}, but event {} ({}) {what}", event.seq, event.kind));
        return false;
    }
    let last = events.last().map_or(0, |event| event.seq);
    if last != case.history.view.seq {
        let seq = case.history.view.seq;
        found.push(id, format!("its seq is shown as {seq}, but its history ends at {last}"));
        return false;
    }
    true
}

fn folds_to_view(id: &str, case: &Case<'_>, found: &mut Findings) {
    let Some(state) = case.events.iter().fold(None, evolve) else {
        found.push(id, "its history does not begin with WORKFLOW_STARTED");
        return;
    };
    let (folded, shown) = match (expected(&state, case), serde_json::to_value(&case.history.view)) {
        (folded, Ok(shown)) => (folded, shown),
        (_, Err(error)) => return found.push(id, format!("its view cannot be serialized: {error}")),
    };
    let mut differences = Vec::new();
    differ("", &folded, &shown, &mut differences);
    for what in differences {
        found.push(id, what);
    }
}

/// Adds each member that differs from its expected value.
fn differ(path: &str, expected: &Json, shown: &Json, found: &mut Vec<String>) {
    match (expected, shown) {
        (Json::Object(members), Json::Object(_)) if is_view(path) => {
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                differ(&path, member, shown.get(name).unwrap_or(&Json::Null), found);
            }
        }
        (Json::Array(items), Json::Array(others)) if path == "steps" => {
            if items.len() != others.len() {
                found.push(format!("its history has {} steps, but {} are shown", items.len(), others.len()));
            }
            for (item, other) in items.iter().zip(others) {
                let name = item.get("name").and_then(Json::as_str).unwrap_or_default();
                differ(&format!("steps.{name}"), item, other, found);
            }
        }
        (_, _) if expected == shown => {}
        (_, _) => found.push(format!("{path} is shown as {shown}, but its history yields {expected}")),
    }
}

/// Whether `path` is an object of the API. Values of users are compared as a whole.
fn is_view(path: &str) -> bool {
    let depth = path.split('.').count();
    path.is_empty()
        || (path.starts_with("steps.") && (depth == 2 || (depth == 3 && path.ends_with(".compensation"))))
}

fn expected(state: &State, case: &Case<'_>) -> Json {
    let steps: Vec<Json> = state
        .steps
        .iter()
        .zip(0..)
        .map(|(step, index)| expected_step(step, case.shape.name(index)))
        .collect();
    json!({
        "id": state.id.to_string(),
        "definition": state.definition,
        "version": state.version,
        "status": state.status().as_str(),
        "cause": state.cause.map(RollbackCause::as_str),
        "labels": state.labels,
        "input": state.input,
        "output": state.output,
        "error": state.error.as_ref().map(failure),
        "seq": state.seq,
        "created_at": time_text(state.created_at),
        "ended_at": state.ended_at.map(time_text),
        "deadline": state.deadline.map(time_text),
        "steps": steps,
    })
}

fn expected_step(step: &StepState, name: &str) -> Json {
    let compensation = step.compensation.map(|_| {
        json!({
            "queued_at": step.compensate.queued_at.map(time_text),
            "started_at": step.compensate.started_at.map(time_text),
            "ended_at": step.compensate.ended_at.map(time_text),
        })
    });
    json!({
        "name": name,
        "status": step.status().as_str(),
        "attempts": step.attempts_begun(Side::Execute),
        "compensation_attempts": step.attempts_begun(Side::Compensate),
        "queued_at": step.execute.queued_at.map(time_text),
        "started_at": step.execute.started_at.map(time_text),
        "ended_at": step.execute.ended_at.map(time_text),
        "output": step.output,
        "error": step.error.as_ref().map(failure),
        "compensation": compensation,
    })
}

fn time_text(at: Timestamp) -> String {
    UtcTime(at.0).to_string()
}

fn failure(failure: &Failure) -> Json {
    serde_json::to_value(failure).unwrap_or_default()
}

/// The events that end a workflow.
const ENDS: [&str; 3] = ["WORKFLOW_COMPLETED", "WORKFLOW_ROLLED_BACK", "WORKFLOW_TERMINATED"];

/// The causes of a rollback after the completion: an operator requests it, or the parent is rolled back.
const REOPENING_CAUSES: [&str; 2] = ["OPERATOR", "PARENT"];

/// Whether an event begins the rollback of a completed workflow.
fn reopens(end: &ShownEvent, next: &ShownEvent) -> bool {
    let cause = next.detail.get("cause").and_then(Json::as_str).unwrap_or_default();
    end.kind == "WORKFLOW_COMPLETED"
        && next.kind == "ROLLBACK_STARTED"
        && next.step.is_none()
        && REOPENING_CAUSES.contains(&cause)
}

/// T5: no event follows an end except the rollback of a completed workflow, and an ended workflow waits for nothing.
#[must_use]
pub fn nothing_follows_an_end(evidence: &Evidence<'_>) -> Vec<Finding> {
    let mut found = Findings::of("T5");
    for (id, case) in &evidence.cases {
        let mut end: Option<&ShownEvent> = None;
        for event in &case.history.events {
            match end {
                Some(ended) if !reopens(ended, event) => {
                    found.push(id, format!("event {} ({}) follows {}", event.seq, event.kind, ended.kind));
                }
                Some(_) | None => end = ENDS.contains(&event.kind.as_str()).then_some(event),
            }
        }
        let View { status, waiting_on, .. } = &case.history.view;
        if let (true, Some(waiting)) = (super::is_final(status), waiting_on.first()) {
            found.push(id, format!("it is {status} but waits for {}: {}", waiting.kind, waiting.detail));
        }
    }
    found.list
}
