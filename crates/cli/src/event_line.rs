//! Events of a history, one per line.

use crate::output::{Style, Terminal};
use crate::time::{self, Micros};
use goconductor_client::Event;
use serde_json::Value;

/// The width of the event type: the length of the longest one.
const KIND_WIDTH: usize = 21;

/// A formatter of events that prints the time since the first one.
#[derive(Debug)]
pub(crate) struct EventLines {
    terminal: Terminal,
    began: Option<Micros>,
}

impl EventLines {
    /// Creates a formatter for a terminal.
    pub(crate) fn new(terminal: Terminal) -> Self {
        Self { terminal, began: None }
    }

    /// Formats an event.
    pub(crate) fn line(&mut self, event: &Event) -> String {
        let began = *self.began.get_or_insert_with(|| time::parse(&event.time).unwrap_or_default());
        let since = since(event, began);
        let kind = self.terminal.paint(style(&event.kind), &format!("{:<KIND_WIDTH$}", event.kind));
        let step = event.step.as_deref().unwrap_or_default();
        let details = details(event, false);
        let line = format!("{:>4} {since:>8}  {kind}  {step:<18}  {details}", event.seq);
        line.trim_end().to_owned()
    }
}

fn style(kind: &str) -> Style {
    match kind {
        "STEP_COMPLETED" | "WORKFLOW_COMPLETED" => Style::Success,
        "STEP_COMPENSATED" | "ROLLBACK_STARTED" | "WORKFLOW_ROLLED_BACK" | "COMPENSATION_QUEUED" => {
            Style::Compensation
        }
        "STEP_FAILED" | "STEP_UNKNOWN" | "ATTEMPT_FAILED" | "COMPENSATION_FAILED" | "WORKFLOW_TERMINATED" => {
            Style::Failure
        }
        _ => Style::Running,
    }
}

/// Formats the time from `began` to an event, such as `+1.24s`.
pub(crate) fn since(event: &Event, began: Micros) -> String {
    time::parse(&event.time)
        .map_or_else(String::new, |time| format!("+{}", time::format_duration(time - began)))
}

/// Returns the details of an event: attempt, failure, cause, next retry, reason and actor. The next retry is given as an
/// exact time, or else by the delay after the event.
pub(crate) fn details(event: &Event, exact_times: bool) -> String {
    let text = |name: &str| event.detail.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut parts: Vec<String> = Vec::new();
    if let Some(attempt) = event.attempt.filter(|attempt| *attempt > 0) {
        parts.push(match text("side") {
            Some("compensate") => format!("compensation attempt {attempt}"),
            Some(_) | None => format!("attempt {attempt}"),
        });
    }
    if let Some(failure) = failure(event) {
        parts.push(failure);
    }
    parts.extend(["cause", "why"].iter().filter_map(|name| text(name)).map(str::to_owned));
    parts.extend(text("retry_at").map(|at| match (time::parse(at), time::parse(&event.time)) {
        (Some(at), Some(time)) if !exact_times => {
            format!("next retry in {}", time::format_duration(at - time))
        }
        (_, _) => format!("next retry at {at}"),
    }));
    parts.extend(text("reason").map(|reason| format!("reason: {reason}")));
    parts.extend(event.actor.as_deref().map(|actor| format!("by {actor}")));
    parts.join(", ")
}

/// Returns `CODE: message` if the event reports a failure.
fn failure(event: &Event) -> Option<String> {
    let failure = event.detail.get("failure").or_else(|| event.detail.get("error"))?;
    let part = |name: &str| failure.get(name).and_then(Value::as_str).unwrap_or_default();
    match (part("code"), part("message")) {
        ("", "") => None,
        ("", message) => Some(message.to_owned()),
        (code, "") => Some(code.to_owned()),
        (code, message) => Some(format!("{code}: {message}")),
    }
}
