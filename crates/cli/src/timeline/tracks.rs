//! When each side of a step waited and ran, from a workflow's history.

use crate::time::{self, Micros};
use goconductor_client::{Event, Step, Workflow};
use serde_json::Value;

/// A stretch of time of one side of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// From.
    pub(crate) from: Micros,
    /// To.
    pub(crate) to: Micros,
    /// An attempt was under way; else one was waited for.
    pub(crate) runs: bool,
}

/// One side of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Track {
    /// In order.
    pub(crate) segments: Vec<Segment>,
    open: Option<OpenSegment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OpenSegment {
    from: Micros,
    runs: bool,
}

/// Both sides of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StepTracks {
    /// Doing it.
    pub(crate) execution: Track,
    /// Undoing it.
    pub(crate) compensation: Track,
}

/// The tracks of all steps, in their order. What is open goes on until `now`.
pub(crate) fn of(workflow: &Workflow, events: &[Event], now: Micros) -> Vec<StepTracks> {
    workflow
        .steps
        .iter()
        .map(|step| {
            let mut tracks = StepTracks::default();
            let mine = events.iter().filter(|event| event.step.as_deref() == Some(step.name.as_str()));
            mine.for_each(|event| tracks.apply(event));
            if tracks == StepTracks::default() {
                tracks.execution = from_times(step, now);
            }
            // A workflow that ended leaves nothing open, whatever its last events say.
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
        let undoes = event.detail.get("side").and_then(Value::as_str) == Some("compensate");
        let track = if undoes { &mut self.compensation } else { &mut self.execution };
        match event.kind.as_str() {
            "STEP_QUEUED" => self.execution.wait(at),
            "ATTEMPT_STARTED" => track.run(started.unwrap_or(at)),
            "ATTEMPT_FAILED" => {
                track.end(started, at);
                track.wait(at);
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
    /// How long its attempts took, together.
    pub(crate) fn took(&self) -> Micros {
        self.segments.iter().filter(|segment| segment.runs).map(|segment| segment.to - segment.from).sum()
    }

    /// Whether there was any attempt.
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

    /// An attempt ended; one whose start is not on record began when it was waited for.
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

/// Without a history: what the step itself says.
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

/// A time among an event's details: as the API writes times, or in microseconds.
fn time_of(event: &Event, name: &str) -> Option<Micros> {
    let value = event.detail.get(name)?;
    value.as_i64().or_else(|| value.as_str().and_then(time::parse))
}
