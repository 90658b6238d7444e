//! A line of a history as the API has it: steps by name, times as text.

use crate::moment::rfc3339;
use goconductor_saga::{Event, Json, Plan, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

/// Fields of an event that are times.
const TIMES: &[&str] = &["started_at", "deadline", "doubt_until", "retry_at", "due_at"];

/// One line of a history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventView {
    /// From 1, without a gap.
    pub(crate) seq: u64,
    pub(crate) time: String,
    /// `STEP_COMPLETED`, …
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) step: Option<String>,
    pub(crate) attempt: Option<u64>,
    /// What else there is to say; its fields depend on the type.
    pub(crate) detail: Json,
    pub(crate) actor: Option<String>,
}

pub(crate) fn event(plan: &Plan, event: &Event) -> EventView {
    let step = event.kind.step().and_then(|index| plan.step(index)).map(|step| step.name.clone());
    let mut detail = match serde_json::to_value(&event.kind) {
        Ok(Json::Object(fields)) => fields,
        // An event was read from JSON, and can be written as such.
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
    EventView {
        seq: event.seq,
        time: rfc3339(event.time),
        kind,
        step,
        attempt,
        detail: Json::Object(detail),
        actor: event.actor.clone(),
    }
}
