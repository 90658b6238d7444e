//! Events as lines of a timeline.

use crate::engine::Simulation;
use goconductor_saga::{Event, Json, Plan, Timestamp};
use serde::Serialize;

/// An event of a course.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TimelineLine {
    /// The number of the event, from 1.
    pub seq: u64,
    /// The virtual time since the start, in milliseconds.
    pub at_ms: u64,
    /// The type of the event, such as `STEP_QUEUED`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The attempt, its failure, the time of the next attempt and the like, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// Returns the history of a simulation as lines.
#[must_use]
pub fn timeline(simulation: &Simulation) -> Vec<TimelineLine> {
    let started = simulation.started_at();
    simulation.history().iter().map(|event| line(simulation.plan(), started, event)).collect()
}

/// Returns the line of an event. Events of any type are formatted by their stored form.
fn line(plan: &Plan, started: Timestamp, event: &Event) -> TimelineLine {
    let stored = serde_json::to_value(event).unwrap_or(Json::Null);
    let text = |name: &str| stored.get(name).and_then(Json::as_str).filter(|text| !text.is_empty());
    let after = |name: &str| {
        let at = Timestamp(stored.get(name).and_then(Json::as_i64)?);
        Some(at.since(event.time)).filter(|delay| !delay.is_zero())
    };
    let mut parts = Vec::new();
    if let Some(attempt) = stored.get("attempt").and_then(Json::as_u64).filter(|attempt| *attempt > 0) {
        let side = if text("side") == Some("compensate") { "compensation attempt" } else { "attempt" };
        parts.push(format!("{side} {attempt}"));
    }
    if let Some(failure) = stored.get("failure") {
        let part = |name: &str| failure.get(name).and_then(Json::as_str).unwrap_or_default();
        parts.push(format!("{}: {}", part("code"), part("message")));
    }
    parts.extend(["cause", "why", "reason"].iter().filter_map(|name| text(name)).map(str::to_owned));
    parts.extend(after("retry_at").map(|delay| format!("next attempt in {delay:?}")));
    parts.extend(after("due_at").map(|delay| format!("due in {delay:?}")));
    TimelineLine {
        seq: event.seq,
        at_ms: u64::try_from(event.time.since(started).as_millis()).unwrap_or(u64::MAX),
        kind: text("type").unwrap_or_default().to_owned(),
        step: event.kind.step().and_then(|index| plan.step(index)).map(|step| step.name.clone()),
        detail: parts.join(", "),
    }
}
