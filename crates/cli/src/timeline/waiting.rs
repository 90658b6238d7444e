//! Descriptions of what a workflow is waiting for.

use crate::time::{self, Micros};
use goconductor_client::WaitingOn;

/// Formats one entry of `waiting_on`.
pub(super) fn line(waiting: &WaitingOn, now: Micros) -> String {
    let mut line = match &waiting.step {
        Some(step) => format!("{step}: {}", description(&waiting.kind)),
        None => description(&waiting.kind).to_owned(),
    };
    if let Some(since) = waiting.since.as_deref().and_then(time::parse) {
        line.push_str(&format!(", for {}", time::format_duration(now - since)));
    }
    if let Some(until) = waiting.until.as_deref().and_then(time::parse) {
        line.push_str(&if until > now {
            format!(", at most {} left", time::format_duration(until - now))
        } else {
            format!(", overdue by {}", time::format_duration(now - until))
        });
    }
    if let Some(detail) = waiting.detail.as_deref().filter(|detail| !detail.is_empty()) {
        line.push_str(&format!(" ({detail})"));
    }
    format!("{line} [{}]", waiting.kind)
}

fn description(kind: &str) -> &str {
    match kind {
        "NO_WORKER" => "no worker serves the service",
        "IN_FLIGHT" => "an attempt is running",
        "BACKOFF" => "backing off before the next attempt",
        "SIGNAL" => "waiting for a signal",
        "TIMER" => "waiting for a timer",
        "LOCK" => "waiting for a lock held by another owner",
        "CHILD" => "waiting for a child workflow",
        "CAPACITY" => "waiting for capacity: the concurrency limit is reached",
        "QUEUE_PAUSED" => "the queue or the workflow is paused by an operator",
        "OPERATOR" => "needs an operator to retry, skip or complete it",
        _ => "waiting",
    }
}
