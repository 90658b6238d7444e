//! The answer to a probe. It is the output of the attempt, which the rules interpret.

use super::{ResponseBody, ResponseHead, StatedOutcome};
use goconductor_saga::Outcome;
use serde_json::json;

impl ResponseHead {
    /// Returns the outcome of a probe: the answer of the participant as output. Only a stated refusal means that the
    /// operation did not happen, because a path that does not exist is refused as well.
    pub(in crate::http_participant) fn probed(&self, body: ResponseBody) -> Outcome {
        if self.is_stated && self.stated_outcome == StatedOutcome::Refused {
            return Outcome::Done { output: json!({"outcome": "not_done"}) };
        }
        let outcome = self.outcome(body);
        if let Outcome::Done { output } = &outcome
            && self.is_stated
            && output.get("outcome").is_none()
        {
            return Outcome::Done { output: json!({"outcome": "done", "output": output}) };
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goconductor_saga::{RulesVersion, Timestamp};
    use http::{HeaderMap, StatusCode};

    fn probed(status: u16, stated: Option<&'static str>, body: &str) -> Outcome {
        let mut headers = HeaderMap::new();
        headers.extend(stated.map(|stated| {
            (http::HeaderName::from_static("goconductor-outcome"), http::HeaderValue::from_static(stated))
        }));
        let status = StatusCode::from_u16(status).unwrap();
        let head = ResponseHead::new(RulesVersion::CURRENT, status, &headers, Timestamp(0));
        let mut read = ResponseBody::new(1024, head.has_output());
        assert!(read.push(body.as_bytes()));
        head.probed(read)
    }

    #[test]
    fn answer_is_in_the_body_or_in_the_header() {
        for (stated, body, expected) in [
            (None, r#"{"outcome": "done", "output": 7}"#, json!({"outcome": "done", "output": 7})),
            (None, r#"{"outcome": "not_done"}"#, json!({"outcome": "not_done"})),
            (Some("done"), r#"{"id": 7}"#, json!({"outcome": "done", "output": {"id": 7}})),
            (Some("done"), r#"{"outcome": "done", "output": 7}"#, json!({"outcome": "done", "output": 7})),
            (Some("refused"), "", json!({"outcome": "not_done"})),
        ] {
            assert_eq!(probed(200, stated, body), Outcome::Done { output: expected }, "{stated:?} {body}");
        }
    }

    #[test]
    fn refused_request_leaves_the_outcome_unknown() {
        assert!(matches!(probed(404, None, "{}"), Outcome::Refused { .. }));
        assert!(matches!(probed(500, None, "{}"), Outcome::Unknown { .. }));
    }
}
