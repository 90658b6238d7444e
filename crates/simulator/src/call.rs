//! The messages between a simulation and its driver: the start, the calls of participants and their responses.

use goconductor_saga::{Json, Outcome, Side, StepIndex, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Limits of a simulation.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Maximum number of events of a workflow.
    pub events: u64,
    /// Maximum number of deliveries and reports, those without an event included.
    pub turns: u64,
    /// Maximum virtual time.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { events: 100_000, turns: 400_000, time: Duration::from_secs(100 * 366 * 86_400) }
    }
}

/// The start of a simulated workflow.
#[derive(Debug, Clone, Default)]
pub struct SimulatedStart {
    /// The id. Delays of retries depend on it. `None` means a fixed id.
    pub id: Option<Uuid>,
    /// The input.
    pub input: Json,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The virtual time of the start. `None` means 2026-01-01T00:00:00Z.
    pub at: Option<Timestamp>,
}

/// A command that was delivered to a participant.
#[derive(Debug, Clone)]
pub struct SimulatedCall {
    /// The step, of the workflow that runs the elements if the call belongs to one.
    pub step: StepIndex,
    /// The steps with `for_each` that the call belongs to, outermost first. Empty for other steps.
    pub path: Vec<StepIndex>,
    /// The name of the step, such as `pick` or `pick[3]`.
    pub name: String,
    /// The side of the step.
    pub side: Side,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The service.
    pub service: String,
    /// The operation.
    pub operation: String,
    /// The idempotency key.
    pub key: String,
    /// The input of the participant.
    pub input: Arc<Json>,
    /// How long the attempt may take.
    pub timeout: Duration,
    /// Whether the call asks for the outcome of an earlier attempt, and does not act.
    pub is_probe: bool,
}

impl SimulatedCall {
    /// Returns the step of the simulated definition.
    #[must_use]
    pub fn declared_step(&self) -> StepIndex {
        self.path.first().copied().unwrap_or(self.step)
    }

    /// Returns the number of the element, or `None` for a step without elements.
    #[must_use]
    pub fn element(&self) -> Option<u32> {
        element_of(&self.name).1
    }
}

/// Splits the name of an element, such as `pick[1]`, into the name of its step and its number.
pub(crate) fn element_of(name: &str) -> (&str, Option<u32>) {
    let parts = name.strip_suffix(']').and_then(|name| name.rsplit_once('['));
    let element = parts.and_then(|(step, number)| Some((step, number.parse().ok()?)));
    element.map_or((name, None), |(step, number)| (step, Some(number)))
}

/// The response of a participant, or its absence.
#[derive(Debug, Clone, PartialEq)]
pub enum SimulatedResponse {
    /// The participant reports an outcome.
    Outcome(Outcome),
    /// The participant does not respond before the deadline.
    TimedOut,
    /// The executor of the attempt stops, so nothing is reported and the command is delivered again.
    Lost,
}

/// The next activity of a simulation.
#[derive(Debug, Clone)]
pub enum NextActivity {
    /// A participant is called. Pass its response to [`Simulation::respond`].
    Call(Box<SimulatedCall>),
    /// Nothing happens without an input: the workflow is in error, is paused, or waits for a signal.
    Idle,
    /// The workflow has a final status.
    Ended,
}
