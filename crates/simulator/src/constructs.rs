//! The seam to the constructs of the language: which of them a simulation carries out.
//!
//! A construct is recognised by its stored name, and not by a variant of the model. A construct that this crate does
//! not know is therefore reported, and never simulated wrongly. To simulate a new construct, add its stored name here,
//! and the input that it waits for to [`inputs`], if neither a command nor a timer provides it.

use crate::sample::sample;
use goconductor_saga::{Action, Definition, Input, Json, Plan, State, Step, StepIndex, TimerKind};
use std::fmt;
use std::sync::Arc;

/// The stored names of the actions that commands or timers of the ledger carry out.
const ACTIONS: &[&str] = &["run", "call", "sleep", "signal", "child"];
/// The stored keys of a step that the rules alone interpret.
const STEP_KEYS: &[&str] = &[
    "name",
    "title",
    "labels",
    "depends_on",
    "skipped_with",
    "join",
    "when",
    "blocks",
    "action",
    "kind",
    "input",
    "compensate",
    "retry",
    "timeout",
    "failure",
    "lock",
    "for_each",
];
/// The stored keys of a definition that the rules alone interpret, or that concern only the start of workflows.
const DEFINITION_KEYS: &[&str] = &[
    "format",
    "name",
    "title",
    "description",
    "labels",
    "input",
    "output",
    "timeout",
    "steps",
    "rollback",
    "locks",
    "schedule",
];

/// A construct of a definition that is not simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSimulated {
    /// The step, or `None` for a key of the definition.
    pub step: Option<String>,
    /// The stored name of the construct.
    pub construct: String,
}

impl fmt::Display for NotSimulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some(step) => write!(f, "`{}` of step {step}", self.construct),
            None => write!(f, "`{}`", self.construct),
        }
    }
}

/// Returns the constructs of a definition that are not simulated, in the order of the steps.
#[must_use]
pub fn not_simulated(definition: &Definition) -> Vec<NotSimulated> {
    let mut found = unknown_keys(definition, DEFINITION_KEYS, None);
    for step in &definition.steps {
        found.extend(unknown_keys(step, STEP_KEYS, Some(&step.name)));
        let compensation = step.compensate.as_ref().map(|compensation| &compensation.action);
        for action in std::iter::once(&step.action).chain(compensation) {
            found.extend(unknown_keys(action, ACTIONS, Some(&step.name)));
        }
    }
    found
}

fn unknown_keys<T: serde::Serialize>(value: &T, known: &[&str], step: Option<&str>) -> Vec<NotSimulated> {
    let Ok(value) = serde_json::to_value(value) else { return Vec::new() };
    let names: Vec<String> = match (&value, value.as_object()) {
        (_, Some(object)) => object.keys().cloned().collect(),
        // A variant without fields is stored as its name.
        (value, None) => value.as_str().map(str::to_owned).into_iter().collect(),
    };
    let unknown = names.into_iter().filter(|name| !known.contains(&name.as_str()));
    unknown.map(|construct| NotSimulated { step: step.map(str::to_owned), construct }).collect()
}

/// Returns the inputs that no command and no timer provides: a signal for each step that waits for one, except for
/// `silent`. They are sent at the start, because a signal that arrives early is kept. Payloads are generated from their
/// schemas.
pub(crate) fn inputs(plan: &Plan, silent: Option<StepIndex>) -> Vec<Input> {
    let steps = (0u32..).map(StepIndex).zip(&plan.definition().steps);
    let signal = |(index, step): (StepIndex, &Step)| {
        let Action::Signal { name, schema, .. } = &step.action else { return None };
        let payload = schema.as_ref().map_or(Ok(Json::Null), sample).unwrap_or_default();
        let input = Input::Signal { name: name.clone(), payload: Arc::new(payload), key: None, actor: None };
        (Some(index) != silent).then_some(input)
    };
    steps.filter_map(signal).collect()
}

/// Returns the input of a timer that is due. A wait for locks ends at once, because no other workflow holds them. Their
/// tokens begin after `token`.
pub(crate) fn timer_input(state: &State, timer: TimerKind, token: u64) -> Input {
    let lock = match timer {
        TimerKind::WorkflowLock => state.lock.as_deref(),
        TimerKind::StepLock(step) => state.step(step).and_then(|step| step.lock.as_deref()),
        TimerKind::Workflow
        | TimerKind::StepQueue(_)
        | TimerKind::StepTotal(_)
        | TimerKind::StepWake(_)
        | TimerKind::StepChild(_) => None,
    };
    match lock.filter(|lock| !lock.is_held()) {
        Some(lock) => {
            let tokens = (1u64..).map(|nth| token.saturating_add(nth)).take(lock.locks.len()).collect();
            Input::AcquireLocks { timer, request: lock.request, tokens }
        }
        None => Input::FireTimer { timer },
    }
}

/// Returns whether a step waits for a signal with a time limit.
pub(crate) fn waits_with_limit(step: &Step) -> bool {
    matches!(&step.action, Action::Signal { limit: Some(_), .. })
}
