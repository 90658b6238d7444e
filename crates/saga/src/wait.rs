//! Waits: the times of `sleep` and of the limit of `wait_for_signal`.

use crate::{Expressions, Failure, Json, Scope, Timestamp};
use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// Maximum length of a wait. A longer duration is certainly a mistake of the expression that returned it.
const MAX_WAIT: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// When a wait ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitTime {
    /// After a duration, in milliseconds in the stored form.
    #[serde(rename = "duration_ms")]
    Duration(#[serde(with = "crate::millis")] Duration),
    /// At a point in time.
    Time(Timestamp),
    /// When the value of an expression says: the text of a duration, or of a time.
    Expression(String),
}

/// What follows when the time limit of a wait for a signal expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnTimeout {
    /// The step fails.
    #[default]
    Fail,
    /// The step completes with the output null.
    Continue,
}

impl OnTimeout {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference to the field")]
    pub(crate) fn is_fail(&self) -> bool {
        *self == Self::Fail
    }
}

/// The end of a wait that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitEnd {
    pub(crate) until: Timestamp,
    /// Whether the end is a point in time, which a pause does not move.
    pub(crate) is_time: bool,
}

impl WaitTime {
    /// Returns the end of a wait that begins at `now`.
    pub(crate) fn end(
        &self,
        expressions: &dyn Expressions,
        scope: &Scope<'_>,
        now: Timestamp,
    ) -> Result<WaitEnd, Failure> {
        match self {
            Self::Duration(duration) => Ok(WaitEnd { until: now.after(*duration), is_time: false }),
            Self::Time(time) => Ok(WaitEnd { until: *time, is_time: true }),
            Self::Expression(expression) => {
                let failed = |reason: String| Failure::of("WAIT_EXPRESSION_FAILED", reason);
                let value =
                    expressions.evaluate(expression, scope).map_err(|error| failed(error.to_string()))?;
                let read = match &value {
                    Json::String(text) => expressions.wait_time(text),
                    Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => None,
                };
                match read {
                    Some(Self::Duration(duration)) if duration <= MAX_WAIT => {
                        Ok(WaitEnd { until: now.after(duration), is_time: false })
                    }
                    Some(Self::Time(time)) => Ok(WaitEnd { until: time, is_time: true }),
                    Some(Self::Duration(_) | Self::Expression(_)) | None => Err(failed(format!(
                        "`{expression}` must be a duration of at most ten years, such as \"1h30m\", or a time, such \
                         as \"2030-01-31T12:00:00Z\""
                    ))),
                }
            }
        }
    }
}
