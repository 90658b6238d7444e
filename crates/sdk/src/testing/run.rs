//! A saga that was run, and assertions about it.

use goconductor_client::Status;
use goconductor_inbox::Operation;
use goconductor_saga::{EventKind, Json, StepIndex};
use goconductor_simulator::{Simulation, TimelineLine, timeline};
use std::time::Duration;

/// A call of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionCall {
    /// The name of the step.
    pub step: String,
    /// The side of the step.
    pub operation: Operation,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The idempotency key.
    pub key: String,
    /// The input of the action.
    pub input: Json,
}

/// A saga that was run. The assertions panic with the timeline of the saga.
#[derive(Debug, Clone)]
pub struct TestRun {
    status: Status,
    output: Option<Json>,
    executed: Vec<String>,
    compensated: Vec<String>,
    standing: Vec<String>,
    calls: Vec<ActionCall>,
    timeline: Vec<TimelineLine>,
    elapsed: Duration,
    transitions: u64,
}

impl TestRun {
    pub(super) fn new(simulation: &Simulation, calls: Vec<ActionCall>) -> Self {
        let state = simulation.state();
        let name = |index: StepIndex| {
            simulation.plan().step(index).map_or_else(String::new, |step| step.name.clone())
        };
        let steps = |select: fn(&EventKind) -> Option<StepIndex>| {
            simulation.history().iter().filter_map(|event| select(&event.kind)).map(name).collect()
        };
        Self {
            status: Status::from(state.status().as_str().to_owned()),
            output: state.output.as_deref().cloned(),
            executed: steps(completed),
            compensated: steps(compensated),
            standing: simulation.standing().into_iter().map(name).collect(),
            calls,
            timeline: timeline(simulation),
            elapsed: simulation.elapsed(),
            transitions: simulation.transitions(),
        }
    }

    /// Returns the status of the saga at the end.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// Returns the output of the saga; `None` unless it completed.
    #[must_use]
    pub fn output(&self) -> Option<&Json> {
        self.output.as_ref()
    }

    /// Returns the steps that completed, in order.
    #[must_use]
    pub fn executed(&self) -> &[String] {
        &self.executed
    }

    /// Returns the steps that were compensated, in order.
    #[must_use]
    pub fn compensated(&self) -> &[String] {
        &self.compensated
    }

    /// Returns the steps that may have had an effect which remains, although the saga did not complete.
    #[must_use]
    pub fn standing(&self) -> &[String] {
        &self.standing
    }

    /// Returns the calls of actions, in order.
    #[must_use]
    pub fn calls(&self) -> &[ActionCall] {
        &self.calls
    }

    /// Returns the virtual time from the start to the end.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Returns the number of transitions, the start included.
    #[must_use]
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// Returns the history as text, one event per line, with virtual times.
    #[must_use]
    pub fn timeline(&self) -> String {
        let line = |line: &TimelineLine| {
            let step = line.step.as_deref().unwrap_or_default();
            let at = Duration::from_millis(line.at_ms);
            format!("{:>4} +{at:?} {} {step} {}", line.seq, line.kind, line.detail).trim_end().to_owned()
        };
        self.timeline.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Asserts the status at the end.
    ///
    /// # Panics
    /// Panics with the timeline if the status differs.
    #[track_caller]
    pub fn assert_status(&self, expected: Status) {
        assert!(
            self.status == expected,
            "the saga ended {}, and {expected} was expected\n{}",
            self.status,
            self.timeline()
        );
    }

    /// Asserts which steps completed, in order.
    ///
    /// # Panics
    /// Panics with the timeline if other steps completed, or in another order.
    #[track_caller]
    pub fn assert_executed<const N: usize>(&self, expected: [&str; N]) {
        let actual = &self.executed;
        assert!(
            *actual == expected,
            "the saga executed {actual:?}, and {expected:?} was expected\n{}",
            self.timeline()
        );
    }

    /// Asserts which steps were compensated, in order.
    ///
    /// # Panics
    /// Panics with the timeline if other steps were compensated, or in another order.
    #[track_caller]
    pub fn assert_compensated<const N: usize>(&self, expected: [&str; N]) {
        let actual = &self.compensated;
        assert!(
            *actual == expected,
            "the saga compensated {actual:?}, and {expected:?} was expected\n{}",
            self.timeline()
        );
    }

    /// Asserts that the saga completed, or that every step that may have had an effect was compensated.
    ///
    /// # Panics
    /// Panics with the timeline if an effect remains.
    #[track_caller]
    pub fn assert_nothing_stands(&self) {
        assert!(self.standing.is_empty(), "the effects of {:?} remain\n{}", self.standing, self.timeline());
    }
}

/// Returns whether a step has completed.
pub(super) fn has_completed(simulation: &Simulation, step: &str) -> bool {
    let index = simulation.plan().step_named(step);
    simulation.history().iter().any(|event| index.is_some() && completed(&event.kind) == index)
}

fn completed(kind: &EventKind) -> Option<StepIndex> {
    if let EventKind::StepCompleted { step, .. } = kind { Some(*step) } else { None }
}

fn compensated(kind: &EventKind) -> Option<StepIndex> {
    if let EventKind::StepCompensated { step, .. } = kind { Some(*step) } else { None }
}
