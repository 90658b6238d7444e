//! Why a workflow stands still, in words.

use crate::time::{self, Micros};
use goconductor_client::WaitingOn;

/// A line for one reason.
pub(super) fn line(waiting: &WaitingOn, now: Micros) -> String {
    let mut line = match &waiting.step {
        Some(step) => format!("{step}: {}", words(&waiting.kind)),
        None => words(&waiting.kind).to_owned(),
    };
    if let Some(since) = waiting.since.as_deref().and_then(time::parse) {
        line.push_str(&format!(", for {}", time::format_duration(now - since)));
    }
    if let Some(until) = waiting.until.as_deref().and_then(time::parse) {
        line.push_str(&if until > now {
            format!(", {} more at most", time::format_duration(until - now))
        } else {
            format!(", until {} ago", time::format_duration(now - until))
        });
    }
    if let Some(detail) = waiting.detail.as_deref().filter(|detail| !detail.is_empty()) {
        line.push_str(&format!(" ({detail})"));
    }
    format!("{line} [{}]", waiting.kind)
}

fn words(kind: &str) -> &str {
    match kind {
        "NO_WORKER" => "nobody serves its service",
        "IN_FLIGHT" => "an attempt is under way",
        "BACKOFF" => "waits before the next try",
        "SIGNAL" => "waits for a signal",
        "TIMER" => "waits for a time",
        "LOCK" => "waits for a lock that another holds",
        "CHILD" => "waits for a child",
        "CAPACITY" => "waits for room: all that may run at once is running",
        "QUEUE_PAUSED" => "its queue, or the workflow, is held by an operator",
        "OPERATOR" => "only an operator can help: retry, skip or complete it",
        _ => "waits",
    }
}
