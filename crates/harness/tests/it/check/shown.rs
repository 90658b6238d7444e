//! The view of the API, computed from a history.

use goconductor_harness::check::{
    CompensationView, Edge, Graph, History, Node, Relative, ShownEvent, StepView, UtcTime, View, Waiting,
};
use goconductor_saga::{
    Event, Join, Json, Kind, Plan, Progress, RollbackCause, Side, State, Step, StepState, Timestamp, evolve,
};
use std::sync::Arc;

/// The numbered history and the view that follows from it.
pub(crate) fn history(plan: &Plan, events: &[Event], key: Option<String>) -> History {
    let state = events.iter().fold(None, evolve).unwrap();
    History {
        id: state.id.to_string(),
        graph: Arc::new(graph(plan)),
        view: view(plan, &state, key),
        events: events.iter().map(|event| event_view(plan, event)).collect(),
    }
}

fn graph(plan: &Plan) -> Graph {
    let steps = &plan.definition().steps;
    let node = |step: &Step| Node {
        name: step.name.clone(),
        kind: match step.kind {
            Kind::Compensatable => "compensatable",
            Kind::Pivot => "pivot",
            Kind::Retriable => "retriable",
        }
        .to_owned(),
        compensate: step.compensate.as_ref().map(|_| format!("{}/undo", step.name)),
        join: match step.join {
            Join::All => "all",
            Join::Any => "any",
            Join::Settled => "settled",
        }
        .to_owned(),
    };
    let edges = steps.iter().flat_map(|to| {
        to.depends_on.iter().map(|on| Edge { from: steps[on.at()].name.clone(), to: to.name.clone() })
    });
    Graph {
        name: plan.definition().name.clone(),
        version: plan.version(),
        nodes: steps.iter().map(node).collect(),
        edges: edges.collect(),
    }
}

fn view(plan: &Plan, state: &State, idempotency_key: Option<String>) -> View {
    let steps = plan.definition().steps.iter().zip(&state.steps);
    View {
        id: state.id.to_string(),
        definition: state.definition.clone(),
        version: state.version,
        status: state.status().as_str().to_owned(),
        cause: state.cause.map(|cause| RollbackCause::as_str(cause).to_owned()),
        labels: state.labels.clone(),
        idempotency_key,
        input: state.input.as_ref().clone(),
        output: state.output.as_deref().cloned().unwrap_or_default(),
        error: state.error.clone(),
        seq: state.seq,
        created_at: UtcTime(state.created_at.0),
        ended_at: time_text(state.ended_at),
        deadline: time_text(state.deadline),
        steps: steps.clone().map(|(of, step)| step_view(of, step)).collect(),
        parent: state.parent.map(|parent| Relative { id: parent.id.to_string(), step: None }),
        children: steps.clone().filter_map(|(of, step)| child(of, step)).collect(),
        waiting_on: steps.filter_map(|(of, step)| waiting(state, of, step)).collect(),
    }
}

fn child(of: &Step, step: &StepState) -> Option<Relative> {
    step.child.map(|id| Relative { id: id.to_string(), step: Some(of.name.clone()) })
}

fn step_view(of: &Step, step: &StepState) -> StepView {
    let Progress { queued_at, started_at, ended_at, .. } = step.execute;
    StepView {
        name: of.name.clone(),
        status: step.status().as_str().to_owned(),
        attempts: step.attempts_begun(Side::Execute),
        compensation_attempts: step.attempts_begun(Side::Compensate),
        queued_at: time_text(queued_at),
        started_at: time_text(started_at),
        ended_at: time_text(ended_at),
        output: step.output.as_deref().cloned().unwrap_or_default(),
        error: step.error.clone(),
        compensation: step.compensation.map(|_| CompensationView {
            queued_at: time_text(step.compensate.queued_at),
            started_at: time_text(step.compensate.started_at),
            ended_at: time_text(step.compensate.ended_at),
        }),
    }
}

fn waiting(state: &State, of: &Step, step: &StepState) -> Option<Waiting> {
    let (kind, detail) = if state.phase.is_final() {
        return None;
    } else if step.needs_operator(state.phase) {
        ("OPERATOR", "it could not be done; retry, skip or complete it")
    } else if step.status().is_open() {
        ("IN_FLIGHT", "an attempt is under way")
    } else {
        return None;
    };
    Some(Waiting { kind: kind.to_owned(), step: Some(of.name.clone()), detail: detail.to_owned() })
}

fn event_view(plan: &Plan, event: &Event) -> ShownEvent {
    let Json::Object(mut detail) = serde_json::to_value(&event.kind).unwrap() else { unreachable!() };
    let kind = detail.remove("type").unwrap().as_str().unwrap().to_owned();
    detail.remove("step");
    let attempt = detail.remove("attempt").map(|attempt| u32::try_from(attempt.as_u64().unwrap()).unwrap());
    for name in ["started_at", "deadline", "doubt_until", "retry_at", "due_at"] {
        if let Some(value) = detail.get_mut(name)
            && let Some(micros) = value.as_i64()
        {
            *value = Json::from(UtcTime(micros).to_string());
        }
    }
    ShownEvent {
        seq: event.seq,
        time: UtcTime(event.time.0),
        kind,
        step: event.kind.step().map(|index| plan.step(index).unwrap().name.clone()),
        attempt,
        detail: Json::Object(detail),
        actor: event.actor.clone(),
    }
}

fn time_text(at: Option<Timestamp>) -> Option<UtcTime> {
    at.map(|at| UtcTime(at.0))
}
