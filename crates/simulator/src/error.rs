//! Why a simulation cannot continue.

use crate::constructs::NotSimulated;
use goconductor_saga::GraphError;

/// Why a simulation cannot continue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The definition is not a valid graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The definition uses constructs that are not simulated.
    #[error("the definition uses constructs that are not simulated: {}", list(.0))]
    NotSimulated(Vec<NotSimulated>),
    /// The definition has no step of this name.
    #[error("the definition has no step {0}; its steps are {1}")]
    UnknownStep(String, String),
    /// The fault cannot occur at the step.
    #[error("{fault} cannot be simulated at step {step}: {reason}")]
    NotApplicable {
        /// The step.
        step: String,
        /// The fault.
        fault: &'static str,
        /// The reason.
        reason: String,
    },
    /// No input could be generated, or the given one does not match the schema.
    #[error("{0}")]
    Input(String),
    /// A limit of the simulation was reached.
    #[error("the simulation exceeds its limit of {limit} {what}: use a smaller definition or fewer retries")]
    Limit {
        /// The limited quantity, in the plural.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The state that was rebuilt from the history differs from the live one. This is a bug of the rules.
    #[error("the state rebuilt from the history differs from the live state at event {0}")]
    Recovery(u64),
    /// A repeated outcome of a settled attempt was accepted. This is a bug of the rules.
    #[error("a repeated outcome of step {0} was accepted twice")]
    DuplicateAccepted(String),
}

fn list(constructs: &[NotSimulated]) -> String {
    constructs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
