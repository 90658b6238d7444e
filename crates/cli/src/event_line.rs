//! An event of a history as one line.

use crate::time::{self, Micros};
use crate::output::{Style, Terminal};
use goconductor_client::Event;
use serde_json::Value;

/// How wide the event's type is written: the longest of them.
const KIND_WIDTH: usize = 21;

/// Lines that count the time from their first event.
#[derive(Debug)]
pub(crate) struct Lines {
    terminal: Terminal,
    began: Option<Micros>,
}

impl Lines {
    /// Lines of that terminal.
    pub(crate) fn new(terminal: Terminal) -> Self {
        Self { terminal, began: None }
    }

    /// The event's line.
    pub(crate) fn line(&mut self, event: &Event) -> String {
        let time = time::parse(&event.time);
        let began = *self.began.get_or_insert(time.unwrap_or_default());
        let since = time.map_or_else(String::new, |time| format!("+{}", time::format_duration(time - began)));
        let kind = self.terminal.paint(style(&event.kind), &format!("{:<KIND_WIDTH$}", event.kind));
        let step = event.step.as_deref().unwrap_or_default();
        let words = words(event);
        let line = format!("{:>4} {since:>8}  {kind}  {step:<18}  {words}", event.seq);
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

/// What else a person wants to know of an event: attempt, failure, cause, reason, actor.
pub(crate) fn words(event: &Event) -> String {
    let text = |name: &str| event.detail.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let mut parts: Vec<String> = Vec::new();
    if let Some(attempt) = event.attempt.filter(|attempt| *attempt > 0) {
        parts.push(match text("side") {
            Some("compensate") => format!("undo attempt {attempt}"),
            Some(_) | None => format!("attempt {attempt}"),
        });
    }
    if let Some(failure) = failure(event) {
        parts.push(failure);
    }
    parts.extend(["cause", "why"].iter().filter_map(|name| text(name)).map(str::to_owned));
    parts.extend(text("retry_at").map(|at| format!("next try at {at}")));
    parts.extend(text("reason").map(|reason| format!("reason: {reason}")));
    parts.extend(event.actor.as_deref().map(|actor| format!("by {actor}")));
    parts.join(", ")
}

/// `CODE: message` of an event that brings a failure.
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
