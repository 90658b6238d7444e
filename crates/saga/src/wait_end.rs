//! The end of a wait, which the value of an expression may determine.

use crate::{Expressions, Failure, Json, Scope, Timestamp, WaitTime};
use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;

/// Maximum length of a wait. A longer duration is certainly a mistake of the expression that returned it.
const MAX_WAIT: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

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
