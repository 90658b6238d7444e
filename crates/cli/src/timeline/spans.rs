//! When each side of a step waited and ran, from a workflow's history.

use crate::time::{self, Micros};
use goconductor_client::{Event, Step, Workflow};
use serde_json::Value;

/// A stretch of time of one side of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// From.
    pub(crate) from: Micros,
    /// To.
    pub(crate) to: Micros,
    /// An attempt was under way; else one was waited for.
    pub(crate) runs: bool,
}

/// One side of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lane {
    /// In order.
    pub(crate) spans: Vec<Span>,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    from: Micros,
    runs: bool,
}

/// Both sides of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lanes {
    /// Doing it.
    pub(crate) forward: Lane,
    /// Undoing it.
    pub(crate) undo: Lane,
}

/// The lanes of all steps, in their order. What is open goes on until `now`.
pub(crate) fn of(workflow: &Workflow, events: &[Event], now: Micros) -> Vec<Lanes> {
    workflow
        .steps
        .iter()
        .map(|step| {
            let mut lanes = Lanes::default();
            let mine = events.iter().filter(|event| event.step.as_deref() == Some(step.name.as_str()));
            mine.for_each(|event| lanes.take(event));
            if lanes == Lanes::default() {
                lanes.forward = from_times(step, now);
            }
            // A workflow that ended leaves nothing open, whatever its last events say.
            let until = workflow.ended_at.as_deref().and_then(time::parse).unwrap_or(now);
            lanes.forward.close(until);
            lanes.undo.close(until);
            lanes
        })
        .collect()
}

impl Lanes {
    fn take(&mut self, event: &Event) {
        let Some(at) = time::parse(&event.time) else { return };
        let started = time_of(event, "started_at");
        let undoes = event.detail.get("side").and_then(Value::as_str) == Some("compensate");
        let lane = if undoes { &mut self.undo } else { &mut self.forward };
        match event.kind.as_str() {
            "STEP_QUEUED" => self.forward.wait(at),
            "ATTEMPT_STARTED" => lane.run(started.unwrap_or(at)),
            "ATTEMPT_FAILED" => {
                lane.end(started, at);
                lane.wait(at);
            }
            "STEP_COMPLETED" | "STEP_FAILED" | "STEP_UNKNOWN" => self.forward.end(started, at),
            "STEP_SKIPPED" => self.forward.close(at),
            "STEP_WITHDRAWN" => self.forward = Lane::default(),
            "COMPENSATION_QUEUED" => self.undo.wait(at),
            "STEP_COMPENSATED" | "COMPENSATION_FAILED" => self.undo.end(started, at),
            "COMPENSATION_SKIPPED" => self.undo.close(at),
            "STEP_RETRIED" => lane.wait(at),
            _ => {}
        }
    }
}

impl Lane {
    /// How long its attempts took, together.
    pub(crate) fn took(&self) -> Micros {
        self.spans.iter().filter(|span| span.runs).map(|span| span.to - span.from).sum()
    }

    /// Whether there was any attempt.
    pub(crate) fn ran(&self) -> bool {
        self.spans.iter().any(|span| span.runs)
    }

    fn wait(&mut self, at: Micros) {
        self.close(at);
        self.open = Some(Open { from: at, runs: false });
    }

    fn run(&mut self, at: Micros) {
        self.close(at);
        self.open = Some(Open { from: at, runs: true });
    }

    /// An attempt ended; one whose start is not on record began when it was waited for.
    fn end(&mut self, started: Option<Micros>, at: Micros) {
        if let (Some(started), Some(Open { runs: false, .. })) = (started, self.open) {
            self.run(started);
        }
        if let Some(open) = &mut self.open {
            open.runs = true;
        } else if let Some(started) = started {
            self.open = Some(Open { from: started, runs: true });
        }
        self.close(at);
    }

    fn close(&mut self, at: Micros) {
        if let Some(Open { from, runs }) = self.open.take() {
            self.spans.push(Span { from, to: at.max(from), runs });
        }
    }
}

/// Without a history: what the step itself says.
fn from_times(step: &Step, now: Micros) -> Lane {
    let time = |text: &Option<String>| text.as_deref().and_then(time::parse);
    let mut lane = Lane::default();
    if let Some(queued) = time(&step.queued_at) {
        lane.wait(queued);
    }
    if let Some(started) = time(&step.started_at) {
        lane.run(started);
    }
    lane.close(time(&step.ended_at).unwrap_or(now));
    lane
}

/// A time among an event's details: as the API writes times, or in microseconds.
fn time_of(event: &Event, name: &str) -> Option<Micros> {
    let value = event.detail.get(name)?;
    value.as_i64().or_else(|| value.as_str().and_then(time::parse))
}
