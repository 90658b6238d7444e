//! The seam to the constructs of the language: which of them a simulation carries out.
//!
//! A construct is recognised by its stored name, and not by a variant of the model. A construct that this crate does
//! not know is therefore reported, and never simulated wrongly. To simulate a new construct, add its stored name here,
//! and the input that lets it continue to [`unblock`] if neither a command nor a timer does.

use crate::engine::Simulation;
use goconductor_saga::{Definition, Input};
use std::fmt;

/// The stored names of the actions that commands or timers of the ledger carry out.
const ACTIONS: &[&str] = &["run", "call", "sleep"];
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
    "on_error",
    "on_unknown",
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
    "compensation",
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

/// Returns the input that lets a workflow continue which waits for something that no command and no timer provides.
pub(crate) fn unblock(_simulation: &Simulation) -> Option<Input> {
    None
}
