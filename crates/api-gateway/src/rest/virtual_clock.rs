//! The virtual clock of a test server. The OpenAPI document does not list it, because no other server has one.

use super::extract::{Caller, JsonBody};
use crate::api::Api;
use crate::api::virtual_clock::{ClockAdvance, ClockMove, ClockView};
use crate::error::{ApiResult, Problem, WRONG_SHAPE};
use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use goconductor_service_kit::duration;
use serde::Deserialize;
use std::time::Duration;

pub(super) fn pages() -> Router<Api> {
    Router::new().route("/dev/clock", get(show)).route("/dev/clock/advance", post(advance))
}

/// A request to move the clock: `by`, or `to`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AdvanceBody {
    by: Option<String>,
    to: Option<ClockTarget>,
    at_most: Option<String>,
}

/// The time to move the clock to.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ClockTarget {
    /// The next due time.
    Next,
}

impl AdvanceBody {
    fn read(self) -> ApiResult<ClockAdvance> {
        match (self.by, self.to, self.at_most) {
            (Some(by), None, None) => parsed("/by", &by).map(ClockAdvance::By),
            (None, Some(ClockTarget::Next), at_most) => {
                let at_most = at_most.map(|text| parsed("/at_most", &text)).transpose()?;
                Ok(ClockAdvance::ToNext { at_most })
            }
            (Some(_), Some(_), _) | (Some(_), None, Some(_)) | (None, None, _) => {
                let detail = "expected {\"by\": DURATION}, or {\"to\": \"next\"} with an optional at_most";
                Err(Problem::new(WRONG_SHAPE, detail))
            }
        }
    }
}

fn parsed(pointer: &str, text: &str) -> ApiResult<Duration> {
    duration::parse(text).map_err(|error| {
        let detail = format!("invalid duration {text:?}: {error}");
        Problem::new(WRONG_SHAPE, detail.clone()).at(pointer, detail)
    })
}

/// Get the time of the virtual clock
async fn show(State(api): State<Api>, Caller(_): Caller) -> ApiResult<Json<ClockView>> {
    api.virtual_clock().map(Json)
}

/// Move the virtual clock forward
async fn advance(
    State(api): State<Api>,
    Caller(_): Caller,
    JsonBody(body): JsonBody<AdvanceBody>,
) -> ApiResult<Json<ClockMove>> {
    api.advance_clock(body.read()?).await.map(Json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ApiResult<ClockAdvance> {
        serde_json::from_str::<AdvanceBody>(text).unwrap().read()
    }

    #[test]
    fn request_has_either_a_duration_or_a_target() {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        assert_eq!(read(r#"{"by": "30d"}"#).unwrap(), ClockAdvance::By(DAY * 30));
        assert_eq!(read(r#"{"to": "next"}"#).unwrap(), ClockAdvance::ToNext { at_most: None });
        let limited = ClockAdvance::ToNext { at_most: Some(DAY) };
        assert_eq!(read(r#"{"to": "next", "at_most": "1d"}"#).unwrap(), limited);
        for text in [
            "{}",
            r#"{"by": "1d", "to": "next"}"#,
            r#"{"by": "1d", "at_most": "1d"}"#,
            r#"{"at_most": "1d"}"#,
            r#"{"by": "-1d"}"#,
            r#"{"by": ""}"#,
            r#"{"to": "next", "at_most": "soon"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
