//! Failures of attempts.

use crate::Json;
use crate::present::present;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The code of the participant, or a code of the engine such as `TIMED_OUT` or `CONNECTION_BROKEN`.
    pub code: String,
    /// The message, for people.
    pub message: String,
    /// Further details from the participant.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub detail: Option<Json>,
}
