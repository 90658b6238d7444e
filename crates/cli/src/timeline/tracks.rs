//! The waiting and running times of each step, derived from the history of a workflow.

use crate::time::{self, Micros};
use goconductor_client::{Event, Step, Workflow};
use serde_json::Value;

/// A part of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The start.
    pub(crate) from: Micros,
    /// The end.
    pub(crate) to: Micros,
    /// Whether an attempt was running. Otherwise the step was waiting for one.
    pub(crate) runs: bool,
}

/// The execution or the compensation of a step over time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Track {
    /// The segments in order.
    pub(crate) segments: Vec<Segment>,
    open: Option<OpenSegment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OpenSegment {
    from: Micros,
    runs: bool,
}

/// The tracks of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StepTracks {
    /// The execution.
    pub(crate) execution: Track,
    /// The compensation.
    pub(crate) compensation: Track,
}

/// Returns the tracks of all steps in order. An open segment lasts until `now`.
pub(crate) fn of(workflow: &Workflow, events: &[Event], now: Micros) -> Vec<StepTracks> {
    workflow
        .steps
        .iter()
        .map(|step| {
            let mut tracks = StepTracks::default();
            let own = events.iter().filter(|event| event.step.as_deref() == Some(step.name.as_str()));
            own.for_each(|event| tracks.apply(event));
            if tracks == StepTracks::default() {
                tracks.execution = from_times(step, now);
            }
            // The end of the workflow closes all segments.
            let until = workflow.ended_at.as_deref().and_then(time::parse).unwrap_or(now);
            tracks.execution.close(until);
            tracks.compensation.close(until);
            tracks
        })
        .collect()
}

impl StepTracks {
    fn apply(&mut self, event: &Event) {
        let Some(at) = time::parse(&event.time) else { return };
        let started = time_of(event, "started_at");
        let is_compensation = event.detail.get("side").and_then(Value::as_str) == Some("compensate");
        let track = if is_compensation { &mut self.compensation } else { &mut self.execution };
        match event.kind.as_str() {
            "STEP_QUEUED" => self.execution.wait(at),
            "STEP_WAITING" | "CHILD_STARTED" => self.execution.run(at),
            "ATTEMPT_STARTED" => track.run(started.unwrap_or(at)),
            "ATTEMPT_FAILED" => {
                track.end(started, at);
                track.wait(at);
            }
            "STEP_PROBING" => {
                self.execution.end(started, at);
                self.execution.wait(at);
            }
            "STEP_COMPLETED" | "STEP_FAILED" | "STEP_UNKNOWN" => self.execution.end(started, at),
            "STEP_SKIPPED" => self.execution.close(at),
            "STEP_WITHDRAWN" => self.execution = Track::default(),
            "COMPENSATION_QUEUED" => self.compensation.wait(at),
            "STEP_COMPENSATED" | "COMPENSATION_FAILED" => self.compensation.end(started, at),
            "COMPENSATION_SKIPPED" => self.compensation.close(at),
            "STEP_RETRIED" => track.wait(at),
            _ => {}
        }
    }
}

impl Track {
    /// Returns the total duration of the attempts.
    pub(crate) fn took(&self) -> Micros {
        self.segments.iter().filter(|segment| segment.runs).map(|segment| segment.to - segment.from).sum()
    }

    /// Whether there was an attempt.
    pub(crate) fn ran(&self) -> bool {
        self.segments.iter().any(|segment| segment.runs)
    }

    fn wait(&mut self, at: Micros) {
        self.close(at);
        self.open = Some(OpenSegment { from: at, runs: false });
    }

    fn run(&mut self, at: Micros) {
        self.close(at);
        self.open = Some(OpenSegment { from: at, runs: true });
    }

    /// Ends an attempt. If its start was not recorded, the attempt gets the time of the wait before it.
    fn end(&mut self, started: Option<Micros>, at: Micros) {
        if let (Some(started), Some(OpenSegment { runs: false, .. })) = (started, self.open) {
            self.run(started);
        }
        if let Some(open) = &mut self.open {
            open.runs = true;
        } else if let Some(started) = started {
            self.open = Some(OpenSegment { from: started, runs: true });
        }
        self.close(at);
    }

    fn close(&mut self, at: Micros) {
        if let Some(OpenSegment { from, runs }) = self.open.take() {
            self.segments.push(Segment { from, to: at.max(from), runs });
        }
    }
}

/// Returns the track of a step without a history, from the times of the step itself.
fn from_times(step: &Step, now: Micros) -> Track {
    let time = |text: &Option<String>| text.as_deref().and_then(time::parse);
    let mut track = Track::default();
    if let Some(queued) = time(&step.queued_at) {
        track.wait(queued);
    }
    if let Some(started) = time(&step.started_at) {
        track.run(started);
    }
    track.close(time(&step.ended_at).unwrap_or(now));
    track
}

/// Returns a time of the details of an event: RFC 3339 or microseconds.
fn time_of(event: &Event, name: &str) -> Option<Micros> {
    let value = event.detail.get(name)?;
    value.as_i64().or_else(|| value.as_str().and_then(time::parse))
}
