//! The view of an event: it names the step, and its times are RFC 3339.

use crate::time::{Time, rfc3339};
use goconductor_saga::{Event, Json, Plan, StepIndex, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// Fields of an event's detail that are times.
const TIMES: &[&str] = &["started_at", "deadline", "doubt_until", "retry_at", "due_at"];

/// Fields of an event's detail that are lists of steps.
const STEPS: &[&str] = &["steps", "keeps"];

/// An event in the history of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    /// Number of the event: from 1, without gaps.
    pub(crate) seq: u64,
    #[schema(value_type = String, format = DateTime)]
    pub(crate) time: Time,
    /// Type of the event: `STEP_COMPLETED`, …
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) step: Option<String>,
    pub(crate) attempt: Option<u64>,
    /// Further fields. They depend on the type.
    pub(crate) detail: Json,
    pub(crate) actor: Option<String>,
}

/// Builds the view of an event.
pub(crate) fn event(plan: &Plan, event: &Event) -> EventView {
    let step = event.kind.step().and_then(|index| plan.step(index)).map(|step| step.name.clone());
    let mut detail = match serde_json::to_value(&event.kind) {
        Ok(Json::Object(fields)) => fields,
        // Unreachable: events are stored as JSON objects.
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    detail.remove("step");
    let kind = detail.remove("type").and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default();
    let attempt = detail.remove("attempt").and_then(|attempt| attempt.as_u64());
    for (name, value) in &mut detail {
        if let (true, Some(micros)) = (TIMES.contains(&name.as_str()), value.as_i64()) {
            *value = Json::String(rfc3339(Timestamp(micros)));
        }
    }
    for name in STEPS {
        if let Some(Json::Array(steps)) = detail.get_mut(*name) {
            steps.iter_mut().for_each(|step| name_step(plan, step));
        }
    }
    EventView {
        seq: event.seq,
        time: event.time.into(),
        kind,
        step,
        attempt,
        detail: Json::Object(detail),
        actor: event.actor.clone(),
    }
}

/// Replaces the index of a step by its name.
fn name_step(plan: &Plan, step: &mut Json) {
    let index = step.as_u64().and_then(|index| u32::try_from(index).ok()).map(StepIndex);
    if let Some(definition) = index.and_then(|index| plan.step(index)) {
        *step = Json::String(definition.name.clone());
    }
}
